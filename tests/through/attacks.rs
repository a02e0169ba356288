//! What must not get through: every way that was thought of to be somebody else, to hear what somebody else was told, or to
//! be served where one is not meant to be. With the link up, and with it cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use http::Method;
use serde_json::json;

use crate::door::{Door, SOON};
use crate::local::{NODE, is_forbidden, make_node, name, with_local_port};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::free_port;
use crate::support::http::{Call, Client, raw};
use crate::support::hub::{Hub, Setup};
use crate::support::netns::Netns;
use crate::support::relay::Relay;
use crate::support::signer::Token;

// ---- from elsewhere

/// A box with a hub, a neighbour on its LAN that has a route to it, and a container on it.
struct Site {
    // Dropped in this order.
    hub: Hub,
    relay: Relay,
    neighbour: Netns,
    container: Netns,
    machine: Netns,
}

const ON_LAN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const ON_BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 244, 7, 1);

impl Site {
    fn new() -> Site {
        let cluster = Cluster::shared();
        make_node(cluster);
        let [machine, neighbour, container] = ["box", "lan", "pod"].map(Netns::new);
        let there = Ipv4Addr::new(10, 9, 0, 2);
        machine.cable("eth0", ON_LAN, &neighbour, "eth0", there);
        let there = Ipv4Addr::new(10, 244, 7, 2);
        machine.cable("veth0", ON_BRIDGE, &container, "eth0", there);
        let route = |netns: &Netns, to: &str, via: Ipv4Addr| {
            netns.run(&["ip", "route", "add", to, "via", &via.to_string()]);
        };
        route(&machine, "default", Ipv4Addr::new(10, 9, 0, 2));
        route(&neighbour, "default", ON_LAN);
        route(&container, "default", ON_BRIDGE);
        // A name that the API server's certificate has.
        let up = SocketAddr::from((machine.uplink("kubernetes"), free_port()));
        let relay = Relay::on(up, cluster.address());
        let within = machine.within_knowing();
        let within: Vec<&str> = within.iter().map(String::as_str).collect();
        let setup = Setup::new(cluster, &format!("https://kubernetes:{}", up.port()))
            .set("own_addresses", json!(["169.254.2.1"]))
            .set("listen", json!(["127.0.0.1:10268", "169.254.2.1:10268"]))
            .set("admin_listen", "127.0.0.1:10267")
            .within(&within);
        let hub = with_local_port(setup, cluster)
            .set("local_listen", "127.0.0.1:10261")
            .start();
        hub.sees_online();
        Site {
            hub,
            relay,
            neighbour,
            container,
            machine,
        }
    }

    fn cut(&self) {
        self.relay.refuse();
        self.hub.sees_offline();
    }
}

/// The status of the answer that somebody there gets at that URL, who says that he is the kubelet; why there is none, as curl
/// numbers it.
fn curl(from: &Netns, url: &str) -> Result<u16, i32> {
    let [program, net] = from.within();
    let output = Command::new(program)
        .arg(net)
        .args(["curl", "-sSk", "-m", "10", "-o", "/dev/null"])
        .args(["-A", "kubelet/v1.36.4", "-w", "%{http_code}", url])
        .output()
        .expect("curl");
    match output.status.code() {
        Some(0) => {
            let status = String::from_utf8_lossy(&output.stdout).parse();
            Ok(status.expect("a number"))
        }
        code => Err(code.unwrap_or_default()),
    }
}

/// Nobody listens, and: the connection ended before TLS.
const REFUSED: i32 = 7;
const ENDED: i32 = 35;

#[test]
fn neighbours_reach_nothing_and_containers_the_tls_port() {
    let mut site = Site::new();
    let pods = "https://169.254.2.1:10268/api/v1/pods";
    for (turned_away, nobody) in [(1.0, 403), (2.0, 503)] {
        if nobody == 503 {
            site.cut();
        }
        assert_eq!(curl(&site.container, pods), Ok(nobody));
        assert_eq!(curl(&site.machine, pods), Ok(nobody));
        assert_eq!(curl(&site.machine, "https://127.0.0.1:10268/"), Ok(nobody));
        assert_eq!(curl(&site.neighbour, pods), Err(ENDED));
        assert_eq!(
            site.hub.metric("edge_hub_connections_turned_away_total"),
            turned_away
        );
        for from in [&site.container, &site.neighbour] {
            for at in ["169.254.2.1", "10.9.0.1", "10.244.7.1"] {
                for port in [10261, 10267] {
                    let url = format!("http://{at}:{port}/");
                    assert_eq!(curl(from, &url), Err(REFUSED), "{url}");
                }
            }
        }
    }
    // Where containers have addresses of the LAN, nobody can tell them from its others.
    site.hub.reload("neighbours", "serve");
    site.hub
        .logged("the new configuration and certificates are in force");
    assert_eq!(curl(&site.neighbour, pods), Ok(503));
}

/// Somebody has led a port of the machine to the plain port, and has the kernel take strangers' packets for 127.0.0.1, as
/// kube-proxy does.
#[test]
fn a_way_to_the_plain_port_is_not_enough() {
    let site = Site::new();
    let machine = &site.machine;
    machine.run(&["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"]);
    let to = ["-j", "DNAT", "--to-destination", "127.0.0.1:10261"];
    let nat = ["iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp"];
    machine.run(&[&nat[..], &["--dport", "8001"], &to].concat());
    for cut in [false, true] {
        if cut {
            site.cut();
        }
        // The node itself is served, so that this tests something.
        let url = format!("http://127.0.0.1:10261{NODE}");
        assert_eq!(curl(machine, &url), Ok(200));
        let url = format!("http://{}:8001{NODE}", ON_BRIDGE);
        assert_eq!(curl(&site.container, &url), Ok(403));
        site.hub.logged("uid=none is not among local_uids");
        let url = format!("http://{}:8001{NODE}", ON_LAN);
        assert_eq!(curl(&site.neighbour, &url), Ok(403));
    }
}

// ---- as somebody else

const FRONT_PROXY: [(&str, &str); 6] = [
    ("x-remote-user", "admin"),
    ("X-REMOTE-USER", "admin"),
    ("x_remote_user", "admin"),
    ("X-Remote_User", "admin"),
    ("x-remote-uid", "1"),
    ("x-remote-extra-scopes", "x"),
];

#[test]
fn headers_make_nobody_of_anybody() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let door = Door::with(cluster, "a-headers", |setup| {
        setup.identity(cluster, "system:node:*", "node")
    });
    let (certificate, key) = cluster.pair("node");
    let tester = "system:serviceaccount:a-headers:tester";
    for http1 in [false, true] {
        let of = |client: Client| if http1 { client.http1() } else { client };
        let token = of(door.client());
        let node = of(door.hub.client().certificate(&certificate, &key));
        for (header, value) in FRONT_PROXY {
            let with = &[(header, value), ("x-remote-group", "system:masters")];
            assert_eq!(name(&token, with), (201, tester.into()), "{header}");
            let told = (201, "system:node:edge-1".into());
            assert_eq!(name(&node, with), told, "{header}");
            let mut call = Call::get(NODE);
            call.headers.extend(with);
            let nobody = of(door.hub.client()).agent("kubelet/v1.36.4");
            let nobody = nobody.call(call).expect(403).text();
            assert!(nobody.contains("system:anonymous"), "{nobody}");
        }
        // A certificate beats a token, whoever's it is.
        let both = node.clone().bearer(&door.token);
        assert_eq!(name(&both, &[]), (201, "system:node:edge-1".into()));
        // Connection must not take away who somebody is.
        let with = &[("connection", "authorization")];
        if http1 {
            assert_eq!(name(&token, with), (201, tester.into()));
        }
        // Of two tokens nobody can say which one counts.
        let call = Call::get("/version").header("authorization", "Bearer other");
        let told = token.call(call).expect(400).text();
        assert!(told.contains("more than one Authorization"), "{told}");
    }
    // Nor by a second line that another program would have joined to the first.
    let folded = format!(
        "GET /version HTTP/1.1\r\nhost: h\r\nauthorization: Bearer wrong\r\n authorization: Bearer {}\r\n\r\n",
        door.token
    );
    let answer = raw(&door.hub.client(), "http/1.1", folded.as_bytes(), SOON);
    let answer = String::from_utf8(answer.expect("an answer")).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn tokens_on_one_connection_are_not_each_others() {
    let door = Door::new("a-shared");
    let other = door.cluster.account("a-shared", "other", "view");
    door.set("one", "1");
    let connection = door.hub.client().connect().expect("a connection");
    let (ours, others) = (format!("Bearer {}", door.token), format!("Bearer {other}"));
    let ask = |path: &str, token: Option<&str>| {
        let mut call = Call::get(path);
        call.headers
            .extend(token.map(|token| ("authorization", token)));
        let sent = connection.share().send(call);
        sent.and_then(crate::support::http::Reply::whole)
            .expect("an answer")
    };
    let maps = door.maps("");
    ask(&maps, Some(&ours)).expect(200);
    ask(&maps, None).expect(403);
    ask(&maps, Some("Bearer wrong")).expect(401);
    let secrets = "/api/v1/namespaces/a-shared/secrets";
    ask(secrets, Some(&ours)).expect(200);
    ask(secrets, Some(&others)).expect(403);
    // Many at once, mixed: to each his own.
    std::thread::scope(|scope| {
        for n in 0..60 {
            let (ask, ours, others) = (&ask, &ours, &others);
            scope.spawn(move || match n % 3 {
                0 => drop(ask(secrets, Some(ours)).expect(200)),
                1 => drop(ask(secrets, Some(others)).expect(403)),
                _ => drop(ask(secrets, None).expect(403)),
            });
        }
    });
    door.cut();
    kept(&ask(&maps, Some(&ours)));
    kept(&ask(secrets, Some(&ours)));
    for token in [Some(others.as_str()), None, Some("Bearer wrong")] {
        unknown(&ask(secrets, token));
        unknown(&ask(&maps, token));
    }
}

#[test]
fn certificates_of_others() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let door = Door::with(cluster, "a-papers", |setup| {
        setup
            .identity(cluster, "system:node:*", "node")
            // Whose pair it is not: this entry alone is refused.
            .identity(cluster, "admin", "node")
    });
    let told = door.hub.status()["warnings"].to_string();
    assert!(told.contains("cn=admin: refused"), "{told}");
    let told = door.hub.command(&["check"]);
    assert!(
        told.stdout.contains("act as somebody else"),
        "{}",
        told.stdout
    );
    let node = |client: Client, (certificate, key): &(std::path::PathBuf, std::path::PathBuf)| {
        client.certificate(certificate, key).agent("kubelet/v1")
    };
    let own = cluster.pair("node");
    node(door.hub.client(), &own).get(NODE).expect(200);
    let strangers = [
        cluster.pair("admin"),
        cluster.user("a-other", "system:node:edge-2", "system:nodes"),
        cluster.user("a-more", "system:node:edge-1", "system:masters"),
        cluster.user("a-bare", "system:node:edge-1", ""),
        cluster.user("a-masters", "system:masters", "system:masters"),
        cluster.user("a-star", "system:node:*", "system:nodes"),
    ];
    // Whoever shows both is whom the certificate names, and nobody else besides.
    let maps = door.maps("");
    let both = node(door.client(), &own);
    door.client().agent("kubelet/v1").get(&maps).expect(200);
    both.get(NODE).expect(200);
    both.get(&maps).expect(403);
    for cut in [false, true] {
        if cut {
            door.cut();
            kept(&node(door.hub.client(), &own).get(NODE));
            kept(&both.get(NODE));
            kept(&door.client().agent("kubelet/v1").get(&maps));
            unknown(&both.get(&maps));
        }
        for pair in &strangers {
            // A good token beside it helps nobody: nothing falls back to another identity.
            for client in [door.hub.client(), door.client()] {
                is_forbidden(&node(client, pair).get(NODE), "`identities`");
            }
        }
        for pair in [of_another_ca(&door), expired(&door)] {
            let client = node(door.hub.client(), &pair);
            let connected = client.send(Call::get(NODE));
            assert!(
                connected.is_err(),
                "{:?}",
                connected.map(|reply| reply.status)
            );
        }
    }
}

pub fn openssl(door: &Door, words: &str) {
    let output = Command::new("openssl")
        .args(words.split_ascii_whitespace())
        .current_dir(door.dir.path())
        .output()
        .expect("openssl");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {told}");
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
const V3: &str = "-copy_extensions copyall";
const NODES_NAME: &str =
    "-subj /O=system:nodes/CN=system:node:edge-1 -addext extendedKeyUsage=clientAuth";

/// The node's name, signed by a CA that has the name of the cluster's.
pub fn of_another_ca(door: &Door) -> (std::path::PathBuf, std::path::PathBuf) {
    openssl(
        door,
        &format!("req -x509 {NEW_KEY} -subj /CN=lab-ca -keyout fake.key -out fake.crt"),
    );
    openssl(
        door,
        &format!("req -new {NEW_KEY} {NODES_NAME} -keyout f.key -out f.csr"),
    );
    openssl(
        door,
        &format!(
            "x509 -req -in f.csr -CA fake.crt -CAkey fake.key -CAcreateserial -days 30 {V3} -out f.crt"
        ),
    );
    ["f.crt", "f.key"]
        .map(|name| door.dir.path().join(name))
        .into()
}

/// The node's name, signed by the cluster's CA for a time that is over.
fn expired(door: &Door) -> (std::path::PathBuf, std::path::PathBuf) {
    let ca = door.cluster.file("pki/ca").display().to_string();
    openssl(
        door,
        &format!("req -new {NEW_KEY} {NODES_NAME} -keyout e.key -out e.csr"),
    );
    openssl(
        door,
        &format!(
            "x509 -req -in e.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days -1 {V3} -out e.crt"
        ),
    );
    ["e.crt", "e.key"]
        .map(|name| door.dir.path().join(name))
        .into()
}

/// An API server looks for a token among the protocols of a WebSocket too. Whoever shows his own there, and beside it one that
/// he has written himself, is let in as himself; the other is nobody's all the same.
#[test]
fn a_good_token_speaks_for_no_other_beside_it() {
    let door = Door::new("a-beside");
    let other = door.cluster.account("a-beside", "other", "view");
    door.set("one", "1");
    let maps = door.maps("");
    door.client().get(&maps).expect(200);
    let forged = Token::read(&door.token).number(1).signed_by(b"nothing");
    let ask = |authorization: &str, shown: &str| {
        let protocol = Token::encode(shown.as_bytes());
        let request = format!(
            "GET {maps} HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{protocol}\r\n\
             {authorization}\r\n"
        );
        let answer = raw(&door.hub.client(), "http/1.1", request.as_bytes(), SOON);
        let answer = String::from_utf8(answer.expect("it ends")).expect("text");
        answer["HTTP/1.1 ".len()..][..3].to_string()
    };
    // So that this tests something: a browser's way to show a token.
    assert_eq!(ask("", &other), "200");
    assert_eq!(ask("", "wrong"), "401");
    let both = format!("authorization: Bearer {forged}\r\n");
    assert_eq!(ask(&both, &other), "400");
    door.cut();
    unknown(&door.hub.client().bearer(&forged).get(&maps));
    kept(&door.client().get(&maps));
    assert_eq!(ask("", &other), "503");
    assert_eq!(ask(&both, &other), "400");
}

// ---- between the lines

/// What follows a request to upgrade is another protocol's, or nothing.
#[test]
fn nothing_is_asked_behind_an_upgrade_that_was_none() {
    let door = Door::new("a-behind");
    let none = format!("GET {}", door.maps("/none"));
    // Answered by the API server, by what is kept or not, and refused by the hub at the first look.
    let requests = [
        (&*none, ""),
        ("TRACE /", ""),
        ("OPTIONS *", ""),
        ("GET /", "authorization: Bearer x\r\n"),
    ];
    for cut in [false, true] {
        if cut {
            door.cut();
        }
        for (line, more) in requests {
            let request = format!(
                "{line} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nauthorization: Bearer {}\r\n{more}\r\n\
                 GET /smuggled HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                door.token
            );
            let answer = raw(&door.hub.client(), "http/1.1", request.as_bytes(), SOON);
            let answer = String::from_utf8(answer.expect("it ends")).expect("text");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
            assert!(!door.hub.log().contains("/smuggled"));
        }
    }
}

/// A body that is not as long as it was said to be ends its own request, and no other's, whatever carries it up: the
/// strangers' connections to the API server are of HTTP/1.1, and are used again.
#[test]
fn a_lying_length_changes_nothing_for_others() {
    let door = Door::new("a-length");
    let nobody = door.hub.client();
    for _ in 0..20 {
        for (length, body) in [
            ("5", "0123456789GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"),
            ("500", "{}"),
        ] {
            let mut call = Call::json(Method::POST, "/version", &json!({}));
            call.headers.push(("content-length", length));
            call.body = body.into();
            // Refused, reset or answered: only not as if it were whole.
            if let Ok(reply) = nobody.send(call) {
                assert!(reply.status >= 400, "{}", reply.status);
            }
        }
        let told = nobody.get("/version").expect(200).json();
        assert!(told["gitVersion"].is_string(), "{told}");
        door.client().get(&door.maps("")).expect(200);
    }
    assert!(
        !std::fs::read_to_string(door.cluster.file("apiserver.log"))
            .is_ok_and(|log| log.contains("smuggled"))
    );
}
