//! Watches that are asked for in odd words: through the hub they are answered as by the API server itself, and in an outage
//! nothing is made up.

use std::time::{Duration, Instant};

use crate::door::{Door, SOON};
use crate::support::http::{Call, Client, Piece, Reply};

/// What may follow on `?watch=1&timeoutSeconds=1`.
const ODD: [&str; 19] = [
    "resourceVersion=%2B5",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "sendInitialEvents=true&resourceVersionMatch=Exact",
    "resourceVersion=abc",
    "resourceVersion=-1",
    "resourceVersion=99999999999999999999999",
    "resourceVersion=1%00",
    "resourceVersion=%ff",
    "resourceVersion=5&resourceVersion=0",
    "resourceVersion=0&allowWatchBookmarks=maybe",
    "resourceVersion=0&allowWatchBookmarks=",
    "resourceVersion=0&allowWatchBookmarks=0&allowWatchBookmarks=true",
    "resourceVersion=0&timeoutSeconds=2",
    "resourceVersion=0&resourceVersionMatch=Exact",
    "sendInitialEvents=true",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    "sendInitialEvents=perhaps&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1",
    "resourceVersion=0&limit=1",
    "resourceVersion=0&fieldSelector=metadata.name%3Done&continue=x",
];

/// The status, and whether what came in the end ended as it should, with the kinds of events in it.
fn answer(client: &Client, path: &str) -> (u16, Vec<String>) {
    let mut reply: Reply = client.send(Call::get(path)).expect("an answer");
    let (mut body, start) = (Vec::new(), Instant::now());
    loop {
        match reply.next(SOON) {
            Piece::Data(data) => body.extend(data),
            Piece::End => break,
            end => panic!("{path}: {end:?} after {:?}", start.elapsed()),
        }
    }
    let text = String::from_utf8(body).expect("UTF-8");
    let mut kinds: Vec<String> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let kind = line["type"].as_str().or(line["reason"].as_str());
            kind.unwrap_or_default().to_string()
        })
        .collect();
    // Bookmarks come when the API server likes.
    kinds.retain(|kind| kind != "BOOKMARK");
    (reply.status, kinds)
}

#[test]
fn odd_words_are_answered_as_the_api_server_answers_them() {
    let door = Door::new("s-odd");
    door.set("one", "0");
    let paths = ODD.map(|odd| door.maps(&format!("?watch=1&timeoutSeconds=1&{odd}")));
    let mut online = Vec::new();
    for path in &paths {
        let want = answer(&door.direct(), path);
        online.push(want.0);
        for client in [door.client(), door.client().http1()] {
            assert_eq!(answer(&client, path), want, "{path}");
        }
    }
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    for (path, online) in paths.iter().zip(online) {
        let start = Instant::now();
        let (status, kinds) = answer(&door.client(), path);
        println!("{status} {kinds:?} after {:?}: {path}", start.elapsed());
        match status {
            // What is kept, or silence: its second is over, or what it says that it knows is not known. Never what the API
            // server refuses.
            200 => {
                assert_eq!(online, 200, "{path}");
                assert!(kinds.iter().all(|kind| kind == "ADDED" || kind == "ERROR"));
            }
            status => assert_eq!((status, &*kinds[0]), (503, "ServiceUnavailable"), "{path}"),
        }
        assert!(start.elapsed() < Duration::from_secs(15), "{path}");
    }
}

/// `watch` beside a name is no watch.
#[test]
fn one_object_is_got_whatever_else_is_asked() {
    let door = Door::new("s-named");
    door.set("one", "1");
    let client = door.client();
    let path = door.maps("/one?watch=1");
    let online = client.get(&path).expect(200);
    assert_eq!(online.json()["kind"], "ConfigMap");
    client.get(&door.maps("")).expect(200);
    door.cut();
    assert_eq!(client.get(&path).expect(200).json(), online.json());
}
