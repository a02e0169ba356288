//! Whose a token is, with the API server and without it: real service accounts, real bound tokens, and tokens that somebody
//! has made himself.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, SOON};
use crate::offline::{get, kept, list_version, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client, JSON, PROTOBUF, PROTOBUF_WATCH, Reply, Watch, Whole};
use crate::support::hub::{SEES, Setup};
use crate::support::signer::{Signer, Token};
use crate::support::{protobuf, until};

/// A node's own pods, seen by its kubelet.
const PODS: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1";

/// A door with a kubelet, which goes up with the node's certificate.
pub fn door(namespace: &str, change: impl FnOnce(Setup) -> Setup) -> Door {
    let cluster = Cluster::shared();
    // Pods of nodes that nobody knows are collected.
    for name in ["edge-1", "edge-2"] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        let made = Call::json(Method::POST, "/api/v1/nodes", &node);
        let made = cluster.admin().call(made).status;
        assert!(matches!(made, 201 | 409), "{made}");
    }
    Door::with(cluster, namespace, |setup| {
        change(setup)
            .set("flush_secs", 1)
            .identity(cluster, "system:node:edge-1", "node")
            .identity(cluster, "admin", "admin")
    })
}

fn with_keys(setup: Setup) -> Setup {
    setup.set("jwks_from_callers", true)
}

/// The kubelet of edge-1.
pub fn kubelet(door: &Door) -> Client {
    let (certificate, key) = door.cluster.pair("node");
    let client = door.hub.client().certificate(&certificate, &key);
    client.agent("kubelet/v1.36.4 (linux/amd64) kubernetes/x")
}

/// A pod of `tester`; returns its uid.
pub fn pod(door: &Door, name: &str, node: &str) -> String {
    let namespace = &door.namespace;
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "nodeName": node, "serviceAccountName": "tester",
            "containers": [{ "name": "c", "image": "none" }],
        },
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let made = Call::json(Method::POST, &path, &object);
    let made = door.cluster.admin().call(made).expect(201).json();
    made["metadata"]["uid"].as_str().expect("a uid").to_string()
}

fn remove_pod(door: &Door, name: &str) {
    let args = [
        "-n",
        &door.namespace,
        "delete",
        "pod",
        name,
        "--grace-period=0",
        "--force",
    ];
    door.cluster.kubectl().run(&args).ok();
}

/// A token of `tester` that is bound to this pod.
fn bound(door: &Door, pod: &str, uid: &str) -> String {
    let args = [
        "-n",
        &door.namespace,
        "create",
        "token",
        "tester",
        "--bound-object-kind=Pod",
        "--bound-object-name",
        pod,
        "--bound-object-uid",
        uid,
    ];
    let printed = door.cluster.kubectl().run(&args).ok();
    printed.trim().to_string()
}

/// Asks the hub for the ConfigMaps with a token.
fn maps(door: &Door, token: &str) -> Whole {
    get(&door.hub.client().bearer(token), &door.maps(""), JSON)
}

/// Waits until the hub has the keys of the issuer; for that it must have seen a token accepted.
fn knows_keys(door: &Door, token: &str) {
    until("the hub knows the keys", SEES, || {
        maps(door, token).expect(200);
        has_keys(door).then_some(())
    });
}

fn has_keys(door: &Door) -> bool {
    door.hub.status()["tokens"]["issuer"].is_string()
}

/// The kubelet's list of pods, and a watch that keeps it current. As protobuf, which kubelets ask for.
pub fn follow_pods(door: &Door) -> Watch {
    let client = kubelet(door);
    let list = get(&client, PODS, PROTOBUF).expect(200);
    let version = list_version(&list);
    let path = format!("{PODS}&watch=true&allowWatchBookmarks=true&resourceVersion={version}");
    client.watch(&path, PROTOBUF_WATCH)
}

/// Waits for the watch to tell that this pod is gone.
fn sees_gone(watch: &mut Watch, name: &str) {
    loop {
        let event = watch.event(SOON);
        if event.kind == "DELETED" && event.meta.name == name {
            return;
        }
    }
}

#[test]
fn a_new_token_of_the_same_pod_gets_what_the_old_one_was_told() {
    let mut door = door("i-rotate", with_keys);
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let first = bound(&door, "till", &uid);
    let _pods = follow_pods(&door);
    knows_keys(&door, &first);
    let told = maps(&door, &first).expect(200);
    let second = bound(&door, "till", &uid);
    let third = bound(&door, "till", &uid);
    assert!(first != second && second != third);
    door.cut();
    for token in [&first, &second] {
        let after = maps(&door, token);
        kept(&after);
        assert!(after.body == told.body, "byte for byte");
        // A watch is held for it too.
        let path = door.maps("?watch=true&resourceVersion=999999999");
        door.hub
            .client()
            .bearer(token)
            .watch(&path, JSON)
            .silent(Duration::from_millis(200));
    }
    // What was never told to the account, nobody of it gets.
    let secrets = format!("/api/v1/namespaces/{}/secrets", door.namespace);
    unknown(&door.hub.client().bearer(&second).get(&secrets));

    // The machine starts again, without a server.
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    assert!(!door.hub.online());
    for token in [&first, &second, &third] {
        kept(&maps(&door, token));
    }
    unknown(&maps(&door, &door.cluster.token("i-rotate", "tester")));
}

#[test]
fn a_watch_that_began_with_a_new_token_goes_on_with_it() {
    let door = door("i-watch", with_keys);
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let first = bound(&door, "till", &uid);
    let _pods = follow_pods(&door);
    knows_keys(&door, &first);
    let version = list_version(&maps(&door, &first).expect(200));
    let second = bound(&door, "till", &uid);
    door.cut();
    let path = door.maps(&format!("?watch=true&resourceVersion={version}"));
    let mut watch = door.hub.client().bearer(&second).watch(&path, JSON);
    watch.silent(Duration::from_millis(200));
    let changed = door.set("one", "2");
    door.mend();
    assert_eq!(watch.event(SOON).meta.resource_version, changed);
}

#[test]
fn the_hub_asks_for_the_keys_itself_where_it_may() {
    let cluster = Cluster::shared();
    let args = [
        "create",
        "clusterrolebinding",
        "edge-hub-keys",
        "--clusterrole=system:service-account-issuer-discovery",
        "--group=system:nodes",
    ];
    cluster.kubectl().run(&args).ok();
    let (certificate, key) = cluster.pair("node");
    let node = Client::new(cluster.address(), &cluster.ca()).certificate(&certificate, &key);
    until("the node may ask for the keys", SOON, || {
        (node.get("/openid/v1/jwks").status == 200).then_some(())
    });
    let door = door("i-own", |setup| {
        setup
            .set("client_cert", certificate.display().to_string())
            .set("client_key", key.display().to_string())
    });
    until("the hub knows the keys", SEES, || {
        has_keys(&door).then_some(())
    });
    let shown = door.hub.command(&["status"]).ok();
    assert!(shown.contains("by the keys of https://"), "{shown}");
    cluster
        .kubectl()
        .run(&["delete", "clusterrolebinding", "edge-hub-keys"])
        .ok();
    let other = self::door("i-own-not", |setup| setup);
    maps(&other, &other.token).expect(200);
    assert!(!has_keys(&other), "nobody has allowed it");
}

#[test]
fn what_is_not_this_pods_on_this_node_is_nobody() {
    let door = door("i-others", with_keys);
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let first = bound(&door, "till", &uid);
    maps(&door, &first).expect(200);
    let _pods = follow_pods(&door);
    knows_keys(&door, &first);

    let elsewhere = pod(&door, "far", "edge-2");
    let gone = pod(&door, "gone", "edge-1");
    let of_gone = bound(&door, "gone", &gone);
    // Pods that the kubelet has not been told about, or no more.
    let mut watch = follow_pods(&door);
    remove_pod(&door, "gone");
    sees_gone(&mut watch, "gone");
    let strangers = [
        ("bound to no pod", door.cluster.token("i-others", "tester")),
        ("of another node's pod", bound(&door, "far", &elsewhere)),
        ("of a pod that is gone", of_gone),
    ];

    // Signed with the very key of the API server.
    let (signer, good) = (Signer::of(door.cluster), Token::read(&first));
    let now = good.payload["iat"].as_u64().expect("a time");
    let sub = |name: &str| {
        good.clone()
            .with("sub", format!("system:serviceaccount:{name}"))
    };
    let with_node = |name: &str| {
        let mut token = good.clone();
        token.payload["kubernetes.io"]["node"] = json!({ "name": name, "uid": "n" });
        token
    };
    let other_pod = {
        let mut token = good.clone();
        token.payload["kubernetes.io"]["pod"]["uid"] =
            json!("11111111-2222-3333-4444-555555555555");
        token
    };
    let signed = [
        ("run out", good.clone().with("exp", now - 1)),
        ("not valid yet", good.clone().with("nbf", now + 3_600)),
        ("issued tomorrow", good.clone().with("iat", now + 86_400)),
        (
            "for another audience",
            good.clone().with("aud", json!(["vault"])),
        ),
        ("for nobody", good.clone().with("aud", json!([]))),
        (
            "of another issuer",
            good.clone().with("iss", "https://kubernetes.default.svc"),
        ),
        (
            "of an account that does not agree",
            sub("kube-system:default"),
        ),
        ("of a person", good.clone().with("sub", "admin")),
        ("of another node", with_node("edge-2")),
        ("of another pod of that name", other_pod),
        (
            "signed with a key that is not known",
            good.clone().head("kid", "other"),
        ),
        (
            "without the name of a key",
            good.clone().head("kid", json!(null)),
        ),
        (
            "with a part that must be understood",
            good.clone().head("crit", json!(["exp"])),
        ),
        ("of another algorithm", good.clone().head("alg", "RS384")),
    ]
    .map(|(what, token)| (what, signer.sign(&token.number(1))));

    // Not signed by it at all.
    let public = std::fs::read(door.cluster.file("pki/sa.pub")).expect("the public key");
    let new = good.clone().number(2);
    let other_key = Command::new("openssl").args(["genrsa", "2048"]).output();
    let other_key = other_key.expect("openssl").stdout;
    let forged = [
        ("alg none", new.clone().head("alg", "none").signed_by(b"")),
        (
            "alg none, signed",
            new.clone().head("alg", "none").signed_by(b"x"),
        ),
        ("no signature", new.signed_by(b"")),
        (
            "HMAC with the public key",
            new.clone().head("alg", "HS256").sealed(&public),
        ),
        ("HMAC that says RS256", new.sealed(&public)),
        (
            "signed with another key",
            Signer::from_pem(&other_key).sign(&new),
        ),
        ("the signature of another", {
            let signature = first.rsplit('.').next().expect("a signature");
            let whole = new.signed_by(b"");
            format!("{whole}{signature}")
        }),
        ("cut", first[..first.len() - 8].to_string()),
    ];
    let fresh = signer.sign(&good.clone().number(3));
    door.cut();
    for (what, token) in strangers.iter().chain(&signed).chain(&forged) {
        let reply = maps(&door, token);
        assert!(
            matches!(reply.status, 401 | 503),
            "{what}: {}",
            reply.text()
        );
        unknown(&reply);
        unknown(
            &door
                .hub
                .client()
                .bearer(token)
                .get(&door.maps("?watch=true&resourceVersion=9")),
        );
    }
    // Nothing else was wrong with them.
    kept(&maps(&door, &fresh));
    kept(&maps(&door, &first));

    // With the link up the API server says what they are, and what it refuses remains nobody's.
    door.mend();
    let at_the_server = Client::new(door.cluster.address(), &door.cluster.ca());
    let mut refused = Vec::new();
    for (what, token) in signed.iter().chain(&forged) {
        let direct = at_the_server.clone().bearer(token).get(&door.maps(""));
        assert_eq!(maps(&door, token).status, direct.status, "{what}");
        if direct.status == 401 {
            refused.push((what, token));
        }
    }
    assert!(refused.len() > forged.len(), "{refused:?}");
    door.cut();
    for (what, token) in refused {
        let reply = maps(&door, token);
        assert_eq!(reply.status, 503, "{what}");
    }
    kept(&maps(&door, &first));
}

/// A token is renewed all the time, and an application always takes the newest: by the API server, without it and again.
#[test]
fn tokens_that_change_under_load_fail_nobody() {
    let door = door("i-renew", with_keys);
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let first = bound(&door, "till", &uid);
    let _pods = follow_pods(&door);
    knows_keys(&door, &first);
    let path = "/api/v1/namespaces/i-renew/serviceaccounts/tester/token";
    let new = || {
        let call = Call::json(Method::POST, path, &wish("till", &uid, 3600));
        let granted = door.cluster.admin().call(call).expect(201).json();
        let token = granted["status"]["token"].as_str().expect("a token");
        format!("Bearer {token}")
    };
    let current = Mutex::new(format!("Bearer {first}"));
    let done = AtomicBool::new(false);
    let (asked, from_cache) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let connection = door.hub.client().connect().expect("a connection");
        for _ in 0..3 {
            let mut connection = connection.share();
            let (current, done, asked, from_cache) = (&current, &done, &asked, &from_cache);
            let maps = door.maps("");
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let token = current.lock().expect("no panic").clone();
                    let call = Call::get(&maps).header("authorization", &token);
                    let reply = connection.send(call).and_then(Reply::whole);
                    let reply = reply.expect("an answer");
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let is_kept = !reply.header("edge-hub-cache").is_empty();
                    from_cache.fetch_add(usize::from(is_kept), Ordering::Relaxed);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 0..18 {
            match n {
                6 => door.cut(),
                12 => door.mend(),
                _ => {}
            }
            *current.lock().expect("no panic") = new();
            let before = asked.load(Ordering::Relaxed);
            until("the newest is in use", SOON, || {
                (asked.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    let (asked, from_cache) = (asked.into_inner(), from_cache.into_inner());
    println!("tokens: {asked} answers, {from_cache} of them kept ones, no other than 200");
    assert!(from_cache > 100 && asked - from_cache > 100);
}

#[test]
fn an_answer_before_anybody_has_looked_at_the_token_is_no_acceptance() {
    let door = door("i-early", |setup| setup);
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let token = bound(&door, "till", &uid);
    maps(&door, &token).expect(200);
    let forged = Token::read(&token).number(1).signed_by(b"nothing");
    let forger = door.hub.client().bearer(&forged);
    // The API server reads the deadline first, and says that it is none.
    let early = [
        "/version?timeout=x".to_string(),
        door.maps("?timeout=x"),
        door.maps("/one?timeout=x"),
    ];
    for path in &early {
        assert_eq!(forger.get(path).status, 400, "{path}");
    }
    for path in ["/healthz", "/version"] {
        forger.get(path).expect(401);
    }
    forger.get(&door.maps("?timeout=x")).expect(400);
    door.cut();
    unknown(&maps(&door, &forged));
    unknown(&forger.get(&door.maps("?watch=true&resourceVersion=9")));
    kept(&maps(&door, &token));
}

#[test]
fn a_refusal_takes_what_it_says_and_no_more() {
    let door = door("i-refused", with_keys);
    door.set("one", "1");
    let [one, two] = ["one", "two"].map(|name| (name, pod(&door, name, "edge-1")));
    let [first, second] = [&one, &two].map(|(name, uid)| bound(&door, name, uid));
    for token in [&first, &second] {
        maps(&door, token).expect(200);
    }
    // The kubelet is told nothing of what comes now: for it both pods are there.
    kubelet(&door).get(PODS).expect(200);
    knows_keys(&door, &first);
    // Somebody who only says so takes nothing from anybody.
    let forged = Token::read(&second).number(1).signed_by(b"nothing");
    maps(&door, &forged).expect(401);

    remove_pod(&door, "one");
    until("the API server refuses the token", SOON, || {
        (maps(&door, &first).status == 401).then_some(())
    });
    let signer = Signer::of(door.cluster);
    // Issued before, and never shown to anybody: the signature does not speak for it.
    let unseen = signer.sign(&Token::read(&first).number(2));
    door.cut();
    unknown(&maps(&door, &first));
    unknown(&maps(&door, &unseen));
    kept(&maps(&door, &second));
    door.mend();

    // The account goes, and with its last token what was kept for it.
    let args = ["-n", "i-refused", "delete", "serviceaccount", "tester"];
    door.cluster.kubectl().run(&args).ok();
    until("the API server refuses the token", SOON, || {
        (maps(&door, &second).status == 401).then_some(())
    });
    let mut later = Token::read(&second).number(3);
    let issued = later.payload["iat"].as_u64().expect("a time") + 30;
    later = later.with("iat", issued).with("nbf", issued);
    let later = signer.sign(&later);
    until("it is forgotten", SEES, || {
        let shown = door.hub.status()["collections"].to_string();
        (!shown.contains("configmaps")).then_some(())
    });
    door.cut();
    for token in [&first, &second, &later] {
        unknown(&maps(&door, token));
    }
}

#[test]
fn the_token_of_a_pod_that_is_gone_counts_no_more() {
    let door = door("i-gone", |setup| setup);
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let token = bound(&door, "till", &uid);
    maps(&door, &token).expect(200);
    let mut watch = follow_pods(&door);
    door.cut();
    kept(&maps(&door, &token));
    door.mend();
    // The pod asks nothing any more; that it is gone, the kubelet hears.
    drop(watch);
    watch = follow_pods(&door);
    remove_pod(&door, "till");
    sees_gone(&mut watch, "till");
    door.cut();
    unknown(&maps(&door, &token));
}

/// Asks with ten thousand different tokens, eight at once; each gets this answer.
fn flood(door: &Door, status: u16, token: &(dyn Fn(usize) -> String + Sync)) {
    const TOKENS: usize = 10_000;
    let connection = door.hub.client().connect().expect("a connection");
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = connection.share();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= TOKENS {
                        return;
                    }
                    let authorization = format!("Bearer {}", token(n));
                    let call = Call::get("/version").header("authorization", &authorization);
                    let reply = connection.send(call).and_then(Reply::whole);
                    assert_eq!(reply.map(|reply| reply.status), Ok(status), "token {n}");
                }
            });
        }
    });
}

#[test]
fn ten_thousand_tokens_push_out_none_of_the_node() {
    let door = door("i-many", |setup| setup.set("log", "warn"));
    door.set("one", "1");
    let uid = pod(&door, "till", "edge-1");
    let own = bound(&door, "till", &uid);
    maps(&door, &own).expect(200);
    let _pods = follow_pods(&door);
    // All of them good: signed by the API server's key, and bound to nothing.
    let signer = Signer::of(door.cluster);
    let mut good = Token::read(&door.token);
    if let Some(claim) = good.payload["kubernetes.io"].as_object_mut() {
        claim.remove("pod");
    }
    flood(&door, 200, &|n| signer.sign(&good.clone().number(n)));
    let remembered = door.hub.metric("edge_hub_tokens");
    assert!(
        (2.0..=20.0).contains(&remembered),
        "{remembered} tokens are remembered"
    );
    door.cut();
    kept(&maps(&door, &own));
    // Nor do as many without a server, which nobody has signed.
    flood(&door, 503, &|n| good.clone().number(n).sealed(b"secret"));
    assert_eq!(door.hub.metric("edge_hub_tokens"), remembered);
    kept(&maps(&door, &own));
}

#[test]
fn nobody_gets_what_tells_nobodys_secrets() {
    let door = door("i-nobody", |setup| setup);
    let nobody = door.hub.client();
    nobody.get("/version").expect(200);
    let live = nobody.get("/livez").expect(200);
    assert_eq!(live.text(), "ok");
    door.client().get(&door.maps("")).expect(200);
    door.client().get("/apis").expect(200);
    door.cut();
    kept(&nobody.get("/version"));
    for path in ["/livez", "/readyz", "/healthz", "/apis", "/metrics"] {
        unknown(&nobody.get(path));
    }
    for path in [door.maps(""), door.maps("?watch=true&resourceVersion=9")] {
        unknown(&nobody.get(&path));
        let call = Call::get(&path).header("authorization", "Basic YTpi");
        unknown(&nobody.call(call));
    }
}

/// A request for a token of `tester`, as the kubelet makes it.
pub fn wish(pod: &str, uid: &str, secs: u64) -> Value {
    json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": { "creationTimestamp": null },
        "spec": {
            "audiences": null, "expirationSeconds": secs,
            "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid },
        },
        "status": { "token": "", "expirationTimestamp": null },
    })
}

#[test]
fn the_kubelet_gets_the_tokens_that_it_got() {
    let mut door = door("i-granted", |setup| setup);
    let uid = pod(&door, "till", "edge-1");
    let other = pod(&door, "other", "edge-1");
    let path = "/api/v1/namespaces/i-granted/serviceaccounts/tester/token";
    let ask = |client: &Client, body: &Value, accept: &str| {
        client.call(Call::json(Method::POST, path, body).accept(accept))
    };
    let (hour, more) = (wish("till", &uid, 3607), wish("till", &uid, 7200));
    let of_other = wish("other", &other, 3607);
    let mut pods = follow_pods(&door);
    let first = ask(&kubelet(&door), &hour, JSON).expect(201);
    let (certificate, key) = door.cluster.pair("admin");
    let admin = |door: &Door| door.hub.client().certificate(&certificate, &key);
    // The API server has others, and they cost nothing.
    let again = ask(&kubelet(&door), &hour, JSON).expect(201);
    assert_ne!(
        first.json()["status"]["token"],
        again.json()["status"]["token"]
    );
    let proto = ask(&kubelet(&door), &hour, PROTOBUF).expect(201);
    let (kind, _) = protobuf::envelope(&proto.body);
    assert_eq!(kind, "TokenRequest");
    ask(&kubelet(&door), &of_other, JSON).expect(201);
    let mut for_another = hour.clone();
    for_another["spec"]["audiences"] = json!(["vault"]);
    let for_another = ask(&admin(&door), &for_another, JSON).expect(201);
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    // The API server has issued it, and so it counts, though it has not been shown there. One for somebody else does not.
    let of_pod = |reply: &Whole| {
        let reply = reply.json();
        let token = reply["status"]["token"].as_str().expect("a token");
        door.client().bearer(token)
    };
    kept(&of_pod(&again).get(&door.maps("")));
    unknown(&of_pod(&for_another).get(&door.maps("")));
    let check = |door: &Door, what: &str| {
        for (accept, before) in [(JSON, &again), (PROTOBUF, &proto)] {
            for client in [kubelet(door), kubelet(door).http1()] {
                let after = ask(&client, &hour, accept);
                assert_eq!(after.status, 201, "{what}: {}", after.text());
                assert!(after.body == before.body, "{what}");
                assert_eq!(after.header("content-type"), before.header("content-type"));
                assert!(after.header("edge-hub-cache").starts_with("age="));
            }
        }
        // Another wish, somebody else, a pod that is not here.
        unknown(&ask(&kubelet(door), &more, JSON));
        unknown(&ask(&kubelet(door), &wish("till", &other, 3607), JSON));
        unknown(&ask(&kubelet(door), &wish("till", "", 3607), JSON));
        unknown(&ask(&admin(door), &hour, JSON));
        unknown(&ask(&door.client(), &hour, JSON));
        unknown(&ask(&door.hub.client(), &hour, JSON));
    };
    check(&door, "cut");
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    check(&door, "after a start without a server");
    let token = again.json()["status"]["token"]
        .as_str()
        .expect("a token")
        .to_string();
    door.mend();
    // A token that is given again is a real one, and a new one is the API server's.
    door.direct().bearer(&token).get(&door.maps("")).expect(200);
    let new = ask(&kubelet(&door), &hour, JSON).expect(201);
    assert_eq!(new.header("edge-hub-cache"), "");
    assert_ne!(
        new.json()["status"]["token"],
        again.json()["status"]["token"]
    );

    // The kubelet hears that a pod is gone.
    drop(pods);
    pods = follow_pods(&door);
    remove_pod(&door, "till");
    sees_gone(&mut pods, "till");
    door.cut();
    unknown(&ask(&kubelet(&door), &hour, JSON));
    assert_eq!(ask(&kubelet(&door), &of_other, JSON).status, 201);
    door.mend();
    // Or the API server says so.
    remove_pod(&door, "other");
    let refused = until("it is refused", SOON, || {
        let reply = ask(&kubelet(&door), &of_other, JSON);
        (reply.status != 201).then_some(reply.status)
    });
    assert!(matches!(refused, 403 | 404), "{refused}");
}

#[test]
fn reviews_are_given_again_where_that_is_wanted() {
    let door = door("i-reviews", |setup| setup.set("review_secs", 60));
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = |verb: &str| {
        json!({
            "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "spec": {
                "user": "admin", "groups": ["system:masters"],
                "resourceAttributes": { "verb": verb, "resource": "nodes", "subresource": "log", "name": "edge-1" },
            },
        })
    };
    let ask =
        |client: &Client, verb: &str| client.call(Call::json(Method::POST, path, &review(verb)));
    // Whose the token is that somebody shows to the kubelet's own port.
    let whose = |client: &Client, token: &str| {
        let review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": { "token": token },
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        client.call(Call::json(Method::POST, path, &review))
    };
    let told = ask(&kubelet(&door), "get").expect(201);
    assert_eq!(told.json()["status"]["allowed"], true);
    let reviewed = whose(&kubelet(&door), &door.token).expect(201);
    assert_eq!(reviewed.json()["status"]["authenticated"], true);
    door.cut();
    let again = ask(&kubelet(&door), "get").expect(201);
    assert!(again.body == told.body);
    assert!(again.header("edge-hub-cache").starts_with("age="));
    assert!(whose(&kubelet(&door), &door.token).expect(201).body == reviewed.body);
    unknown(&ask(&kubelet(&door), "create"));
    unknown(&whose(&kubelet(&door), "other"));
    unknown(&ask(&door.client(), "get"));
    unknown(&whose(&door.client(), &door.token));
    door.mend();
    assert_eq!(
        ask(&kubelet(&door), "get")
            .expect(201)
            .header("edge-hub-cache"),
        ""
    );

    let off = self::door("i-reviews-off", |setup| setup);
    ask(&kubelet(&off), "get").expect(201);
    whose(&kubelet(&off), &off.token).expect(201);
    off.cut();
    unknown(&ask(&kubelet(&off), "get"));
    unknown(&whose(&kubelet(&off), &off.token));
}
