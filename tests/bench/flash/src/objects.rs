//! Objects as a node of a small cluster gets them, and how they change: the same ones in every run.
//!
//! Pods of 5.6 KB, endpoint slices of 1.6 KB, TLS secrets of 2.5 KB, all with their managedFields. Made from templates,
//! and so alike, as the replicas of a few deployments are.

/// A third, half, and a sixth: 3.1 KB on average.
pub const NODE: &[Kind] = &[
    Kind::Pod,
    Kind::Pod,
    Kind::EndpointSlice,
    Kind::EndpointSlice,
    Kind::EndpointSlice,
    Kind::Secret,
];
/// So many of them.
pub const NODE_COUNT: usize = 300;
/// 2 KB on average.
pub const SMALL: &[Kind] = &[Kind::EndpointSlice, Kind::Secret];

/// They belong to so many deployments.
const APPS: usize = 20;
/// 2026-11-20T00:00:00Z, in seconds.
const START_SECS: u64 = 1_795_132_800;

/// The kinds, each a collection of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Pod,
    EndpointSlice,
    Secret,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Pod, Kind::EndpointSlice, Kind::Secret];

    /// API group and resource.
    pub fn resource(self) -> (&'static str, &'static str) {
        match self {
            Kind::Pod => ("", "pods"),
            Kind::EndpointSlice => ("discovery.k8s.io", "endpointslices"),
            Kind::Secret => ("", "secrets"),
        }
    }
}

/// All of them as they are now.
pub struct Objects {
    list: Vec<Object>,
    random: Random,
    version: u64,
    now_secs: u64,
}

struct Object {
    kind: Kind,
    key: String,
    /// All but version and time.
    text: String,
    version: u64,
    changed_secs: u64,
}

impl Objects {
    /// As the first list shows them; the kinds take turns.
    pub fn new(kinds: &[Kind], count: usize) -> Objects {
        let mut random = Random(0x6564_6765_2d68_7562);
        let list = (0..count)
            .map(|n| object(kinds[n % kinds.len()], n, &mut random))
            .collect();
        Objects {
            list,
            random,
            version: 1_000_000,
            now_secs: START_SECS,
        }
    }

    /// Some seconds later, one of them has changed: its number. Any is as likely as any other, which is the worst case.
    pub fn update(&mut self) -> usize {
        let at = self.random.below(self.list.len() as u64) as usize;
        self.version += 1 + self.random.below(40);
        self.now_secs += 3;
        (self.list[at].version, self.list[at].changed_secs) = (self.version, self.now_secs);
        at
    }

    /// The numbers of those of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = usize> + '_ {
        (0..self.list.len()).filter(move |at| self.kind(*at) == kind)
    }

    pub fn kind(&self, at: usize) -> Kind {
        self.list[at].kind
    }

    /// `namespace/name`.
    pub fn key(&self, at: usize) -> &str {
        &self.list[at].key
    }

    /// JSON as the API server writes it, without spaces.
    pub fn json(&self, at: usize) -> Vec<u8> {
        let object = &self.list[at];
        let text = object
            .text
            .replace("$VERSION", &object.version.to_string())
            .replace("$CHANGED", &timestamp(object.changed_secs));
        text.into_bytes()
    }

    /// What a watch of them has come to.
    pub fn version(&self) -> String {
        self.version.to_string()
    }
}

fn object(kind: Kind, n: usize, random: &mut Random) -> Object {
    let template = match kind {
        Kind::Pod => POD,
        Kind::EndpointSlice => SLICE,
        Kind::Secret => SECRET,
    };
    let app = format!("app-{:02}", n % APPS);
    // Of the deployment, and so the same for its replicas.
    let hash = Random(n as u64 % APPS as u64 + 1).letters(10);
    let name = match kind {
        Kind::Pod => format!("{app}-{hash}-{}", random.letters(5)),
        Kind::EndpointSlice => format!("{app}-{}", random.letters(5)),
        Kind::Secret => format!("{app}-tls-{n}"),
    };
    let mut text = template.replace('\n', "");
    for (mark, value) in [
        ("$NAME", name.as_str()),
        ("$APP", &app),
        ("$HASH", &hash),
        ("$IMAGE", &Random(n as u64 % APPS as u64 + 100).hex(64)),
        ("$RSUID", &Random(n as u64 % APPS as u64 + 200).uid()),
        ("$POD_IP", &address(random)),
        (
            "$CREATED",
            &timestamp(START_SECS - 86_400 - random.below(86_400)),
        ),
    ] {
        text = text.replace(mark, value);
    }
    // Each occurrence its own.
    let fillings: [(&str, Make); 5] = [
        ("$UID", Random::uid),
        ("$HEX", |random| random.hex(64)),
        ("$IP", address),
        ("$CRT", |random| random.base64(1000)),
        ("$KEY", |random| random.base64(558)),
    ];
    for (mark, fill) in fillings {
        while let Some(at) = text.find(mark) {
            text.replace_range(at..at + mark.len(), &fill(random));
        }
    }
    Object {
        kind,
        key: format!("shop/{name}"),
        text,
        version: 900_000 + n as u64 * 7,
        changed_secs: START_SECS - random.below(86_400),
    }
}

type Make = fn(&mut Random) -> String;

fn address(random: &mut Random) -> String {
    format!("10.42.{}.{}", random.below(8), random.below(250))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of(&mut self, alphabet: &[u8], len: usize) -> String {
        (0..len)
            .map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize]))
            .collect()
    }

    /// As the names that the API server generates end.
    fn letters(&mut self, len: usize) -> String {
        self.of(b"bcdfghjklmnpqrstvwxz2456789", len)
    }

    fn hex(&mut self, len: usize) -> String {
        self.of(b"0123456789abcdef", len)
    }

    fn base64(&mut self, len: usize) -> String {
        self.of(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            len,
        )
    }

    fn uid(&mut self) -> String {
        [8, 4, 4, 4, 12].map(|len| self.hex(len)).join("-")
    }
}

/// RFC 3339, for days within the month that these objects live in.
fn timestamp(secs: u64) -> String {
    let (from, day_secs) = (START_SECS / 86_400, 86_400);
    let day = 20 + secs / day_secs - from;
    let of_day = secs % day_secs;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

const POD: &str = r#"{"metadata":{"name":"$NAME","generateName":"$APP-$HASH-","namespace":"shop","uid":"$UID",
"resourceVersion":"$VERSION","generation":1,"creationTimestamp":"$CREATED","labels":{"app.kubernetes.io/instance":"$APP",
"app.kubernetes.io/name":"$APP","app.kubernetes.io/part-of":"shop","pod-template-hash":"$HASH"},"annotations":{
"prometheus.io/port":"9102","prometheus.io/scrape":"true"},"ownerReferences":[{"apiVersion":"apps/v1",
"kind":"ReplicaSet","name":"$APP-$HASH","uid":"$RSUID","controller":true,"blockOwnerDeletion":true}],"managedFields":[
{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"$CREATED","fieldsType":"FieldsV1",
"fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:prometheus.io/port":{},"f:prometheus.io/scrape":{}},
"f:generateName":{},"f:labels":{".":{},"f:app.kubernetes.io/instance":{},"f:app.kubernetes.io/name":{},
"f:app.kubernetes.io/part-of":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"$RSUID\"}":{}}},
"f:spec":{"f:containers":{"k:{\"name\":\"server\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"LISTEN\"}":{".":{},
"f:name":{},"f:value":{}},"k:{\"name\":\"NODE_NAME\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:fieldRef":{}}}},
"f:image":{},"f:imagePullPolicy":{},"f:livenessProbe":{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},
"f:port":{},"f:scheme":{}},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:name":{},"f:ports":{
".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}},
"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},
"f:terminationMessagePath":{},"f:terminationMessagePolicy":{},"f:volumeMounts":{".":{},
"k:{\"mountPath\":\"/etc/server\"}":{".":{},"f:mountPath":{},"f:name":{},"f:readOnly":{}}}}},"f:dnsPolicy":{},
"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},
"f:terminationGracePeriodSeconds":{},"f:volumes":{".":{},"k:{\"name\":\"config\"}":{".":{},"f:configMap":{".":{},
"f:defaultMode":{},"f:name":{}},"f:name":{}}}}}},{"manager":"kubelet","operation":"Update","apiVersion":"v1",
"time":"$CHANGED","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:conditions":{
"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},
"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},
"f:hostIPs":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"$POD_IP\"}":{".":{},"f:ip":{}}},"f:startTime":{}}},
"subresource":"status"}]},"spec":{"volumes":[{"name":"config","configMap":{"name":"$APP","defaultMode":420}},{
"name":"kube-api-access","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{
"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{
"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}],
"containers":[{"name":"server","image":"images.shop.example/$APP:v1.14.2","ports":[{"name":"http","containerPort":8080,
"protocol":"TCP"}],"env":[{"name":"LISTEN","value":":8080"},{"name":"NODE_NAME","valueFrom":{"fieldRef":{
"apiVersion":"v1","fieldPath":"spec.nodeName"}}}],"resources":{"limits":{"memory":"128Mi"},"requests":{"cpu":"50m",
"memory":"64Mi"}},"volumeMounts":[{"name":"config","readOnly":true,"mountPath":"/etc/server"},{
"name":"kube-api-access","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"livenessProbe":{
"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,
"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File",
"imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,
"dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","nodeName":"edge-17",
"securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready",
"operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable",
"operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,
"preemptionPolicy":"PreemptLowerPriority"},"status":{"observedGeneration":1,"phase":"Running","conditions":[{
"type":"Initialized","status":"True","lastProbeTime":null,"lastTransitionTime":"$CREATED"},{
"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"$CHANGED"},{
"type":"ContainersReady","status":"True","lastProbeTime":null,"lastTransitionTime":"$CHANGED"}],
"hostIP":"192.168.7.17","hostIPs":[{"ip":"192.168.7.17"}],"podIP":"$POD_IP","podIPs":[{"ip":"$POD_IP"}],"startTime":"$CREATED",
"containerStatuses":[{"name":"server","state":{"running":{"startedAt":"$CHANGED"}},"lastState":{},"ready":true,
"restartCount":0,"image":"images.shop.example/$APP:v1.14.2","imageID":"images.shop.example/$APP@sha256:$IMAGE",
"containerID":"containerd://$HEX","started":true}],"qosClass":"Burstable"}}"#;

const SLICE: &str = r#"{"metadata":{"name":"$NAME","namespace":"shop","uid":"$UID",
"resourceVersion":"$VERSION","generation":4,"creationTimestamp":"$CREATED","labels":{
"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"$APP"},
"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"$CHANGED"},"ownerReferences":[{"apiVersion":"v1",
"kind":"Service","name":"$APP","uid":"$RSUID","controller":true}],"managedFields":[{
"manager":"kube-controller-manager","operation":"Update","apiVersion":"discovery.k8s.io/v1","time":"$CHANGED",
"fieldsType":"FieldsV1","fieldsV1":{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:annotations":{".":{},
"f:endpoints.kubernetes.io/last-change-trigger-time":{}},"f:labels":{".":{},
"f:endpointslice.kubernetes.io/managed-by":{},"f:kubernetes.io/service-name":{}},"f:ownerReferences":{".":{},
"k:{\"uid\":\"$RSUID\"}":{}}},"f:ports":{}}}]},"addressType":"IPv4","endpoints":[{"addresses":["$IP"],"conditions":{
"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod","namespace":"shop","name":"$APP-$HASH-a",
"uid":"$UID"},"nodeName":"edge-17"},{"addresses":["$IP"],"conditions":{"ready":true,"serving":true,"terminating":false},
"targetRef":{"kind":"Pod","namespace":"shop","name":"$APP-$HASH-b","uid":"$UID"},"nodeName":"edge-18"}],"ports":[{
"name":"http","port":8080,"protocol":"TCP"}]}"#;

const SECRET: &str = r#"{"metadata":{"name":"$NAME","namespace":"shop","uid":"$UID","resourceVersion":"$VERSION",
"creationTimestamp":"$CREATED","labels":{"controller.cert-manager.io/fao":"true"},"annotations":{
"cert-manager.io/certificate-name":"$APP","cert-manager.io/common-name":"$APP.shop.svc",
"cert-manager.io/issuer-kind":"ClusterIssuer","cert-manager.io/issuer-name":"edge"},"managedFields":[{
"manager":"cert-manager-certificates-issuing","operation":"Apply","apiVersion":"v1","time":"$CHANGED",
"fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:ca.crt":{},"f:tls.crt":{},"f:tls.key":{}},"f:metadata":{
"f:annotations":{"f:cert-manager.io/certificate-name":{},"f:cert-manager.io/common-name":{},
"f:cert-manager.io/issuer-kind":{},"f:cert-manager.io/issuer-name":{}},"f:labels":{
"f:controller.cert-manager.io/fao":{}}},"f:type":{}}}]},"data":{"tls.crt":"$CRT","tls.key":"$KEY"},
"type":"kubernetes.io/tls"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Objects {
        Objects::new(NODE, NODE_COUNT)
    }

    #[test]
    fn sizes_are_those_that_are_claimed() {
        let mean = |objects: &Objects, kinds: &[Kind]| {
            let sizes: Vec<usize> = (kinds.iter())
                .flat_map(|kind| objects.of(*kind))
                .map(|at| objects.json(at).len())
                .collect();
            sizes.iter().sum::<usize>() / sizes.len()
        };
        let found = [
            mean(&node(), &[Kind::Pod]),
            mean(&node(), &[Kind::EndpointSlice]),
            mean(&node(), &[Kind::Secret]),
            mean(&node(), &Kind::ALL),
            mean(&Objects::new(SMALL, 300), &Kind::ALL),
        ];
        for (got, want) in found.into_iter().zip([5600, 1600, 2500, 3100, 2050]) {
            assert!(
                got.abs_diff(want) * 50 <= want,
                "{got} where {want} is meant: {found:?}"
            );
        }
    }

    #[test]
    fn objects_are_json_and_each_has_a_key_of_its_own() {
        for (kinds, count) in [(NODE, NODE_COUNT), (SMALL, 10_000)] {
            let objects = Objects::new(kinds, count);
            let mut keys = std::collections::BTreeSet::new();
            for at in 0..count {
                let value: serde_json::Value = serde_json::from_slice(&objects.json(at)).unwrap();
                let name = value["metadata"]["name"].as_str().unwrap();
                assert_eq!(objects.key(at), format!("shop/{name}"));
                assert!(!value.to_string().contains('$'), "{value}");
                assert!(keys.insert(objects.key(at)), "{name}");
            }
        }
    }

    #[test]
    fn an_update_changes_one_and_its_times() {
        let (before, mut after) = (node(), node());
        let changed = after.update();
        for at in 0..NODE_COUNT {
            assert_eq!(before.json(at) == after.json(at), at != changed, "{at}");
        }
        assert_eq!(timestamp(START_SECS + 86_399), "2026-11-20T23:59:59Z");
    }
}
