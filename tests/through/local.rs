//! The plain port for the node's own programs: who they are the kernel says, and nobody else gets in.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, SOON};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::free_port;
use crate::support::http::{Call, Client, Whole};
use crate::support::hub::Setup;
use crate::support::program::{Program, command};

/// The node's own object, which its identity may read, and nobody may without one.
pub const NODE: &str = "/api/v1/nodes/edge-1";
const REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// With the plain port, and the node's pair to go up with.
pub fn with_local_port(setup: Setup, cluster: &Cluster) -> Setup {
    let (certificate, key) = cluster.pair("node");
    setup
        .set("local_listen", format!("127.0.0.1:{}", free_port()))
        .set("client_cert", certificate.display().to_string())
        .set("client_key", key.display().to_string())
}

fn door(namespace: &str) -> Door {
    let cluster = Cluster::shared();
    make_node(cluster);
    Door::with(cluster, namespace, |setup| with_local_port(setup, cluster))
}

/// Makes the node's object, if it is not there yet.
pub fn make_node(cluster: &Cluster) {
    let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "edge-1" } });
    let made = (cluster.admin()).call(Call::json(Method::POST, "/api/v1/nodes", &object));
    assert!(matches!(made.status, 201 | 409), "{}", made.text());
}

pub fn name(client: &Client, headers: &[(&str, &str)]) -> (u16, String) {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let mut call = Call::json(Method::POST, REVIEW, &review);
    call.headers.extend(headers);
    let reply = client.call(call);
    let name = reply.json()["status"]["userInfo"]["username"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    (reply.status, name)
}

/// curl as another user, and what it prints: the answer, and its status in the last line.
pub fn curl_as(uid: u32, address: SocketAddr, args: &[&str]) -> (u16, String) {
    let scheme = if args.contains(&"-k") {
        "https"
    } else {
        "http"
    };
    let mut curl = command(std::path::Path::new("setpriv"));
    let uid = uid.to_string();
    curl.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"])
        .args(["curl", "-sS", "-m", "10", "-w", "\n%{http_code}"])
        .args(args)
        .arg(format!("{scheme}://{address}{NODE}"));
    let output = Program::spawn(&mut curl).wait(SOON).ok();
    let (body, status) = output.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_string())
}

pub fn is_forbidden(reply: &Whole, why: &str) {
    assert_eq!(reply.status, 403, "{}", reply.text());
    let status: Value = reply.json();
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&json!("Status"), &json!("Forbidden"))
    );
    let message = status["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("edge-hub:") && message.contains(why),
        "{message}"
    );
    assert_eq!(reply.header("retry-after"), "");
}

#[test]
fn a_program_of_the_node_speaks_for_it() {
    let door = door("l-node");
    for client in [door.hub.local(), door.hub.local().http1()] {
        assert_eq!(name(&client, &[]), (201, "system:node:edge-1".into()));
        client.get(NODE).expect(200);
        // With a token it is who that names, and with one that is no good it is nobody.
        let bearer = client.clone().bearer(&door.token);
        assert_eq!(
            name(&bearer, &[]),
            (201, "system:serviceaccount:l-node:tester".into())
        );
        client.clone().bearer("wrong").get(NODE).expect(401);
        for nobody in ["Bearer", "Bearer ", "Basic bm9kZTpub2Rl"] {
            let call = Call::get(NODE).header("authorization", nobody);
            let answer = client.call(call);
            assert!(
                matches!(answer.status, 401 | 403),
                "{nobody:?}: {}",
                answer.text()
            );
            assert!(!answer.text().contains("system:node"), "{}", answer.text());
        }
        // Nobody is made of the node, in any spelling.
        for (header, value) in [
            ("impersonate-user", "system:admin"),
            ("impersonate_user", "system:admin"),
            ("x-remote-user", "system:admin"),
            ("X_Remote_User", "system:admin"),
        ] {
            let told = name(
                &client,
                &[(header, value), ("impersonate-group", "system:masters")],
            );
            assert_eq!(told, (201, "system:node:edge-1".into()), "{header}");
        }
    }
}

#[test]
fn whose_program_it_is_the_kernel_says() {
    let mut door = door("l-uid");
    let address = door.hub.local().address();
    let as_kubelet = ["-A", "kubelet/v1.36.4", "-H", "x-remote-user: root"];
    let token = format!("authorization: Bearer {}", door.token);
    for cut in [false, true] {
        if cut {
            door.cut();
        }
        for args in [
            &[][..],
            &as_kubelet,
            &["-H", &token],
            &["--http2-prior-knowledge"],
        ] {
            let (status, body) = curl_as(1000, address, args);
            assert_eq!(status, 403, "{body}");
            assert!(
                body.contains("local_uids") && body.contains("\"Status\""),
                "{body}"
            );
        }
        // It is told what it was, and the others were not.
        let (status, body) = curl_as(0, address, &["-A", "kubelet/v1"]);
        assert_eq!(status, 200, "{body}");
    }
    door.mend();
    // Who else may is told to it while it runs.
    door.hub.reload("local_uids", json!([1000]));
    door.hub
        .logged("the new configuration and certificates are in force");
    let (status, body) = curl_as(1000, address, &[]);
    assert_eq!(status, 200, "{body}");
    is_forbidden(&door.hub.local().get(NODE), "local_uids");
}

#[test]
fn who_asks_and_leaves_at_once_does_not_ask_as_root() {
    let door = door("l-gone");
    let address = door.hub.local().address();
    let object = json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "gone" },
        "involvedObject": { "namespace": "l-gone" }, "reason": "gone" });
    let body = object.to_string();
    let head = format!(
        "POST /api/v1/namespaces/l-gone/events HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The kernel calls a socket that nobody has any more root's.
    let script = format!(
        "for n in $(seq 200); do exec 3<>/dev/tcp/127.0.0.1/{}; printf %s \"$REQUEST\" >&3; exec 3>&-; done",
        address.port()
    );
    let mut bash = command(std::path::Path::new("setpriv"));
    bash.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "--"])
        .args(["bash", "-c", &script])
        .env("REQUEST", head);
    Program::spawn(&mut bash).wait(SOON).ok();
    door.hub.logged("uid=none is not among local_uids");
    // The node may write events; so that this tests something.
    let path = "/api/v1/namespaces/l-gone/events";
    door.hub.local().get(NODE).expect(200);
    door.cluster
        .admin()
        .get(&format!("{path}/gone"))
        .expect(404);
    let call = Call::json(Method::POST, path, &object);
    door.hub.local().call(call).expect(201);
}

#[test]
fn offline_it_is_the_subject_whichever_door_it_came_through() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let door = Door::with(cluster, "l-cut", |setup| {
        with_local_port(setup, cluster).identity(cluster, "system:node:*", "node")
    });
    let kubelet = |client: Client| client.agent("kubelet/v1.36.4");
    let (certificate, key) = cluster.pair("node");
    let local = kubelet(door.hub.local());
    let by_certificate = kubelet(door.hub.client()).certificate(&certificate, &key);
    let told = local.get(NODE).expect(200);
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    by_certificate.get(classes).expect(200);
    door.cut();
    for client in [&local, &by_certificate] {
        let again = client.get(NODE);
        kept(&again);
        assert_eq!(again.body, told.body);
        kept(&client.get(classes));
    }
    // Nor is it the node's that a token was told, and not its what the node was.
    unknown(&local.clone().bearer(&door.token).get(NODE));
    unknown(&kubelet(door.hub.client()).bearer(&door.token).get(NODE));
    unknown(&kubelet(door.hub.client()).get(NODE));
    unknown(&local.call(Call::get(NODE).header("impersonate-user", "x")));
}

#[test]
fn without_a_pair_nobody_is_the_node() {
    let cluster = Cluster::shared();
    let address = format!("127.0.0.1:{}", free_port());
    let door = Door::with(cluster, "l-none", |setup| {
        setup.set("local_listen", address)
    });
    is_forbidden(&door.hub.local().get(NODE), "client_cert");
    let local = door.hub.local().bearer(&door.token);
    local.get(&door.maps("")).expect(200);
    let told = door.hub.command(&["check"]);
    assert!(
        told.stdout.contains("local_listen: without `client_cert`"),
        "{}",
        told.stdout
    );
}

#[test]
fn a_watch_and_an_upgrade_pass_there_too() {
    let door = door("l-watch");
    door.set("one", "1");
    for client in [door.hub.local(), door.hub.local().http1()] {
        let client = client.bearer(&door.token);
        let path = door.maps("?watch=1&resourceVersion=0");
        let mut watch = client.watch(&path, crate::support::http::JSON);
        assert_eq!(watch.event(SOON).kind, "ADDED");
    }
    // Four bytes decide which HTTP it is; they need not come together.
    let mut stream =
        std::net::TcpStream::connect(door.hub.local().address()).expect("a connection");
    let request =
        b"POST /version HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for piece in [&request[..1], &request[1..3], &request[3..]] {
        std::io::Write::write_all(&mut stream, piece).expect("it takes bytes");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    // One who says nothing is let go, and one who never says which it is as well.
    for words in [&b""[..], b"PR", b"PRI * HTTP/2.0\r\n"] {
        let mut stream =
            std::net::TcpStream::connect(door.hub.local().address()).expect("a connection");
        std::io::Write::write_all(&mut stream, words).expect("it takes bytes");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    }
}

/// The node's own pair, which remains, is of the same subject.
#[test]
fn an_entry_that_is_taken_out_lets_nobody_in_any_more() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let mut door = Door::with(cluster, "l-out", |setup| {
        with_local_port(setup, cluster).identity(cluster, "system:node:*", "node")
    });
    let (certificate, key) = cluster.pair("node");
    let by_certificate = door.hub.client().certificate(&certificate, &key);
    by_certificate.get(NODE).expect(200);
    door.hub.reload("identities", json!([]));
    door.hub
        .logged("the new configuration and certificates are in force");
    is_forbidden(&by_certificate.get(NODE), "`identities`");
    door.hub.local().get(NODE).expect(200);
}

/// Node authorizer and NodeRestriction see the node itself, whichever door it came through.
#[test]
fn what_a_node_may_not_it_may_not_through_the_hub() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let door = Door::with(cluster, "l-may", |setup| {
        with_local_port(setup, cluster).identity(cluster, "system:node:*", "node")
    });
    let other = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "edge-2" } });
    let made = (cluster.admin()).call(Call::json(Method::POST, "/api/v1/nodes", &other));
    assert!(matches!(made.status, 201 | 409), "{}", made.text());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" } });
    let secrets = "/api/v1/namespaces/l-may/secrets";
    (door
        .direct()
        .call(Call::json(Method::POST, secrets, &secret)))
    .expect(201);
    let (certificate, key) = cluster.pair("node");
    let label = |client: &Client, node: &str, label: &str| {
        let path = format!("/api/v1/nodes/{node}");
        let patch = json!({ "metadata": { "labels": { label: "x" } } });
        let mut call = Call::json(Method::PATCH, &path, &patch);
        call.headers = vec![("content-type", "application/merge-patch+json")];
        client.call(call)
    };
    let own = "node.kubernetes.io/l-may";
    for client in [
        door.hub.local(),
        door.hub.client().certificate(&certificate, &key),
    ] {
        let client = client.agent("kubelet/v1");
        // No pod of the node has it.
        let told = client.get(&format!("{secrets}/s")).expect(403).text();
        assert!(told.contains("no relationship found"), "{told}");
        client.get(secrets).expect(403);
        label(&client, "edge-1", own).expect(200);
        let told = label(&client, "edge-2", own).expect(403).text();
        assert!(told.contains("is not allowed to modify node"), "{told}");
        let told = label(&client, "edge-1", "node-restriction.kubernetes.io/x");
        let told = told.expect(403).text();
        assert!(told.contains("is not allowed to modify labels"), "{told}");
        door.cut();
        unknown(&client.get(&format!("{secrets}/s")));
        unknown(&client.get(secrets));
        unknown(&label(&client, "edge-1", own));
        door.mend();
    }
}
