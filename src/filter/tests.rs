//! Each filter on small objects, in both encodings. On those that real API servers made: `tests/filters.rs`.

use super::facts::{HubPlace, Membership, Topology};
use super::list::Rewriter;
use super::*;
use crate::object::edit::Field;
use crate::object::proto::{put_bytes, put_varint};
use crate::object::{
    TypeMeta, list_item_framed_len, write_list_head, write_list_item, write_list_tail,
};
use std::net::IpAddr;

/// A value of an object that is written in both encodings.
pub enum V {
    T(&'static str),
    N(u64),
    Y(bool),
    B(&'static [u8]),
    M(Vec<(Field, V)>),
    L(Vec<V>),
    /// A map of strings.
    S(Vec<(&'static str, V)>),
}

use V::{B, L, M, N, S, T, Y};

fn json(value: &V) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        T(text) => serde_json::to_string(text).unwrap(),
        N(number) => number.to_string(),
        Y(truth) => truth.to_string(),
        B(bytes) => {
            let mut out = Vec::new();
            crate::object::base64::put(bytes, &mut out);
            format!("\"{}\"", String::from_utf8(out).unwrap())
        }
        L(items) => format!("[{}]", join(items.iter().map(json).collect())),
        M(fields) => {
            let inlined = |value: &V| {
                let text = json(value);
                text[1..text.len() - 1].to_owned()
            };
            let one = |(field, value): &(Field, V)| match field.name {
                "" => inlined(value),
                name => format!("\"{name}\":{}", json(value)),
            };
            format!("{{{}}}", join(fields.iter().map(one).collect()))
        }
        S(entries) => {
            let one = |(key, value): &(&str, V)| format!("\"{key}\":{}", json(value));
            format!("{{{}}}", join(entries.iter().map(one).collect()))
        }
    }
}

fn proto(fields: &[(Field, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, value) in fields {
        put(*field, value, &mut out);
    }
    out
}

fn put(field: Field, value: &V, out: &mut Vec<u8>) {
    match value {
        T(text) => put_bytes(out, field.number, text.as_bytes()),
        B(bytes) => put_bytes(out, field.number, bytes),
        M(fields) => put_bytes(out, field.number, &proto(fields)),
        L(items) => items.iter().for_each(|item| put(field, item, out)),
        Y(truth) => put(field, &N(u64::from(*truth)), out),
        N(number) => {
            put_varint(out, u64::from(field.number) << 3);
            put_varint(out, *number);
        }
        S(entries) => {
            for (key, value) in entries {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put(Field::new("", 2), value, &mut entry);
                put_bytes(out, field.number, &entry);
            }
        }
    }
}

fn facts() -> Facts {
    Facts {
        node: "edge-1".to_owned(),
        hub: Some(HubPlace {
            first: ip("169.254.2.1"),
            other: None,
            port: 10268,
        }),
        hub_ca: Some("-----HUB-----\n".to_owned()),
        pool: Membership::In("p".to_owned()),
        pool_nodes: Some(["edge-1", "edge-2"].map(str::to_owned).into()),
        zone: Some("z".to_owned()),
        topologies: Some(
            [
                ("default/node", Topology::Node),
                ("default/zone", Topology::Zone),
                ("default/pool", Topology::Pool),
            ]
            .map(|(name, topology)| (name.to_owned(), topology))
            .into(),
        ),
        pod_ips: [("u1".to_owned(), vec![ip("10.1.0.9"), ip("fd00::9")])].into(),
        pods_ready: ["u1".to_owned()].into(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// With both encodings of `object` the filter says what `want` is, in both encodings; and nothing more the second time.
fn check(filter: Filter, facts: &Facts, kind: Kind, object: Vec<(Field, V)>, want: Want) {
    let set = Set::default().with(filter);
    let both = |object: Vec<(Field, V)>| {
        let proto = proto(&object);
        [
            (Encoding::Json, json(&M(object)).into_bytes()),
            (Encoding::Protobuf, proto),
        ]
    };
    let came = both(object);
    let wanted = match want {
        Want::Becomes(told) => both(told).map(|(_, bytes)| Ok(Verdict::Replace(bytes))),
        Want::Stays => [Ok(Verdict::Keep), Ok(Verdict::Keep)],
        Want::Goes => [Ok(Verdict::Drop), Ok(Verdict::Drop)],
    };
    for ((encoding, bytes), want) in came.iter().zip(wanted) {
        let told = judge(set, facts, kind, *encoding, bytes);
        let shown = |v: &Result<Verdict, Cannot>| match v {
            Ok(Verdict::Replace(bytes)) => bytes.escape_ascii().to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(shown(&told), shown(&want), "{} {encoding:?}", filter.name());
        if let Ok(Verdict::Replace(told)) = told {
            let again = judge(set, facts, kind, *encoding, &told);
            assert_eq!(again, Ok(Verdict::Keep), "{} {encoding:?}", filter.name());
        }
    }
}

enum Want {
    Becomes(Vec<(Field, V)>),
    Stays,
    Goes,
}

use Want::{Becomes, Goes, Stays};

fn meta(namespace: &'static str, name: &'static str) -> (Field, V) {
    let fields = vec![(fields::NAME, T(name)), (fields::NAMESPACE, T(namespace))];
    (fields::METADATA, M(fields))
}

fn noted(namespace: &'static str, name: &'static str, notes: Vec<(&'static str, V)>) -> (Field, V) {
    let (field, mut meta) = meta(namespace, name);
    if let M(fields) = &mut meta {
        fields.push((fields::ANNOTATIONS, S(notes)));
    }
    (field, meta)
}

/// A field of a future version.
fn new() -> (Field, V) {
    (
        Field::new("newer", 200),
        M(vec![(Field::new("x", 1), N(7))]),
    )
}

#[test]
fn master_service() {
    let service = |name, ips: &[&'static str], families: &[&'static str], port| {
        let list = |texts: &[&'static str]| L(texts.iter().map(|text| T(text)).collect());
        let http = M(vec![
            (fields::PORT_NAME, T("http")),
            (fields::PORT_NUMBER, N(443)),
        ]);
        let https = M(vec![
            (fields::PORT_NAME, T("https")),
            (fields::PORT_NUMBER, N(port)),
            new(),
        ]);
        vec![
            meta("default", name),
            (
                fields::SPEC,
                M(vec![
                    (fields::SERVICE_PORTS, L(vec![http, https])),
                    (fields::SERVICE_CLUSTER_IP, T(ips[0])),
                    (fields::SERVICE_TYPE, T("ClusterIP")),
                    (fields::SERVICE_CLUSTER_IPS, list(ips)),
                    (fields::SERVICE_IP_FAMILIES, list(families)),
                    new(),
                ]),
            ),
            new(),
        ]
    };
    let v4 = facts();
    let dual = Facts {
        hub: Some(HubPlace {
            other: Some(ip("fd00::2:1")),
            ..v4.hub.unwrap()
        }),
        ..facts()
    };
    let was =
        |name, ips: &[&'static str], families: &[&'static str]| service(name, ips, families, 443);
    let becomes = |ips: &[&'static str], families: &[&'static str]| {
        Becomes(service("kubernetes", ips, families, 10268))
    };
    for (facts, ips, families, to, to_families) in [
        (
            &v4,
            &["10.96.0.1"][..],
            &["IPv4"][..],
            &["169.254.2.1"][..],
            &["IPv4"][..],
        ),
        (&v4, &["fd12::1"], &["IPv6"], &["169.254.2.1"], &["IPv4"]),
        (
            &v4,
            &["10.96.0.1", "fd12::1"],
            &["IPv4", "IPv6"],
            &["169.254.2.1"],
            &["IPv4"],
        ),
        (&dual, &["fd12::1"], &["IPv6"], &["fd00::2:1"], &["IPv6"]),
        (
            &dual,
            &["fd12::1", "10.96.0.1"],
            &["IPv6", "IPv4"],
            &["fd00::2:1", "169.254.2.1"],
            &["IPv6", "IPv4"],
        ),
    ] {
        let object = was("kubernetes", ips, families);
        check(
            Filter::MasterService,
            facts,
            Kind::Service,
            object,
            becomes(to, to_families),
        );
    }
    let other = was("other", &["10.96.0.1"], &["IPv4"]);
    check(Filter::MasterService, &v4, Kind::Service, other, Stays);
    let nowhere = Facts {
        hub: None,
        ..facts()
    };
    let object = was("kubernetes", &["10.96.0.1"], &["IPv4"]);
    check(
        Filter::MasterService,
        &nowhere,
        Kind::Service,
        object,
        Stays,
    );
}

#[test]
fn hub_ca() {
    let map = |name, ca: &'static str| {
        let data = S(vec![("a", T("1")), ("ca.crt", T(ca))]);
        vec![meta("any", name), (fields::DATA, data), new()]
    };
    let roots = |ca| map("kube-root-ca.crt", ca);
    for (from, to) in [
        ("-----A-----\n", "-----A-----\n-----HUB-----\n"),
        ("-----A-----", "-----A-----\n-----HUB-----\n"),
        ("", "-----HUB-----\n"),
    ] {
        check(
            Filter::HubCa,
            &facts(),
            Kind::ConfigMap,
            roots(from),
            Becomes(roots(to)),
        );
    }
    check(
        Filter::HubCa,
        &facts(),
        Kind::ConfigMap,
        map("other", "x"),
        Stays,
    );
    let none = vec![meta("any", "kube-root-ca.crt"), new()];
    check(Filter::HubCa, &facts(), Kind::ConfigMap, none, Stays);
    let secret = |kind, ca: &'static [u8]| {
        let data = S(vec![("ca.crt", B(ca)), ("token", B(b"\xff\x00"))]);
        vec![
            meta("any", "t"),
            (fields::DATA, data),
            (fields::SECRET_TYPE, T(kind)),
        ]
    };
    const TOKEN: &str = "kubernetes.io/service-account-token";
    let told = secret(TOKEN, b"-----A-----\n-----HUB-----\n");
    check(
        Filter::HubCa,
        &facts(),
        Kind::Secret,
        secret(TOKEN, b"-----A-----\n"),
        Becomes(told),
    );
    check(
        Filter::HubCa,
        &facts(),
        Kind::Secret,
        secret("Opaque", b"A"),
        Stays,
    );
}

#[test]
fn discard_cloud_service() {
    let service = |kind, notes| {
        let spec = M(vec![(fields::SERVICE_TYPE, T(kind))]);
        vec![noted("ns", "s", notes), (fields::SPEC, spec)]
    };
    for (kind, note, value, goes) in [
        ("LoadBalancer", "svc.openyurt.io/discard", "true", true),
        ("LoadBalancer", "edge-hub/discard", "true", true),
        ("LoadBalancer", "edge-hub/discard", "yes", false),
        ("ClusterIP", "svc.openyurt.io/discard", "true", false),
        ("LoadBalancer", "other", "true", false),
    ] {
        let want = if goes { Goes } else { Stays };
        let object = service(kind, vec![("x", T("y")), (note, T(value))]);
        check(
            Filter::DiscardCloudService,
            &facts(),
            Kind::Service,
            object,
            want,
        );
    }
    let tunnel = vec![meta("kube-system", "x-tunnel-server-internal-svc")];
    check(
        Filter::DiscardCloudService,
        &facts(),
        Kind::Service,
        tunnel,
        Goes,
    );
}

#[test]
fn node_port_isolation() {
    let service = |kind, note, pools| {
        let spec = M(vec![(fields::SERVICE_TYPE, T(kind))]);
        vec![
            noted("ns", "s", vec![(note, T(pools))]),
            (fields::SPEC, spec),
        ]
    };
    for (kind, note, pools, want) in [
        ("NodePort", "nodeport.openyurt.io/listen", "q", Goes),
        ("LoadBalancer", "edge-hub/nodeport-pools", "q,-p", Goes),
        ("NodePort", "nodeport.openyurt.io/listen", "q,p", Stays),
        ("ClusterIP", "nodeport.openyurt.io/listen", "q", Stays),
        ("NodePort", "other", "q", Stays),
    ] {
        let object = service(kind, note, pools);
        check(
            Filter::NodePortIsolation,
            &facts(),
            Kind::Service,
            object,
            want,
        );
    }
}

/// Endpoints on these nodes and in these zones, of which those stay whose number is in `stay`.
fn slice(service: &'static str, stay: &[usize], beta: bool) -> Vec<(Field, V)> {
    let places = [
        ("edge-1", "z"),
        ("edge-2", "y"),
        ("far", "z"),
        ("far", "y"),
        ("", ""),
    ];
    let endpoint = |at: usize| {
        let (node, zone) = places[at];
        let mut fields = vec![
            (fields::ENDPOINT_ADDRESSES, L(vec![T("10.0.0.1")])),
            (
                fields::ENDPOINT_CONDITIONS,
                M(vec![(fields::CONDITION_READY, N(1))]),
            ),
        ];
        match (beta, node) {
            (_, "") => {}
            (true, _) => fields.push((
                fields::ENDPOINT_TOPOLOGY,
                S(vec![
                    ("kubernetes.io/hostname", T(node)),
                    ("topology.kubernetes.io/zone", T(zone)),
                ]),
            )),
            (false, _) => fields.extend([
                (fields::ENDPOINT_NODE, T(node)),
                (fields::ENDPOINT_ZONE, T(zone)),
            ]),
        }
        fields.push(new());
        M(fields)
    };
    let labels = S(vec![(fields::SERVICE_NAME, T(service))]);
    let meta = vec![
        (fields::NAME, T("s-abc")),
        (fields::NAMESPACE, T("default")),
        (fields::LABELS, labels),
    ];
    let endpoints = L(stay.iter().map(|at| endpoint(*at)).collect());
    vec![
        (fields::METADATA, M(meta)),
        (fields::SLICE_ENDPOINTS, endpoints),
        (fields::SLICE_ADDRESS_TYPE, T("IPv4")),
        new(),
    ]
}

#[test]
fn service_topology() {
    const ALL: &[usize] = &[0, 1, 2, 3, 4];
    let lone = Facts {
        pool: Membership::Alone,
        zone: None,
        ..facts()
    };
    let unsure = Facts {
        pool_nodes: None,
        ..facts()
    };
    for beta in [false, true] {
        let kind = if beta {
            Kind::EndpointSliceBeta
        } else {
            Kind::EndpointSlice
        };
        for (facts, service, stay) in [
            (&facts(), "node", &[0][..]),
            (&facts(), "zone", &[0, 2]),
            (&facts(), "pool", &[0, 1]),
            (&facts(), "other", ALL),
            (&lone, "zone", &[0]),
            (&lone, "pool", &[0]),
            // Which nodes are in the pool was never known: this one is.
            (&unsure, "pool", &[0]),
        ] {
            let want = match stay == ALL {
                true => Stays,
                false => Becomes(slice(service, stay, beta)),
            };
            check(
                Filter::ServiceTopology,
                facts,
                kind,
                slice(service, ALL, beta),
                want,
            );
        }
        let far = slice("node", &[2, 3], beta);
        check(
            Filter::ServiceTopology,
            &facts(),
            kind,
            far,
            Becomes(slice("node", &[], beta)),
        );
        let unknown = Facts {
            topologies: None,
            ..facts()
        };
        let bytes = json(&M(slice("other", ALL, beta))).into_bytes();
        let set = Set::default().with(Filter::ServiceTopology);
        let verdict = judge(set, &unknown, kind, Encoding::Json, &bytes);
        assert_eq!(verdict, Err(Cannot::Decide));
    }
}

/// Of each subset the nodes of its ready addresses, and of those that are not.
fn endpoints(subsets: &[[&[&'static str]; 2]]) -> Vec<(Field, V)> {
    let address = |node: &&'static str| {
        let mut fields = vec![(fields::ADDRESS_IP, T("10.0.0.1"))];
        if !node.is_empty() {
            fields.push((fields::ADDRESS_NODE, T(node)));
        }
        M(fields)
    };
    let subset = |nodes: &[&[&'static str]; 2]| {
        let list = |nodes: &[&'static str]| L(nodes.iter().map(address).collect());
        M(vec![
            (fields::SUBSET_ADDRESSES[0], list(nodes[0])),
            (fields::SUBSET_ADDRESSES[1], list(nodes[1])),
            (
                Field::new("ports", 3),
                L(vec![M(vec![(Field::new("port", 2), N(80))])]),
            ),
        ])
    };
    let subsets = L(subsets.iter().map(subset).collect());
    vec![meta("default", "node"), (fields::SUBSETS, subsets), new()]
}

#[test]
fn service_topology_of_endpoints() {
    let came = endpoints(&[
        [&["edge-1", "far", ""], &["edge-1"]],
        [&["far"], &["edge-2"]],
        [&[], &["edge-1"]],
        [&["far"], &["far", "edge-1"]],
    ]);
    let told = endpoints(&[
        [&["edge-1"], &["edge-1"]],
        [&[], &["edge-1"]],
        [&[], &["edge-1"]],
    ]);
    check(
        Filter::ServiceTopology,
        &facts(),
        Kind::Endpoints,
        came,
        Becomes(told),
    );
    let far = endpoints(&[[&["far"], &[]]]);
    check(
        Filter::ServiceTopology,
        &facts(),
        Kind::Endpoints,
        far,
        Becomes(endpoints(&[])),
    );
    let none = endpoints(&[]);
    check(
        Filter::ServiceTopology,
        &facts(),
        Kind::Endpoints,
        none,
        Stays,
    );
}

#[test]
fn in_cluster_config() {
    let map = |namespace, conf: &'static str| {
        let data = S(vec![
            ("config.conf", T(conf)),
            ("kubeconfig.conf", T("kubeconfig: x")),
        ]);
        vec![meta(namespace, "kube-proxy"), (fields::DATA, data)]
    };
    let came =
        "a: b\nclientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\n";
    let told =
        "a: b\nclientConnection:\n  #kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\n";
    let filter = Filter::InClusterConfig;
    check(
        filter,
        &facts(),
        Kind::ConfigMap,
        map("kube-system", came),
        Becomes(map("kube-system", told)),
    );
    check(filter, &facts(), Kind::ConfigMap, map("other", came), Stays);
    check(
        filter,
        &facts(),
        Kind::ConfigMap,
        vec![meta("kube-system", "kube-proxy")],
        Stays,
    );
}

#[test]
fn forward_kube_svc_traffic() {
    let slice = |service, family, endpoints: Vec<V>, port| {
        let labels = S(vec![(fields::SERVICE_NAME, T(service))]);
        let meta = vec![
            (fields::NAME, T("kubernetes")),
            (fields::NAMESPACE, T("default")),
            (fields::LABELS, labels),
        ];
        let port = vec![
            (fields::PORT_NAME, T("https")),
            (fields::PORT_NUMBER, N(port)),
        ];
        vec![
            (fields::METADATA, M(meta)),
            (fields::SLICE_ENDPOINTS, L(endpoints)),
            (fields::SLICE_PORTS, L(vec![M(port)])),
            (fields::SLICE_ADDRESS_TYPE, T(family)),
            new(),
        ]
    };
    let server = |ip| {
        M(vec![
            (fields::ENDPOINT_ADDRESSES, L(vec![T(ip)])),
            (fields::ENDPOINT_NODE, T("master")),
        ])
    };
    let servers = || vec![server("10.0.0.1"), server("10.0.0.2")];
    let filter = Filter::ForwardKubeSvcTraffic;
    for (service, family) in [
        ("kubernetes", "IPv6"),
        ("kubernetes", "FQDN"),
        ("other", "IPv4"),
    ] {
        let object = slice(service, family, servers(), 6443);
        check(filter, &facts(), Kind::EndpointSlice, object, Stays);
    }
    // `true` is written as 1 in protobuf alone, so the two are looked at by themselves.
    let set = Set::default().with(filter);
    let came = slice("kubernetes", "IPv4", servers(), 6443);
    let bytes = proto(&came);
    let ready = M(vec![
        (fields::ENDPOINT_ADDRESSES, L(vec![T("169.254.2.1")])),
        (
            fields::ENDPOINT_CONDITIONS,
            M(vec![(fields::CONDITION_READY, N(1))]),
        ),
    ]);
    let want = slice("kubernetes", "IPv4", vec![ready], 10268);
    let told = judge(
        set,
        &facts(),
        Kind::EndpointSlice,
        Encoding::Protobuf,
        &bytes,
    );
    assert_eq!(told, Ok(Verdict::Replace(proto(&want))));
    let told = judge(
        set,
        &facts(),
        Kind::EndpointSlice,
        Encoding::Json,
        json(&M(came)).as_bytes(),
    );
    let want = json(&M(want))
        .replace("\"ready\":1", "\"ready\":true")
        .into_bytes();
    assert_eq!(told, Ok(Verdict::Replace(want.clone())));
    let again = judge(set, &facts(), Kind::EndpointSlice, Encoding::Json, &want);
    assert_eq!(again, Ok(Verdict::Keep));
}

#[test]
fn service_env_updater() {
    let env = |name, rest: Vec<(Field, V)>| {
        let mut fields = vec![(fields::ENV_NAME, T(name))];
        fields.extend(rest);
        M(fields)
    };
    let value = |text| vec![(fields::ENV_VALUE, T(text))];
    let pod = |host: fn() -> Vec<(Field, V)>, port: &'static str| {
        let container = |name| {
            vec![
                (fields::NAME, T(name)),
                (
                    fields::CONTAINER_ENV,
                    L(vec![
                        env("KUBERNETES_SERVICE_HOST", host()),
                        env("OTHER", value("1")),
                        env("KUBERNETES_SERVICE_PORT", value(port)),
                        env("KUBERNETES_SERVICE_PORT_HTTPS", value(port)),
                    ]),
                ),
                new(),
            ]
        };
        let ephemeral = M(vec![(fields::EPHEMERAL_COMMON, M(container("c")))]);
        let spec = vec![
            (
                fields::CONTAINERS,
                L(vec![M(container("a")), M(vec![(fields::NAME, T("none"))])]),
            ),
            (fields::INIT_CONTAINERS, L(vec![M(container("b"))])),
            (fields::EPHEMERAL_CONTAINERS, L(vec![ephemeral])),
        ];
        vec![meta("ns", "p"), (fields::SPEC, M(spec)), new()]
    };
    let told = || pod(|| vec![(fields::ENV_VALUE, T("169.254.2.1"))], "10268");
    let filter = Filter::ServiceEnvUpdater;
    check(
        filter,
        &facts(),
        Kind::Pod,
        pod(|| vec![(fields::ENV_VALUE, T("10.96.0.1"))], "443"),
        Becomes(told()),
    );
    check(
        filter,
        &facts(),
        Kind::Pod,
        pod(Vec::new, "443"),
        Becomes(told()),
    );
    let by_reference = pod(
        || {
            vec![(
                fields::ENV_FROM,
                M(vec![(Field::new("fieldRef", 1), M(vec![]))]),
            )]
        },
        "443",
    );
    check(filter, &facts(), Kind::Pod, by_reference, Becomes(told()));
}

/// As the API server writes it: in protobuf an empty value stands before the source of one.
#[test]
fn service_env_updater_of_an_empty_value() {
    let env = |value, from: bool| {
        let mut variable = vec![
            (fields::ENV_NAME, T("KUBERNETES_SERVICE_HOST")),
            (fields::ENV_VALUE, T(value)),
        ];
        if from {
            variable.push((
                fields::ENV_FROM,
                M(vec![(Field::new("fieldRef", 1), M(vec![]))]),
            ));
        }
        let container = M(vec![(fields::CONTAINER_ENV, L(vec![M(variable)]))]);
        let spec = M(vec![(fields::CONTAINERS, L(vec![container]))]);
        proto(&[meta("ns", "p"), (fields::SPEC, spec)])
    };
    let set = Set::default().with(Filter::ServiceEnvUpdater);
    let told = judge(set, &facts(), Kind::Pod, Encoding::Protobuf, &env("", true));
    assert_eq!(told, Ok(Verdict::Replace(env("169.254.2.1", false))));
}

/// Whoever may make a pod could else make one that breaks the list of all.
#[test]
fn what_would_grow_too_much_stays_as_it_is() {
    let pod = |value: &'static str, many| {
        let variable = || {
            M(vec![
                (fields::ENV_NAME, T("KUBERNETES_SERVICE_HOST")),
                (fields::ENV_VALUE, T(value)),
            ])
        };
        let env = (0..many).map(|_| variable()).collect();
        let container = M(vec![
            (
                Field::new("image", 2),
                T("registry.example/one/of/some/length:1"),
            ),
            (fields::CONTAINER_ENV, L(env)),
        ]);
        let spec = M(vec![(fields::CONTAINERS, L(vec![container]))]);
        proto(&[meta("ns", "p"), (fields::SPEC, spec)])
    };
    let judge = Judge {
        set: Set::default().with(Filter::ServiceEnvUpdater),
        kind: Kind::Pod,
        facts: Rc::new(facts()),
    };
    let mut list = Rewriter::new(Encoding::Protobuf, "Pod", judge.growth());
    let items = [pod("", 1), pod("", 9000), pod("10.96.0.1", 9000)];
    let framed = |item: &Vec<u8>| list_item_framed_len(Encoding::Protobuf, item.len());
    let mut body = Vec::new();
    write_list_head(
        Encoding::Protobuf,
        &TypeMeta::new("v1", "PodList"),
        "7",
        items.iter().map(framed).sum(),
        &mut body,
    );
    for item in &items {
        write_list_item(Encoding::Protobuf, false, item, &mut body);
    }
    write_list_tail(Encoding::Protobuf, &mut body);
    let mut out = Vec::new();
    let mut told = |bare: &[u8]| judge.of(Encoding::Protobuf, bare);
    list.feed(&body, &mut told, &mut out).unwrap();
    list.finish().unwrap();
    let holds = |item: Vec<u8>| out.windows(item.len()).any(|part| part == item);
    assert!(holds(pod("169.254.2.1", 1)));
    assert!(holds(pod("", 9000)));
    assert!(holds(pod("169.254.2.1", 9000)));
}

#[test]
fn pod_ip_overlay() {
    let slice = |family, ips: [&'static str; 3]| {
        let endpoint = |ip, kind, uid| {
            let target = vec![
                (fields::REFERENCE_KIND, T(kind)),
                (fields::REFERENCE_UID, T(uid)),
            ];
            M(vec![
                (fields::ENDPOINT_ADDRESSES, L(vec![T(ip)])),
                (fields::ENDPOINT_TARGET, M(target)),
            ])
        };
        let all = vec![
            endpoint(ips[0], "Pod", "u1"),
            endpoint(ips[1], "Pod", "u2"),
            endpoint(ips[2], "Node", "u1"),
        ];
        vec![
            meta("ns", "s"),
            (fields::SLICE_ENDPOINTS, L(all)),
            (fields::SLICE_ADDRESS_TYPE, T(family)),
        ]
    };
    let filter = Filter::PodIpOverlay;
    for (family, ips, to) in [
        (
            "IPv4",
            ["10.1.0.1", "10.1.0.2", "10.1.0.3"],
            ["10.1.0.9", "10.1.0.2", "10.1.0.3"],
        ),
        (
            "IPv6",
            ["fd00::1", "fd00::2", "fd00::3"],
            ["fd00::9", "fd00::2", "fd00::3"],
        ),
    ] {
        check(
            filter,
            &facts(),
            Kind::EndpointSlice,
            slice(family, ips),
            Becomes(slice(family, to)),
        );
        let none = Facts {
            pod_ips: [].into(),
            pods_ready: [].into(),
            ..facts()
        };
        check(
            filter,
            &none,
            Kind::EndpointSlice,
            slice(family, ips),
            Stays,
        );
    }
    let endpoints = |ip| {
        let target = vec![
            (fields::REFERENCE_KIND, T("Pod")),
            (fields::REFERENCE_UID, T("u1")),
        ];
        let address = M(vec![
            (fields::ADDRESS_IP, T(ip)),
            (fields::ADDRESS_TARGET, M(target)),
        ]);
        let subset = M(vec![(fields::SUBSET_ADDRESSES[1], L(vec![address]))]);
        vec![meta("ns", "s"), (fields::SUBSETS, L(vec![subset]))]
    };
    check(
        filter,
        &facts(),
        Kind::Endpoints,
        endpoints("10.1.0.1"),
        Becomes(endpoints("10.1.0.9")),
    );
}

#[test]
fn pods_that_are_ready_again() {
    let conditions = |ready, serving, terminating| {
        M(vec![
            (fields::CONDITION_READY, Y(ready)),
            (fields::CONDITION_SERVING, Y(serving)),
            (fields::CONDITION_TERMINATING, Y(terminating)),
        ])
    };
    let slice = |uid, conditions| {
        let target = vec![
            (fields::REFERENCE_KIND, T("Pod")),
            (fields::REFERENCE_UID, T(uid)),
        ];
        let endpoint = M(vec![
            (fields::ENDPOINT_ADDRESSES, L(vec![T("10.1.0.9")])),
            (fields::ENDPOINT_CONDITIONS, conditions),
            (fields::ENDPOINT_TARGET, M(target)),
        ]);
        vec![
            meta("ns", "s"),
            (fields::SLICE_ENDPOINTS, L(vec![endpoint])),
            (fields::SLICE_ADDRESS_TYPE, T("IPv4")),
        ]
    };
    for (uid, was, want) in [
        ("u1", (false, false, false), Some((true, true, false))),
        ("u1", (true, false, false), Some((true, true, false))),
        ("u1", (true, true, false), None),
        ("u1", (false, true, true), None),
        ("u2", (false, false, false), None),
    ] {
        let of =
            |(ready, serving, terminating)| slice(uid, conditions(ready, serving, terminating));
        let want = want.map_or(Stays, |want| Becomes(of(want)));
        check(
            Filter::PodIpOverlay,
            &facts(),
            Kind::EndpointSlice,
            of(was),
            want,
        );
    }
    // What says nothing of it is ready.
    let silent = || slice("u1", M(vec![]));
    let want = slice(
        "u1",
        M(vec![
            (fields::CONDITION_READY, Y(true)),
            (fields::CONDITION_SERVING, Y(true)),
        ]),
    );
    check(
        Filter::PodIpOverlay,
        &facts(),
        Kind::EndpointSlice,
        silent(),
        Becomes(want),
    );
}

#[test]
fn metadata_alone_is_not_taken_for_the_object() {
    for (filter, kind, notes) in [
        (Filter::MasterService, Kind::Service, vec![]),
        (
            Filter::DiscardCloudService,
            Kind::Service,
            vec![("edge-hub/discard", T("true"))],
        ),
        (
            Filter::NodePortIsolation,
            Kind::Service,
            vec![("edge-hub/nodeport-pools", T("q"))],
        ),
        (Filter::ServiceEnvUpdater, Kind::Pod, vec![]),
    ] {
        let bytes = json(&M(vec![noted("default", "kubernetes", notes)])).into_bytes();
        let verdict = judge(
            Set::default().with(filter),
            &facts(),
            kind,
            Encoding::Json,
            &bytes,
        );
        assert!(verdict.is_err(), "{}", filter.name());
    }
}

#[test]
fn filters_follow_one_another() {
    let set = (Set::default().with(Filter::InClusterConfig)).with(Filter::HubCa);
    let map = |conf: &'static str| {
        let data = S(vec![("config.conf", T(conf)), ("ca.crt", T("A"))]);
        vec![meta("kube-system", "kube-proxy"), (fields::DATA, data)]
    };
    let told = judge(
        set,
        &facts(),
        Kind::ConfigMap,
        Encoding::Protobuf,
        &proto(&map("kubeconfig: x")),
    );
    assert_eq!(told, Ok(Verdict::Replace(proto(&map("#kubeconfig: x")))));
    assert_eq!(
        Filter::ALL.map(|f| f as usize),
        std::array::from_fn(|at| at)
    );
    assert!(
        Filter::ALL
            .iter()
            .all(|f| Filter::named(f.name()) == Some(*f))
    );
}
