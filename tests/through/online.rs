//! With the link up, the hub changes nothing that a client can see.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::door::{Door, MOMENT, SOON, WATCH_LIST};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, JSON, PROTOBUF, PROTOBUF_WATCH, Piece, many, raw};
use crate::support::program::Program;
use crate::support::until;

fn same_but_for_digits(a: &str, b: &str) -> bool {
    let rest = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    rest(a) == rest(b)
}

#[test]
fn answers_are_the_api_servers_own() {
    let door = Door::new("t-same");
    door.set("one", "1");
    door.set("two", "2");
    // Other tests move the cluster's version, so the lists are of one.
    let list = door.direct().get(&door.maps("")).json();
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    let exact = format!("resourceVersion={version}&resourceVersionMatch=Exact");
    let some_paths = [
        door.maps(&format!("?{exact}")),
        door.maps(&format!("?{exact}&limit=1")),
        door.maps(&format!("?{exact}&labelSelector=app%3Dnone")),
        door.maps(&format!("?{exact}&fieldSelector=metadata.name%3Done")),
        door.maps("/one"),
        door.maps("/absent"),
        door.maps("?resourceVersion=1&resourceVersionMatch=Exact"),
        door.maps("?limit=nonsense"),
        "/api/v1/nodes".to_string(),
        "/api".to_string(),
        "/apis".to_string(),
        "/version".to_string(),
        "/api/v1".to_string(),
        "/openapi/v3".to_string(),
        "/no/such/path".to_string(),
    ];
    for path in &some_paths {
        for accept in [
            JSON,
            PROTOBUF,
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        ] {
            let direct = door.direct().call(Call::get(path).accept(accept));
            for client in [door.client(), door.client().http1()] {
                let through = client.call(Call::get(path).accept(accept));
                assert_eq!(through.status, direct.status, "{path} {accept}");
                assert_eq!(
                    through.header("content-type"),
                    direct.header("content-type"),
                    "{path} {accept}"
                );
                // A table says how old each object is, in seconds.
                let ages = accept.contains("as=Table") && through.text() != direct.text();
                assert!(
                    ages && same_but_for_digits(&through.text(), &direct.text())
                        || through.text() == direct.text(),
                    "{path} {accept}: {} {}",
                    through.text(),
                    direct.text()
                );
                assert_eq!(
                    through.header("edge-hub-cache"),
                    "",
                    "{path}: it came from the API server"
                );
            }
        }
    }
}

#[test]
fn every_verb_and_patch_type_passes() {
    let door = Door::new("t-verbs");
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" }, "data": { "a": "1" } });
    for client in [door.client(), door.client().http1()] {
        let made = client
            .call(Call::json(Method::POST, &door.maps(""), &object))
            .expect(201)
            .json();
        client
            .call(Call::json(Method::POST, &door.maps(""), &object))
            .expect(409);
        client
            .call(Call::json(Method::PUT, &door.maps("/one"), &made))
            .expect(200);
        for (media_type, patch) in [
            (
                "application/json-patch+json",
                json!([{ "op": "add", "path": "/data/b", "value": "2" }]),
            ),
            (
                "application/merge-patch+json",
                json!({ "data": { "c": "3" } }),
            ),
            (
                "application/strategic-merge-patch+json",
                json!({ "data": { "d": "4" } }),
            ),
            (
                "application/apply-patch+yaml",
                json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "e": "5" } }),
            ),
        ] {
            let path = door.maps("/one?fieldManager=t");
            let mut call = Call::json(Method::PATCH, &path, &patch);
            call.headers = vec![("content-type", media_type)];
            client.call(call).expect(200);
        }
        let data = client.get(&door.maps("/one")).json()["data"].clone();
        assert_eq!(
            data,
            json!({ "a": "1", "b": "2", "c": "3", "d": "4", "e": "5" })
        );
        client
            .call(Call {
                method: Method::DELETE,
                ..Call::get(&door.maps("/one"))
            })
            .expect(200);
        client.get(&door.maps("/one")).expect(404);
    }
}

#[test]
fn a_body_of_a_megabyte_passes_both_ways() {
    let door = Door::new("t-body");
    let value: String = (0..100_000).map(|n| format!("{n:09} ")).collect();
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "big" }, "data": { "v": value } });
    for client in [door.client(), door.client().http1()] {
        client
            .call(Call::json(Method::POST, &door.maps(""), &object))
            .expect(201);
        let got = client.get(&door.maps("/big")).expect(200).json();
        assert_eq!(got["data"]["v"], object["data"]["v"]);
        // Above 128 KiB the API server compresses for those who can read it.
        let zipped = client
            .call(Call::get(&door.maps("")).header("accept-encoding", "gzip"))
            .expect(200);
        assert_eq!(zipped.header("content-encoding"), "gzip");
        assert!(zipped.body.starts_with(&[0x1f, 0x8b]));
        client
            .call(Call {
                method: Method::DELETE,
                ..Call::get(&door.maps("/big"))
            })
            .expect(200);
    }
    // What the API server refuses for its size, it refuses itself.
    let value = "x".repeat(4 << 20);
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "big" }, "data": { "v": value } });
    let through = door
        .client()
        .call(Call::json(Method::POST, &door.maps(""), &object));
    let direct = door
        .direct()
        .call(Call::json(Method::POST, &door.maps(""), &object));
    assert_eq!(
        (through.status, through.text()),
        (direct.status, direct.text())
    );
}

#[test]
fn watch_events_come_at_once_in_both_encodings() {
    let door = Door::new("t-watch");
    door.set("one", "0");
    for client in [door.client(), door.client().http1()] {
        for accept in [JSON, PROTOBUF_WATCH] {
            let start = Instant::now();
            let path = door.maps(&format!("?{WATCH_LIST}&fieldSelector=metadata.name%3Done"));
            let mut watch = client.watch(&path, accept);
            let initial = watch.initial(SOON);
            assert_eq!(
                initial
                    .iter()
                    .map(|event| event.kind.as_str())
                    .collect::<Vec<_>>(),
                ["ADDED", "BOOKMARK"]
            );
            let version = door.set("one", &format!("{accept} {start:?}"));
            let event = watch.event(SOON);
            assert_eq!(
                (event.kind.as_str(), event.meta.resource_version),
                ("MODIFIED", version)
            );
            watch.silent(MOMENT);
        }
        // A watch without a single event shows its head at once.
        let start = Instant::now();
        let version =
            door.client().get(&door.maps("")).json()["metadata"]["resourceVersion"].to_string();
        let version = version.trim_matches('"');
        let mut watch = client.watch(
            &door.maps(&format!("?watch=1&resourceVersion={version}")),
            JSON,
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        watch.silent(MOMENT);
    }
}

#[test]
fn a_watch_ends_at_its_timeout() {
    let door = Door::new("t-timeout");
    let mut watch = door.client().watch(
        &door.maps("?watch=1&timeoutSeconds=2&fieldSelector=metadata.name%3Dx"),
        JSON,
    );
    assert_eq!(watch.poll(SOON), Err(Piece::End));
}

#[test]
fn one_connection_carries_250_watches() {
    let door = Door::new("t-streams");
    let first = door.client().connect().expect("a connection");
    let mut replies = Vec::new();
    for n in 0..250 {
        let path = door.maps(&format!("?watch=1&fieldSelector=metadata.name%3Dn{n}"));
        let reply = first
            .share()
            .send(Call::get(&path))
            .unwrap_or_else(|error| panic!("watch {n}: {error}"));
        assert_eq!(reply.status, 200, "watch {n}");
        replies.push(reply);
    }
    // All of them live: each sees its own object and nothing else.
    for n in [0, 100, 249] {
        door.set(&format!("n{n}"), "x");
        let Piece::Data(data) = replies[n].next(SOON) else {
            panic!("watch {n} says nothing")
        };
        assert!(String::from_utf8_lossy(&data).contains(&format!("\"name\":\"n{n}\"")));
    }
    let others = door.client();
    others.get(&door.maps("/n0")).expect(200);
}

#[test]
fn many_small_writes_at_once_all_arrive() {
    let door = Door::new("t-many");
    let calls = (0..500).map(|n| {
        let name = format!("n{n}");
        (
            Method::POST,
            door.maps(""),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }),
        )
    });
    let statuses = many(&door.client(), 50, calls);
    assert_eq!(statuses, vec![201; 500]);
    let list = door.direct().get(&door.maps("")).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(501));
}

#[test]
fn who_asks_is_who_the_api_server_sees() {
    let cluster = Cluster::shared();
    let door = Door::with(cluster, "t-who", |setup| {
        setup.identity(cluster, "admin", "admin")
    });
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let name = |client: &crate::support::http::Client| {
        let reply = client.call(Call::json(Method::POST, path, &review));
        (
            reply.status,
            reply.json()["status"]["userInfo"]["username"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
        )
    };
    // A token goes up as it is.
    assert_eq!(
        name(&door.client()),
        (201, "system:serviceaccount:t-who:tester".to_string())
    );
    // A listed certificate goes up as its pair.
    let (certificate, key) = cluster.pair("admin");
    assert_eq!(
        name(&door.hub.client().certificate(&certificate, &key)),
        (201, "admin".to_string())
    );
    // One that the CA signed and nobody listed is refused, and told so.
    let (certificate, key) = cluster.user("t-who-stranger", "stranger", "system:masters");
    let refused = door
        .hub
        .client()
        .certificate(&certificate, &key)
        .get("/api/v1/nodes")
        .expect(403)
        .json();
    assert_eq!(
        (&refused["kind"], &refused["status"]),
        (&json!("Status"), &json!("Failure"))
    );
    // Nobody stays nobody, whatever he says he is.
    let call = || {
        Call::get("/api/v1/nodes")
            .header("x-remote-user", "admin")
            .header("x-remote-group", "system:masters")
    };
    let nobody = door.hub.client().call(call()).expect(403);
    assert!(
        nobody.text().contains("system:anonymous"),
        "{}",
        nobody.text()
    );
    // A token that is no good stays no good.
    door.hub
        .client()
        .bearer("wrong")
        .get("/api/v1/nodes")
        .expect(401);
}

#[test]
fn a_link_that_hurts_breaks_nothing_but_what_it_carried() {
    let door = Door::new("t-hurt");
    for n in 0..50 {
        door.set(&format!("n{n}"), &"x".repeat(2_000));
    }
    // Slow and far away, everything still comes.
    door.relay.delay(Duration::from_millis(100));
    door.relay.throttle(200_000);
    let list = door.client().get(&door.maps("")).expect(200).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(51));
    door.relay.delay(Duration::ZERO);
    door.relay.throttle(0);

    // Reset in the middle of a body: that answer breaks off or is told to be unavailable, the next one is whole.
    for half in [false, true] {
        if half {
            door.relay.half_close_after(30_000)
        } else {
            door.relay.reset_after(30_000)
        }
        let broken = door
            .client()
            .send(Call::get(&door.maps("")))
            .and_then(crate::support::http::Reply::whole);
        assert!(door.relay.fault_done());
        if let Ok(reply) = broken {
            // Whole, from another try or from what was kept, or refused; never a part that looks whole.
            let items = reply.json()["items"].as_array().map(Vec::len);
            assert!(
                reply.status == 503 || items == Some(51),
                "{} {items:?}",
                reply.status
            );
        }
        door.hub.sees_online();
        let list = door.client().get(&door.maps("")).expect(200).json();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(51));
    }
}

#[test]
fn a_stalled_reader_does_not_stop_the_others() {
    let door = Door::new("t-stalled");
    for n in 0..60 {
        door.set(&format!("n{n}"), &"x".repeat(20_000));
    }
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let reply = door
            .client()
            .send(Call::get(&door.maps("?resourceVersion=0")))
            .expect("a head");
        assert_eq!(reply.status, 200);
        stalled.push(reply);
    }
    let start = Instant::now();
    for _ in 0..20 {
        door.client().get(&door.maps("/n1")).expect(200);
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    for reply in stalled {
        assert_eq!(
            reply.whole().expect("the rest comes").json()["items"]
                .as_array()
                .map(Vec::len),
            Some(61)
        );
    }
}

#[test]
fn sigterm_drains() {
    let mut door = Door::new("t-drain");
    let mut watch = door
        .client()
        .watch(&door.maps("?watch=1&fieldSelector=metadata.name%3Dx"), JSON);
    watch.silent(MOMENT);
    let start = Instant::now();
    assert_eq!(door.hub.terminate(Duration::from_secs(15)), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(watch.poll(SOON), Err(Piece::End), "a watch ends cleanly");
}

#[test]
fn status_is_readable_by_programs_and_people() {
    let door = Door::new("t-status");
    assert!(door.hub.status().is_object());
    let file = door.hub.config_file();
    let run = |args: &[&str]| {
        let mut words = vec!["status", "--config", file.to_str().expect("a path")];
        words.extend(args);
        Program::start(std::path::Path::new(crate::support::hub::PROGRAM), &words).wait(SOON)
    };
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"]).ok()).expect("JSON");
    assert!(json.is_object());
    assert!(!run(&[]).ok().is_empty());
    until("the access line", SOON, || {
        door.client().get(&door.maps("/x"));
        door.hub
            .log()
            .contains("with status code 404, spent ")
            .then_some(())
    });
    assert!(!door.hub.log().contains(&door.token), "no token in the log");
}

#[test]
fn a_compressed_list_passes_as_it_is_and_is_kept() {
    let door = Door::new("t-gzip");
    for n in 0..20 {
        door.set(&format!("n{n:02}"), &"0123456789".repeat(1_000));
    }
    let plain = door.direct().get(&door.maps("")).expect(200);
    let clients = [
        door.client().agent("gzip-2/1"),
        door.client().agent("gzip-1/1").http1(),
    ];
    for client in clients {
        let zipped = client
            .call(Call::get(&door.maps("")).header("accept-encoding", "gzip"))
            .expect(200);
        assert_eq!(zipped.header("content-encoding"), "gzip");
        assert!(zipped.body.starts_with(&[0x1f, 0x8b]));
        assert!(zipped.body.len() < plain.body.len() / 4);
        door.cut();
        let kept = client.get(&door.maps("")).expect(200);
        assert_ne!(kept.header("edge-hub-cache"), "");
        // Others write too, and a list's version is the whole resource's.
        let (kept, plain) = (kept.text(), plain.text());
        let items = |text: &str| text.split_once(r#""items":"#).unwrap().1.to_owned();
        assert_eq!(items(&kept), items(&plain));
        door.mend();
    }
}

#[test]
fn warnings_and_100_continue_pass() {
    let door = Door::new("t-warning");
    let bind = [
        "create",
        "clusterrolebinding",
        "t-warning",
        "--clusterrole=cluster-admin",
        "--serviceaccount=t-warning:tester",
    ];
    door.cluster.kubectl().run(&bind).ok();
    let path = "/api/v1/componentstatuses";
    let direct = door.direct().get(path).expect(200);
    assert!(direct.header("warning").contains("deprecated"));
    let through = door.client().get(path).expect(200);
    assert_eq!(through.header("warning"), direct.header("warning"));

    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"continued"}}"#;
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n{body}",
        door.maps(""),
        door.token,
        body.len()
    );
    let reply = raw(&door.client(), "http/1.1", request.as_bytes(), SOON).expect("it ends");
    let reply = String::from_utf8_lossy(&reply).into_owned();
    assert!(
        reply.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201"),
        "{reply}"
    );
    door.direct().get(&door.maps("/continued")).expect(200);
}
