//! What the hub answers while the link is cut, request by request, in JSON and in protobuf: what it was told, or that
//! it does not know.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, MOMENT, SOON, WATCH_LIST};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client, JSON, PROTOBUF, PROTOBUF_WATCH, Piece, Whole};
use crate::support::protobuf;

/// The two encodings: of a body, and of a watch.
const ENCODINGS: [(&str, &str); 2] = [(JSON, JSON), (PROTOBUF, PROTOBUF_WATCH)];

/// The 503 of a hub that is offline and does not know.
#[track_caller]
pub fn unknown(reply: &Whole) {
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.header("content-type"), JSON);
    assert_eq!(
        reply.header("retry-after"),
        "",
        "clients would wait and ask again within the call"
    );
    let status = reply.json();
    assert_eq!(
        (
            &status["kind"],
            &status["status"],
            &status["code"],
            &status["reason"]
        ),
        (
            &json!("Status"),
            &json!("Failure"),
            &json!(503),
            &json!("ServiceUnavailable")
        )
    );
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("offline"), "{message}");
}

/// An answer of the hub's own, with its age.
#[track_caller]
pub fn kept(reply: &Whole) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let age = reply.header("edge-hub-cache");
    assert!(
        age.strip_prefix("age=")
            .is_some_and(|age| age.parse::<u64>().is_ok()),
        "{age:?}"
    );
}

pub fn get(client: &Client, path: &str, accept: &str) -> Whole {
    client.call(Call::get(path).accept(accept))
}

pub fn list_version(reply: &Whole) -> String {
    if reply.header("content-type").starts_with(PROTOBUF) {
        protobuf::list(&reply.body).0
    } else {
        reply.json()["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_string()
    }
}

pub fn item_names(reply: &Whole) -> Vec<String> {
    if reply.header("content-type").starts_with(PROTOBUF) {
        return protobuf::list(&reply.body)
            .1
            .into_iter()
            .map(|meta| meta.name)
            .collect();
    }
    let items = reply.json()["items"].as_array().expect("items").clone();
    items
        .iter()
        .map(|item| {
            item["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_string()
        })
        .collect()
}

#[test]
fn get_kept_and_not_kept() {
    let door = Door::new("o-get");
    door.set("one", "1");
    door.set("two", "2");
    for (accept, _) in ENCODINGS {
        let before = get(&door.client(), &door.maps("/one"), accept).expect(200);
        get(&door.client(), &door.maps("/absent"), accept).expect(404);
        door.cut();
        for client in [door.client(), door.client().http1()] {
            let after = get(&client, &door.maps("/one"), accept);
            kept(&after);
            assert_eq!(after.body, before.body, "byte for byte");
            assert_eq!(after.header("content-type"), before.header("content-type"));
            // Known to be absent, because the API server said so.
            get(&client, &door.maps("/absent"), accept).expect(404);
            // Nobody asked for it, or for all of them, in this encoding.
            unknown(&get(&client, &door.maps("/two"), accept));
            unknown(&get(&client, &door.maps(""), accept));
        }
        door.mend();
        assert_eq!(
            get(&door.client(), &door.maps("/two"), accept).header("edge-hub-cache"),
            ""
        );
        // A new hub for the next encoding would cost a second; another object does as well.
        door.client()
            .call(Call {
                method: Method::DELETE,
                ..Call::get(&door.maps("/two"))
            })
            .expect(200);
        get(&door.client(), &door.maps("/two"), accept).expect(404);
        door.set("two", "2");
    }
}

#[test]
fn list_kept_and_not_kept() {
    let door = Door::new("o-list");
    door.set("one", "1");
    door.set("two", "2");
    for (accept, _) in ENCODINGS {
        let before = get(&door.client(), &door.maps(""), accept).expect(200);
        let selected = door.maps("?labelSelector=app%3Dnone");
        let empty = get(&door.client(), &selected, accept).expect(200);
        assert!(item_names(&empty).is_empty());
        door.cut();
        for client in [door.client(), door.client().http1()] {
            let after = get(&client, &door.maps(""), accept);
            kept(&after);
            assert_eq!(item_names(&after), ["kube-root-ca.crt", "one", "two"]);
            assert_eq!(list_version(&after), list_version(&before));
            assert_eq!(after.body, before.body, "byte for byte");
            // All of it, whatever part was asked for.
            for query in [
                "?limit=1",
                "?resourceVersion=0",
                "?limit=500&resourceVersion=0",
                "?timeoutSeconds=5",
            ] {
                let after = get(&client, &door.maps(query), accept);
                kept(&after);
                assert_eq!(item_names(&after).len(), 3, "{query}");
                assert!(!after.text().contains("\"continue\""), "{query}");
            }
            // Known to be empty.
            let after = get(&client, &selected, accept);
            kept(&after);
            assert!(item_names(&after).is_empty());
            // A member of the list, and a name that the whole list does not have.
            kept(&get(&client, &door.maps("/one"), accept));
            get(&client, &door.maps("/absent"), accept).expect(404);
            // Another selector, another resource, another namespace: nobody asked.
            unknown(&get(
                &client,
                &door.maps("?labelSelector=app%3Dother"),
                accept,
            ));
            unknown(&get(&client, "/api/v1/namespaces/o-list/secrets", accept));
            unknown(&get(&client, "/api/v1/namespaces/other/configmaps", accept));
            unknown(&get(&client, "/api/v1/configmaps", accept));
        }
        door.mend();
    }
}

#[test]
fn what_http_1_clients_were_told_is_kept_too() {
    let door = Door::new("o-http1");
    door.set("one", "1");
    for (accept, accept_watch) in ENCODINGS {
        let client = door.client().http1();
        let list = get(&client, &door.maps(""), accept).expect(200);
        let one = get(&client, &door.maps("/one"), accept).expect(200);
        let query = format!("?watch=true&resourceVersion={}", list_version(&list));
        let mut watch = client.watch(&door.maps(&query), accept_watch);
        door.cut();
        let after = get(&client, &door.maps(""), accept);
        kept(&after);
        assert_eq!(after.body, list.body);
        assert_eq!(get(&client, &door.maps("/one"), accept).body, one.body);
        door.mend();
        let changed = door.set("one", accept);
        assert_eq!(watch.event(SOON).meta.resource_version, changed);
    }
}

#[test]
fn pages_are_joined_and_half_of_them_are_nothing() {
    let door = Door::new("o-pages");
    for n in 0..9 {
        door.set(&format!("n{n}"), "x");
    }
    let client = door.client();
    let page = |query: &str| client.get(&door.maps(query)).expect(200).json();
    let token = |page: &Value| {
        page["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .replace('=', "%3D")
    };
    let first = page("?limit=4");
    door.cut();
    unknown(&client.get(&door.maps("?limit=4")));
    unknown(&client.get(&door.maps("")));
    door.mend();
    let second = page(&format!("?limit=4&continue={}", token(&first)));
    let third = page(&format!("?limit=4&continue={}", token(&second)));
    assert_eq!(token(&third), "");
    door.cut();
    let after = client.get(&door.maps("?limit=4"));
    kept(&after);
    assert_eq!(item_names(&after).len(), 10);
    assert_eq!(
        list_version(&after),
        first["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
    );
}

#[test]
fn a_list_that_broke_off_is_never_served() {
    let door = Door::new("o-broken");
    for n in 0..40 {
        door.set(&format!("n{n}"), &"x".repeat(2_000));
    }
    let client = door.client();
    door.relay.reset_after(30_000);
    let broken = client
        .send(Call::get(&door.maps("")))
        .and_then(crate::support::http::Reply::whole);
    assert!(door.relay.fault_done());
    door.cut();
    let after = client.get(&door.maps(""));
    match broken {
        // Tried again and answered in whole: then it may be served.
        Ok(reply) if reply.status == 200 => assert_eq!(after.body, reply.body),
        _ => unknown(&after),
    }
}

#[test]
fn a_watch_moves_what_is_kept() {
    let door = Door::new("o-moves");
    door.set("changes", "1");
    door.set("goes", "1");
    for (accept, accept_watch) in ENCODINGS {
        let client = door.client();
        let list = get(&client, &door.maps(""), accept).expect(200);
        let from = list_version(&list);
        let query = format!("?watch=true&allowWatchBookmarks=true&resourceVersion={from}");
        let mut watch = client.watch(&door.maps(&query), accept_watch);
        let new = format!("new-{}", accept.len());
        let changed = door.set("changes", accept);
        assert_eq!(watch.event(SOON).meta.resource_version, changed);
        door.set(&new, "1");
        assert_eq!(watch.event(SOON).kind, "ADDED");
        door.client()
            .call(Call {
                method: Method::DELETE,
                ..Call::get(&door.maps("/goes"))
            })
            .expect(200);
        let deleted = watch.event(SOON);
        assert_eq!(deleted.kind, "DELETED");
        door.cut();
        let after = get(&client, &door.maps(""), accept);
        kept(&after);
        let names = item_names(&after);
        assert!(
            names.contains(&new) && !names.contains(&"goes".to_string()),
            "{names:?}"
        );
        assert!(
            list_version(&after).parse::<u64>().ok() >= deleted.meta.resource_version.parse().ok()
        );
        let one = get(&client, &door.maps("/changes"), accept);
        kept(&one);
        assert!(one.text().contains(&changed), "the changed object");
        get(&client, &door.maps("/goes"), accept).expect(404);

        // From the version kept: held. From one before it: gone, list again.
        let at = list_version(&after);
        let mut held = client.watch(
            &door.maps(&format!("?watch=true&resourceVersion={at}")),
            accept_watch,
        );
        held.silent(MOMENT);
        let mut old = client.watch(
            &door.maps(&format!("?watch=true&resourceVersion={from}")),
            accept_watch,
        );
        let error = old.event(SOON);
        assert_eq!(error.kind, "ERROR");
        assert!(String::from_utf8_lossy(&error.bytes).contains("Expired"));
        assert_eq!(old.poll(SOON), Err(Piece::End));

        // Held until the link is back; then it goes on.
        door.mend();
        let again = door.set("goes", accept);
        let event = held.event(SOON);
        assert_eq!(
            (event.kind.as_str(), event.meta.resource_version),
            ("ADDED", again)
        );
    }
}

#[test]
fn watches_from_the_start() {
    let door = Door::new("o-watch");
    door.set("one", "1");
    door.set("two", "2");
    for (accept, accept_watch) in ENCODINGS {
        let client = door.client();
        let list = get(&client, &door.maps(""), accept).expect(200);
        door.cut();
        for query in ["?watch=true", "?watch=1&resourceVersion=0"] {
            let mut watch = client.watch(&door.maps(query), accept_watch);
            let mut names = Vec::new();
            for _ in 0..3 {
                let event = watch.event(SOON);
                assert_eq!(event.kind, "ADDED");
                names.push(event.meta.name);
            }
            names.sort();
            assert_eq!(names, ["kube-root-ca.crt", "one", "two"]);
            watch.silent(MOMENT);
        }
        let mut watch = client.watch(&door.maps(&format!("?{WATCH_LIST}")), accept_watch);
        let mut initial = watch.initial(SOON);
        let mark = initial.pop().expect("the mark");
        assert_eq!(
            (mark.kind.as_str(), mark.meta.resource_version),
            ("BOOKMARK", list_version(&list))
        );
        assert_eq!(initial.len(), 3);
        assert!(initial.iter().all(|event| event.kind == "ADDED"));
        watch.silent(MOMENT);
        // Its own deadline still holds.
        let mut short = client.watch(
            &door.maps(&format!("?{WATCH_LIST}&timeoutSeconds=2")),
            accept_watch,
        );
        short.initial(SOON);
        assert_eq!(short.poll(SOON), Err(Piece::End));
        // Not kept: an error that the client understands, not a stream that hangs.
        for query in ["?watch=true", &format!("?{WATCH_LIST}")] {
            let path = format!("/api/v1/namespaces/o-watch/secrets{query}");
            unknown(&get(&client, &path, accept_watch));
        }
        door.mend();
        let changed = door.set("one", accept);
        assert_eq!(watch.event(SOON).meta.resource_version, changed);
    }
}

#[test]
fn a_watch_list_alone_fills_what_is_kept() {
    let door = Door::new("o-watchlist");
    door.set("one", "1");
    door.set("two", "2");
    for (accept, accept_watch) in ENCODINGS {
        let client = door.client();
        let mut online = client.watch(&door.maps(&format!("?{WATCH_LIST}")), accept_watch);
        let mut before = online.initial(SOON);
        door.cut();
        let mut offline = client.watch(&door.maps(&format!("?{WATCH_LIST}")), accept_watch);
        let mut after = offline.initial(SOON);
        assert_eq!(
            after.last().map(|mark| &mark.meta),
            before.last().map(|mark| &mark.meta)
        );
        before.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        after.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        let metas = |events: &[crate::support::http::Event]| {
            events
                .iter()
                .map(|event| event.meta.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(metas(&after), metas(&before));
        let list = get(&client, &door.maps(""), accept);
        kept(&list);
        assert_eq!(item_names(&list).len(), 3);
        door.mend();
    }
}

#[test]
fn a_watch_list_that_broke_off_is_not_complete() {
    let door = Door::new("o-watchlist-broken");
    for n in 0..40 {
        door.set(&format!("n{n}"), &"x".repeat(2_000));
    }
    let client = door.client();
    door.relay.reset_after(30_000);
    let mut watch = client.watch(&door.maps(&format!("?{WATCH_LIST}")), JSON);
    // It must not look like an end that a client answers by asking again at once, for ever.
    let error = loop {
        let event = watch.event(SOON);
        match event.kind.as_str() {
            "ERROR" => break String::from_utf8_lossy(&event.bytes).into_owned(),
            _ => assert!(!event.meta.initial_events_end),
        }
    };
    assert!(error.contains("\"code\":503"), "{error}");
    assert_eq!(watch.poll(SOON), Err(Piece::End));
    door.cut();
    unknown(&client.get(&door.maps("")));
}

#[test]
fn discovery_is_kept() {
    let door = Door::new("o-discovery");
    let aggregated =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let asked = [
        ("/version", JSON),
        ("/api", aggregated),
        ("/apis", aggregated),
        ("/api/v1", JSON),
        ("/apis/apps/v1", JSON),
        ("/openapi/v3", JSON),
    ];
    let client = door.client();
    let before: Vec<Whole> = asked
        .iter()
        .map(|(path, accept)| get(&client, path, accept).expect(200))
        .collect();
    door.cut();
    for ((path, accept), before) in asked.iter().zip(&before) {
        let after = get(&client, path, accept);
        kept(&after);
        assert_eq!(after.body, before.body, "{path}");
        assert_eq!(
            after.header("content-type"),
            before.header("content-type"),
            "{path}"
        );
    }
    // By its negotiated type: nobody asked for this one.
    unknown(&get(&client, "/apis/batch/v1", JSON));
}

#[test]
fn writes_are_refused_and_never_acknowledged() {
    let door = Door::new("o-writes");
    door.set("one", "1");
    let client = door.client();
    client.get(&door.maps("")).expect(200);
    door.cut();
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "new" } });
    for (method, path) in [
        (Method::POST, door.maps("")),
        (Method::PUT, door.maps("/one")),
        (Method::PATCH, door.maps("/one")),
        (Method::DELETE, door.maps("/one")),
        (Method::DELETE, door.maps("")),
        (
            Method::POST,
            "/api/v1/namespaces/o-writes/pods/x/exec?command=x".to_string(),
        ),
        (
            Method::POST,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_string(),
        ),
    ] {
        let reply = client.call(Call::json(method, &path, &object));
        unknown(&reply);
        // Since when: a person wants to know.
        assert!(
            reply.json()["message"]
                .as_str()
                .is_some_and(|message| message.contains("since")),
            "{}",
            reply.text()
        );
    }
    kept(&client.get(&door.maps("/one")));
    door.mend();
    client
        .call(Call::json(Method::POST, &door.maps(""), &object))
        .expect(201);
}

#[test]
fn what_a_write_has_made_untrue_is_not_told() {
    let door = Door::new("o-untrue");
    door.set("goes", "1");
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "comes" } });
    let client = door.client();
    client.get(&door.maps("/comes")).expect(404);
    client.get(&door.maps("/goes")).expect(200);
    client
        .call(Call::json(Method::POST, &door.maps(""), &object))
        .expect(201);
    client
        .call(Call {
            method: Method::DELETE,
            ..Call::get(&door.maps("/goes"))
        })
        .expect(200);
    door.cut();
    let comes = client.get(&door.maps("/comes"));
    assert_ne!(
        comes.status,
        404,
        "it was made through the hub: {}",
        comes.text()
    );
    let goes = client.get(&door.maps("/goes"));
    assert_ne!(
        goes.status,
        200,
        "it was deleted through the hub: {}",
        goes.text()
    );
}

#[test]
fn nobody_else_gets_it() {
    let cluster = Cluster::shared();
    let door = Door::with(cluster, "o-else", |setup| {
        setup.identity(cluster, "admin", "admin")
    });
    let other = cluster.account("o-else", "other", "edit");
    let again = cluster.token("o-else", "tester");
    door.set("one", "1");
    door.client().get(&door.maps("")).expect(200);
    // One who was refused is refused again, and never from what is kept for another.
    door.hub.client().get(&door.maps("")).expect(403);
    door.hub
        .client()
        .bearer("wrong")
        .get(&door.maps(""))
        .expect(401);
    door.cut();
    kept(&door.client().get(&door.maps("")));
    let (certificate, key) = cluster.pair("admin");
    let strangers = [
        door.hub.client(),
        door.hub.client().bearer("wrong"),
        door.hub.client().bearer(&other),
        door.hub.client().bearer(&again),
        door.hub.client().certificate(&certificate, &key),
    ];
    for stranger in strangers {
        for path in [
            door.maps(""),
            door.maps("/one"),
            door.maps(&format!("?{WATCH_LIST}")),
        ] {
            let reply = stranger.get(&path);
            assert!(
                matches!(reply.status, 401 | 403 | 503),
                "{path}: {}",
                reply.text()
            );
        }
    }
}

#[test]
fn a_certificates_subject_is_who_asked() {
    let cluster = Cluster::shared();
    let door = Door::with(cluster, "o-subject", |setup| {
        setup.identity(cluster, "admin", "admin")
    });
    door.set("one", "1");
    let (certificate, key) = cluster.pair("admin");
    let admin = door.hub.client().certificate(&certificate, &key);
    admin.get(&door.maps("")).expect(200);
    // Another certificate of the same subject is the same caller.
    let (certificate, key) = cluster.user("o-subject-renewed", "admin", "system:masters");
    let renewed = door.hub.client().certificate(&certificate, &key);
    door.cut();
    kept(&admin.get(&door.maps("")));
    kept(&renewed.get(&door.maps("")));
    unknown(&door.client().get(&door.maps("")));
}

#[test]
fn agents_decide_what_is_worth_keeping() {
    let door = Door::with(Cluster::shared(), "o-agents", |setup| {
        setup.set("cache_agents", json!(["wanted", "-kube-proxy"]))
    });
    door.set("one", "1");
    let agents = [
        ("wanted/v1 (linux)", true),
        ("Wanted/v2", true),
        ("other/v1", false),
        ("kubelet/v1.36.4 (linux/amd64)", true),
        ("kube-proxy/v1.36.4 (linux/amd64)", false),
    ];
    for (agent, _) in agents {
        door.client().agent(agent).get(&door.maps("")).expect(200);
    }
    door.cut();
    for (agent, keeps) in agents {
        let reply = door.client().agent(agent).get(&door.maps(""));
        if keeps { kept(&reply) } else { unknown(&reply) }
    }
}

#[test]
fn never_kept() {
    let door = Door::new("o-never");
    let client = door.client();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    get(&client, &door.maps(""), table).expect(200);
    client.get("/api/v1/namespaces/o-never/events").expect(200);
    door.cut();
    unknown(&get(&client, &door.maps(""), table));
    unknown(&client.get("/api/v1/namespaces/o-never/events"));
}

#[test]
fn a_cut_is_known_quickly() {
    let door = Door::new("o-quick");
    door.set("one", "1");
    let client = door.client();
    client.get(&door.maps("")).expect(200);
    // Refused: the very next request is answered.
    door.relay.refuse();
    let start = Instant::now();
    kept(&client.get(&door.maps("")));
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    door.mend();
    client.get(&door.maps("")).expect(200);
    // A black hole: as soon as the pings say so.
    door.relay.black_hole();
    let start = Instant::now();
    kept(&client.get(&door.maps("")));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    // A write that hangs in it is not acknowledged.
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "new" } });
    unknown(&client.call(Call::json(Method::POST, &door.maps(""), &object)));
}

#[test]
fn a_start_without_a_server_is_a_start() {
    let door = Door::new("o-start");
    door.relay.refuse();
    let hub = crate::support::hub::Setup::new(door.cluster, &door.relay.url()).start();
    assert!(!hub.online());
    unknown(&hub.client().bearer(&door.token).get(&door.maps("")));
    door.relay.pass();
    hub.sees_online();
    hub.client()
        .bearer(&door.token)
        .get(&door.maps(""))
        .expect(200);
}

#[test]
fn a_server_with_a_wrong_certificate_is_not_believed() {
    let door = Door::new("o-wrong");
    // The hub's own CA signed nothing that the API server shows.
    let ca = door.hub.ca();
    let hub = crate::support::hub::Setup::new(door.cluster, &door.relay.url())
        .set("ca_file", ca.display().to_string())
        .start();
    assert!(!hub.online());
    let reply = hub
        .client()
        .bearer(&door.token)
        .get(&door.maps(""))
        .expect(503);
    let message = reply.json()["message"]
        .as_str()
        .unwrap_or_default()
        .to_lowercase();
    assert!(message.contains("certificate"), "{message}");
    assert!(
        hub.status()
            .to_string()
            .to_lowercase()
            .contains("certificate"),
        "{}",
        hub.status()
    );
}

#[test]
fn the_cap_drops_whole_collections() {
    let door = Door::with(Cluster::shared(), "o-cap", |setup| {
        setup.set("cache_max_bytes", 1 << 20)
    });
    for n in 0..20 {
        door.set(&format!("n{n:02}"), &"x".repeat(30_000));
    }
    let client = door.client();
    client.get(&door.maps("")).expect(200);
    for n in 0..20 {
        client
            .get(&door.maps(&format!("?fieldSelector=metadata.name%3Dn{n:02}")))
            .expect(200);
    }
    door.cut();
    let mut served = 0;
    for path in (0..20).map(|n| door.maps(&format!("?fieldSelector=metadata.name%3Dn{n:02}"))) {
        let reply = client.get(&path);
        if reply.status == 200 {
            kept(&reply);
            assert_eq!(item_names(&reply).len(), 1);
            served += 1;
        } else {
            unknown(&reply);
        }
    }
    assert!(served > 0, "what was asked last is kept");
    let all = client.get(&door.maps(""));
    if all.status == 200 {
        assert_eq!(item_names(&all).len(), 21)
    } else {
        unknown(&all)
    }
}
