//! Those who ask the hub: each lists and watches in its own way while it lives, and asks again for what is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::churn;
use crate::history::{Object, number};
use crate::rng::Rng;
use crate::support::http::{
    Call, Client, Connection, JSON, PROTOBUF, PROTOBUF_WATCH, Piece, Reply, Whole,
};
use crate::support::protobuf;

/// The query of a WatchList.
const WATCH_LIST: &str =
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
/// Smaller than what is there, so that there are several pages.
const PAGE: &str = "limit=9";
/// Objects asked for one by one, of each collection.
const GETS: usize = 4;
/// How often a reader looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);
/// How long kept initial events may take.
const SOON: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A list, and a watch from its version.
    List,
    /// The same, in pages.
    Pages,
    WatchList,
    /// Single objects.
    Gets,
}

/// Who asks for what, and how. Each has collections of its own, for its User-Agent.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    pub agent: &'static str,
    pub kind: &'static str,
    accept: &'static str,
    way: Way,
}

impl Reader {
    const fn new(
        agent: &'static str,
        kind: &'static str,
        accept: &'static str,
        way: Way,
    ) -> Reader {
        Reader {
            agent,
            kind,
            accept,
            way,
        }
    }

    /// Whether it asks for a list at all.
    pub fn is_of_lists(&self) -> bool {
        self.way != Way::Gets
    }

    fn path(&self, namespace: &str, rest: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/{}{rest}", self.kind)
    }

    fn accept_watch(&self) -> &'static str {
        match self.accept {
            PROTOBUF => PROTOBUF_WATCH,
            other => other,
        }
    }

    fn client(&self, hub: &Client, token: &str) -> Client {
        hub.clone()
            .bearer(token)
            .agent(&format!("{}/1", self.agent))
    }
}

pub const READERS: [Reader; 8] = [
    Reader::new("list-json", "configmaps", JSON, Way::List),
    Reader::new("pages-protobuf", "configmaps", PROTOBUF, Way::Pages),
    Reader::new("watchlist-json", "configmaps", JSON, Way::WatchList),
    Reader::new("gets-json", "configmaps", JSON, Way::Gets),
    Reader::new("list-protobuf", "secrets", PROTOBUF, Way::List),
    Reader::new("pages-json", "secrets", JSON, Way::Pages),
    Reader::new("watchlist-protobuf", "secrets", PROTOBUF, Way::WatchList),
    Reader::new("gets-protobuf", "secrets", PROTOBUF, Way::Gets),
];

/// All of them, while the hub lives.
pub struct Readers {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub fn start(hub: &Client, token: &str, namespace: &str, mut rng: Rng) -> Readers {
        let done = Arc::new(AtomicBool::new(false));
        let start = |reader: Reader| {
            let client = reader.client(hub, token);
            let (done, namespace, mut rng) = (Arc::clone(&done), namespace.to_string(), rng.fork());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // Whatever fails, fails since the hub is offline for a moment yet, or was killed.
                    if read(&reader, &client, &namespace, &mut rng, &done).is_none() {
                        std::thread::sleep(LOOK);
                    }
                }
            })
        };
        let threads = READERS.map(start).into();
        Readers { done, threads }
    }

    pub fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no reader fails");
        }
    }
}

fn read(
    reader: &Reader,
    client: &Client,
    namespace: &str,
    rng: &mut Rng,
    done: &AtomicBool,
) -> Option<()> {
    let mut connection = client.connect().ok()?;
    let version = match reader.way {
        Way::Gets => {
            let one = reader.path(namespace, &format!("/{}", churn::name(rng)));
            return whole(&mut connection, &one, reader.accept).map(|_| ());
        }
        Way::WatchList => {
            let path = reader.path(namespace, &format!("?{WATCH_LIST}"));
            return drain(&mut connection, &path, reader.accept_watch(), done);
        }
        Way::List => {
            list_head(&whole(
                &mut connection,
                &reader.path(namespace, ""),
                reader.accept,
            )?)
            .0
        }
        Way::Pages => pages(reader, &mut connection, namespace)?,
    };
    // Not for ever: lists are to come again, too.
    let secs = 1 + rng.below(2);
    let watch = format!(
        "?watch=true&allowWatchBookmarks=true&timeoutSeconds={secs}&resourceVersion={version}"
    );
    drain(
        &mut connection,
        &reader.path(namespace, &watch),
        reader.accept_watch(),
        done,
    )
}

fn whole(connection: &mut Connection, path: &str, accept: &str) -> Option<Whole> {
    let call = Call::get(path).accept(accept);
    let reply = connection.send(call).and_then(Reply::whole).ok()?;
    (reply.status == 200).then_some(reply)
}

fn pages(reader: &Reader, connection: &mut Connection, namespace: &str) -> Option<String> {
    let mut token = String::new();
    loop {
        let path = reader.path(namespace, &format!("?{PAGE}&continue={token}"));
        let (version, next) = list_head(&whole(connection, &path, reader.accept)?);
        if next.is_empty() {
            return Some(version);
        }
        token = next.replace('=', "%3D");
    }
}

/// Version and token of a list.
fn list_head(reply: &Whole) -> (String, String) {
    if reply.header("content-type").starts_with(PROTOBUF) {
        let (_, list) = protobuf::envelope(&reply.body);
        let meta = protobuf::field(list, 1).unwrap_or_default();
        let text = |number| {
            String::from_utf8_lossy(protobuf::field(meta, number).unwrap_or_default()).into_owned()
        };
        return (text(2), text(3));
    }
    let meta = &reply.json()["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    (text(&meta["resourceVersion"]), text(&meta["continue"]))
}

/// Takes what comes of a watch, which may break off anywhere.
fn drain(connection: &mut Connection, path: &str, accept: &str, done: &AtomicBool) -> Option<()> {
    let mut reply = connection.send(Call::get(path).accept(accept)).ok()?;
    while reply.status == 200 && !done.load(Ordering::Relaxed) {
        if let Piece::End | Piece::Broken(_) = reply.next(LOOK) {
            return Some(());
        }
    }
    None
}

/// An object as it was told: all of it in JSON, and the bytes in protobuf.
#[derive(Debug)]
pub enum Body {
    Json(Object),
    Protobuf { version: u64, bytes: Vec<u8> },
}

impl Body {
    fn json(json: &Value) -> (String, Body) {
        let name = json["metadata"]["name"].as_str().expect("a name");
        (name.to_string(), Body::Json(Object::of(json)))
    }

    fn protobuf(object: &[u8]) -> (String, Body) {
        let meta = protobuf::meta(object);
        let version = meta.resource_version.parse().expect("a version");
        let bytes = object.to_vec();
        (meta.name, Body::Protobuf { version, bytes })
    }
}

/// What the hub told of one collection.
#[derive(Debug)]
pub struct List {
    /// `list`, `pages` or `watchlist`, by how it was asked for.
    pub how: &'static str,
    pub version: u64,
    pub items: Vec<(String, Body)>,
}

/// What the hub told one reader.
pub struct Told {
    pub reader: Reader,
    /// Empty: it is not kept.
    pub lists: Vec<List>,
    /// Of single objects: the status, and the object if that is 200.
    pub gets: Vec<(String, u16, Option<Body>)>,
}

/// Asks a hub that is offline for everything, in every way.
pub fn ask(hub: &Client, token: &str, namespace: &str, rng: &mut Rng) -> Vec<Told> {
    let ask_one = |reader: Reader| {
        let client = reader.client(hub, token);
        let mut connection = client.connect().expect("the hub serves");
        let mut get = |rest: &str| {
            let path = reader.path(namespace, rest);
            let reply = connection.send(Call::get(&path).accept(reader.accept));
            let reply = reply.and_then(Reply::whole).expect("the hub answers");
            assert!(
                reply.header("edge-hub-cache").starts_with("age=") || reply.status != 200,
                "the API server cannot be reached"
            );
            assert!(matches!(reply.status, 200 | 404 | 503), "{}", reply.text());
            reply
        };
        let mut lists = Vec::new();
        if reader.way != Way::Gets {
            for (how, query) in [("list", ""), ("pages", "?limit=9")] {
                let reply = get(query);
                assert_ne!(reply.status, 404);
                lists.extend((reply.status == 200).then(|| list(how, &reply)));
            }
        }
        let names: Vec<String> = match reader.way {
            Way::Gets => (0..churn::NAMES).map(|n| format!("n{n:02}")).collect(),
            _ => (0..GETS).map(|_| churn::name(rng)).collect(),
        };
        let one = |name: String| {
            let reply = get(&format!("/{name}"));
            let body = (reply.status == 200).then(|| match reader.accept {
                PROTOBUF => Body::protobuf(protobuf::envelope(&reply.body).1).1,
                _ => Body::json(&reply.json()).1,
            });
            (name, reply.status, body)
        };
        let gets = names.into_iter().map(one).collect();
        if !lists.is_empty() {
            let path = reader.path(namespace, &format!("?{WATCH_LIST}"));
            lists.push(watch_list(&client, &path, &reader));
        }
        Told {
            reader,
            lists,
            gets,
        }
    };
    READERS.map(ask_one).into()
}

fn list(how: &'static str, reply: &Whole) -> List {
    let (version, next) = list_head(reply);
    assert_eq!(next, "", "all of it is told at once");
    let items = if reply.header("content-type").starts_with(PROTOBUF) {
        let (_, list) = protobuf::envelope(&reply.body);
        protobuf::fields(list, 2).map(Body::protobuf).collect()
    } else {
        let items = reply.json()["items"].as_array().expect("items").clone();
        items.iter().map(Body::json).collect()
    };
    List {
        how,
        version: version.parse().expect("a version"),
        items,
    }
}

fn watch_list(client: &Client, path: &str, reader: &Reader) -> List {
    let mut watch = client.watch(path, reader.accept_watch());
    let mut events = watch.initial(SOON);
    let mark = events.pop().expect("the mark");
    let item = |event: &crate::support::http::Event| {
        assert_eq!(event.kind, "ADDED");
        if reader.accept == PROTOBUF {
            let raw =
                protobuf::field(&event.bytes, 2).and_then(|object| protobuf::field(object, 1));
            return Body::protobuf(protobuf::envelope(raw.expect("an object")).1);
        }
        let json: Value = serde_json::from_slice(&event.bytes).expect("JSON");
        Body::json(&json["object"])
    };
    List {
        how: "watchlist",
        version: number(&Value::from(mark.meta.resource_version)),
        items: events.iter().map(item).collect(),
    }
}
