//! Pairs and CAs that change while the hub serves with them: nobody notices, and what is new is in use within seconds.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::attacks::{of_another_ca, openssl};
use crate::clock::{certificate, now};
use crate::door::{Door, SOON};
use crate::join::base64;
use crate::local::{NODE, make_node};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client, Connection, JSON, Reply};
use crate::support::until;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// A new pair of the node, signed by the controller manager and written as the kubelet writes it: certificate and key in
/// one file, to which `kubelet-client-current.pem` then leads.
fn renew(door: &Door, n: usize) {
    openssl(
        door,
        &format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=system:nodes/CN=system:node:edge-1 \
             -keyout {n}.key -out {n}.csr"
        ),
    );
    let dir = door.dir.path();
    let read = |name: String| std::fs::read(dir.join(name)).expect("a file");
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": { "generateName": "rotation-" },
        "spec": {
            "request": base64(&read(format!("{n}.csr"))),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": 600,
        },
    });
    let (certificate, key) = door.cluster.pair("node");
    let node = Client::new(door.cluster.address(), &door.cluster.ca());
    let node = node.certificate(&certificate, &key);
    let made = node
        .call(Call::json(Method::POST, REQUESTS, &object))
        .expect(201)
        .json();
    let name = made["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_string();
    let signed = until("the controller manager signs", SOON, || {
        let request = node.get(&format!("{REQUESTS}/{name}")).json();
        request["status"]["certificate"]
            .as_str()
            .map(str::to_string)
    });
    let encoded = dir.join(format!("{n}.b64"));
    std::fs::write(&encoded, signed).expect("a file");
    openssl(door, &format!("base64 -d -A -in {n}.b64 -out {n}.crt"));
    let pem = [read(format!("{n}.crt")), read(format!("{n}.key"))].concat();
    let file = dir.join(format!("kubelet-client-{n}.pem"));
    std::fs::write(&file, pem).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let link = dir.join("kubelet-client-updated.pem");
    std::os::unix::fs::symlink(file.file_name().expect("a name"), &link).expect("a link");
    std::fs::rename(&link, current(door)).expect("it takes the place of the former");
}

fn current(door: &Door) -> PathBuf {
    door.dir.path().join("kubelet-client-current.pem")
}

/// As which certificate the API server knows who asks: the digest of it.
fn credential(client: &Client) -> String {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let told = client
        .call(Call::json(Method::POST, REVIEW, &review))
        .expect(201)
        .json();
    let user: &Value = &told["status"]["userInfo"];
    assert_eq!(user["username"], "system:node:edge-1");
    let credential = &user["extra"]["authentication.kubernetes.io/credential-id"][0];
    credential.as_str().expect("a digest").to_string()
}

#[test]
fn a_pair_that_changes_every_few_seconds_fails_nobody() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let mut door = Door::new("r-pairs");
    door.set("one", "0");
    renew(&door, 0);
    let pem = current(&door).display().to_string();
    door.hub.change(
        "identities",
        json!([{ "cn": "system:node:*", "cert": pem, "key": pem }]),
    );
    door.hub.change("client_cert", pem.clone());
    door.hub.change("client_key", pem.clone());
    let port = crate::support::free_port();
    door.hub.change("local_listen", format!("127.0.0.1:{port}"));
    door.hub.terminate(SOON);
    door.hub.run();
    door.hub.sees_online();
    let kubelet = || {
        door.hub
            .client()
            .certificate(&current(&door), &current(&door))
    };
    let path = "/api/v1/nodes?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dedge-1";
    let mut watch = kubelet().watch(path, JSON);
    assert_eq!(watch.event(SOON).kind, "ADDED");

    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // One connection of the first pair, one of the newest each time, one at the plain port, and a token.
        let first = kubelet().connect().expect("a connection");
        let local = door.hub.local().connect().expect("a connection");
        let token = door.client().connect().expect("a connection");
        for (connection, path) in [
            (first, NODE.to_string()),
            (local, NODE.to_string()),
            (token, door.maps("/one")),
        ] {
            let (done, asked) = (&done, &asked);
            scope.spawn(move || {
                let mut connection = connection;
                while !done.load(Ordering::Relaxed) {
                    let reply = connection.send(Call::get(&path)).and_then(Reply::whole);
                    let reply = reply.expect("an answer");
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    assert_eq!(reply.header("edge-hub-cache"), "", "the API server's own");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut seen = vec![credential(&kubelet())];
        for n in 1..=5 {
            renew(&door, n);
            let new = until("the new pair goes up", Duration::from_secs(5), || {
                kubelet().get(NODE).expect(200);
                let now = credential(&kubelet());
                (!seen.contains(&now)).then_some(now)
            });
            let digest = format!("X509SHA256={}", digest(&door, n));
            assert_eq!(new, digest, "renewal {n}");
            assert_eq!(
                credential(&door.hub.local()),
                digest,
                "at the plain port too"
            );
            seen.push(new);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?}");
    // The stream of the first pair lives on.
    let patch = json!({ "metadata": { "labels": { "rotation": "done" } } });
    let mut call = Call::json(Method::PATCH, NODE, &patch);
    call.headers = vec![("content-type", "application/merge-patch+json")];
    cluster.admin().call(call).expect(200);
    let end = std::time::Instant::now() + SOON;
    while watch.event(SOON).meta.name != "edge-1" {
        assert!(std::time::Instant::now() < end);
    }
    assert_eq!(door.hub.status()["warnings"], json!([]));
    // A token's connection to the API server is none of a pair's business: it was never renewed.
    let renewals = door
        .hub
        .log()
        .matches("certificates: renewed ones are in use")
        .count();
    assert!(renewals >= 5, "{renewals}");
}

/// A box that was cut off for longer than its certificate lasts is back in sight of its cloud, which refuses the box, and
/// nobody else.
#[test]
fn a_pair_that_has_run_out_takes_nothing_with_it() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let mut door = Door::new("r-over");
    let pem = |door: &Door, (certificate, key): (PathBuf, PathBuf)| {
        let both = [certificate, key].map(|path| std::fs::read(path).expect("a file"));
        let file = door.dir.write("new.pem", both.concat());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
        std::fs::rename(&file, current(door)).expect("it takes the place of the former");
    };
    let ends = now() + 15;
    pem(&door, certificate(&door, "short", ends - 3600, ends));
    let file = current(&door).display().to_string();
    for key in ["client_cert", "client_key"] {
        door.hub.change(key, file.clone());
    }
    door.hub.change(
        "identities",
        json!([{ "cn": "system:node:*", "cert": file, "key": file }]),
    );
    door.hub.terminate(SOON);
    door.hub.run();
    door.hub.sees_online();
    let (certificate, key) = cluster.pair("node");
    let kubelet = door.hub.client().certificate(&certificate, &key);
    let kubelet = kubelet.agent("kubelet/v1");
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let told = kubelet.get(NODE).expect(200);
    kubelet.get(classes).expect(200);
    let warned = door.hub.status()["warnings"].to_string();
    assert!(warned.contains("ends in 0 days"), "{warned}");
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    kept(&kubelet.get(NODE));
    until("the pair has run out", SOON, || {
        (now() > ends + 1).then_some(())
    });
    // The link is up when it is: others have good tokens.
    door.mend();
    let maps = door.client().get(&door.maps("")).expect(200);
    assert_eq!(maps.header("edge-hub-cache"), "");
    kubelet.get(NODE).expect(401);
    // Nor does anybody else's token come in beside it.
    let both = kubelet.clone().bearer(&door.token);
    both.get(&door.maps("")).expect(401);
    assert_eq!(door.hub.status()["link"]["state"], "up");
    let warned = door.hub.status()["warnings"].to_string();
    assert!(warned.contains("is over, and still shown"), "{warned}");
    // And goes again: the box has what it had, also after a power cut.
    door.cut();
    let again = kubelet.get(NODE);
    kept(&again);
    assert!(again.body == told.body);
    door.hub.kill();
    door.hub.run();
    kept(&kubelet.get(NODE));
    door.mend();
    // A pair that is in date and that the API server does not know is another thing.
    pem(&door, of_another_ca(&door));
    until("it is in use", SOON, || {
        let told = door.hub.status()["certificates"].to_string();
        told.contains("\"days_left\":29,").then_some(())
    });
    kubelet.get(NODE).expect(401);
    door.cut();
    unknown(&kubelet.get(NODE));
    unknown(&kubelet.get(classes));
    // The next good one is just taken.
    door.mend();
    pem(&door, cluster.pair("node"));
    until("the API server knows it", SOON, || {
        (kubelet.get(NODE).status == 200).then_some(())
    });
    assert_eq!(door.hub.status()["warnings"], json!([]));
}

/// The digest of a certificate, as the API server writes it.
fn digest(door: &Door, n: usize) -> String {
    openssl(door, &format!("x509 -in {n}.crt -outform der -out {n}.der"));
    openssl(door, &format!("dgst -sha256 -r -out {n}.sum {n}.der"));
    let sum = std::fs::read_to_string(door.dir.path().join(format!("{n}.sum"))).expect("a file");
    sum.split(' ').next().expect("a word").to_string()
}

fn client_of(door: &Door, name: &str) -> Client {
    let [certificate, key] =
        ["crt", "key"].map(|end| door.dir.path().join(format!("{name}.{end}")));
    door.hub.client().certificate(&certificate, &key)
}

/// Whether the hub lets a certificate in at all. Over HTTP/1.1: a client of HTTP/2 may wait for long for an answer on a
/// connection whose handshake was refused in the end.
fn is_known(door: &Door, name: &str) -> bool {
    let client = client_of(door, name).http1();
    client.send(Call::get("/version")).is_ok()
}

fn version(connection: &mut Connection) -> Result<u16, String> {
    let sent = connection.send(Call::get("/version"));
    sent.and_then(Reply::whole).map(|reply| reply.status)
}

/// The handshake was long ago: a connection proves no more than the certificate that it began with.
#[test]
fn a_connection_ends_with_the_certificate_of_its_client() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let door = Door::with(cluster, "r-ends", |setup| {
        setup.identity(cluster, "system:node:*", "node")
    });
    let ends = now() + 10;
    let (certificate, key) = certificate(&door, "short", ends - 3600, ends);
    let kubelet = door.hub.client().certificate(&certificate, &key);
    let path = "/api/v1/nodes?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dedge-1";
    let mut watch = kubelet.watch(path, JSON);
    watch.event(SOON);
    let connections = [kubelet.clone(), kubelet.clone().http1()];
    let mut connections = connections.map(|client| client.connect().expect("a connection"));
    for connection in &mut connections {
        assert_eq!(version(connection), Ok(200));
    }
    for connection in &mut connections {
        until("it is over", SOON, || version(connection).err());
        assert!(now() >= ends, "and not before");
    }
    assert!(kubelet.connect().and_then(|mut c| version(&mut c)).is_err());
    // What is under way goes on, as at the API server.
    let patch = json!({ "metadata": { "labels": { "rotation": "ends" } } });
    let mut call = Call::json(Method::PATCH, NODE, &patch);
    call.headers = vec![("content-type", "application/merge-patch+json")];
    cluster.admin().call(call).expect(200);
    until("the change", SOON, || {
        (watch.event(SOON).kind == "MODIFIED").then_some(())
    });
}

#[test]
fn the_clients_ca_is_read_again_when_it_changes() {
    let cluster = Cluster::shared();
    let (certificate, key) = cluster.pair("admin");
    let mut door = Door::new("r-ca");
    let other = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        &door,
        &format!("req -x509 {other} -subj /CN=other-ca -keyout other.key -out other.crt"),
    );
    openssl(
        &door,
        &format!(
            "req -new {other} -subj /CN=user -addext extendedKeyUsage=clientAuth -keyout user.key -out user.csr"
        ),
    );
    openssl(
        &door,
        "x509 -req -in user.csr -CA other.crt -CAkey other.key -CAcreateserial -days 30 -copy_extensions copyall -out user.crt",
    );
    let read = |path: &Path| std::fs::read(path).expect("a file");
    let (ours, theirs) = (
        read(&cluster.ca()),
        read(&door.dir.path().join("other.crt")),
    );
    let authorities = door.dir.write("clients.crt", &ours);
    door.hub
        .change("client_ca_file", authorities.display().to_string());
    door.hub.change(
        "identities",
        json!([{ "cn": "admin", "cert": certificate, "key": key }]),
    );
    door.hub.terminate(SOON);
    door.hub.run();
    let admin = door.hub.client().certificate(&certificate, &key);
    admin.get("/version").expect(200);
    assert!(!is_known(&door, "user"));

    std::fs::write(&authorities, [ours.clone(), theirs.clone()].concat()).expect("a file");
    until("the other CA is known", Duration::from_secs(5), || {
        is_known(&door, "user").then_some(())
    });
    admin.get("/version").expect(200);
    // Torn while it is written: what was loaded stays in use.
    std::fs::write(&authorities, &ours[..100]).expect("a file");
    until("it says so", SOON, || {
        let told = door.hub.status()["warnings"].to_string();
        told.contains("client_ca_file").then_some(())
    });
    admin.get("/version").expect(200);
    assert!(is_known(&door, "user"));
    let mut open = client_of(&door, "user").connect().expect("a connection");
    assert_eq!(version(&mut open), Ok(403), "known, and not listed");
    let mut admins = admin.connect().expect("a connection");
    let mut watch = admin.watch("/api/v1/namespaces?watch=true", JSON);
    std::fs::write(&authorities, &ours).expect("a file");
    until("the other CA is gone", Duration::from_secs(5), || {
        (!is_known(&door, "user")).then_some(())
    });
    admin.get("/version").expect(200);
    // Who has come before goes with it; the others come again, and what they were told goes on.
    until("its connection is over", SOON, || version(&mut open).err());
    until("the other's too", SOON, || version(&mut admins).err());
    cluster.namespace("r-ca-after");
    until("the new namespace", SOON, || {
        (watch.event(SOON).meta.name == "r-ca-after").then_some(())
    });
    assert_eq!(door.hub.status()["warnings"], json!([]));
}
