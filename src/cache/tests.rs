//! What is kept and told, without sockets: answers fed by hand.

use super::answer::{self, What};
use super::keep::{Head, Keeper};
use super::key::{Key, Scope};
use super::own::Own;
use super::watched::Follower;
use super::{Begun, Cache, cluster_ip};
use crate::access::Who;
use crate::limits;
use crate::object::Encoding;
use crate::request::agent::Agents;
use crate::request::{Asked, Form, classify};
use crate::store::ram::Ram;
use crate::store::{Change, CollectionId, Item, NotKept, Recovered, Store};
use crate::watch::event;
use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const WHO: Who = Who::Subject([1; 32]);

/// What is in memory is there at once.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("waits"),
    }
}

struct Kept(Rc<RefCell<Cache>>);

impl Kept {
    fn new() -> Kept {
        let store = Store::Ram(Ram::new(1 << 20));
        let cache = Cache::new(store, Agents::new(["*"]), &[7; 16]);
        Kept(Rc::new(RefCell::new(cache)))
    }

    fn asked(&self, uri: &str) -> Asked {
        let head = http::Request::builder().uri(uri).body(()).unwrap();
        classify(&head.into_parts().0).unwrap()
    }

    fn begun(&self) -> Begun {
        self.0.borrow().begun()
    }

    /// The API server answers what was asked for at `begun`.
    fn answered(&self, uri: &str, begun: Begun, status: u16, body: &str) {
        let head = Head {
            status,
            content_type: "application/json",
            gzip: false,
            begun,
        };
        let Some(mut keeper) = Keeper::new(&self.0, &self.asked(uri), WHO, &head) else {
            panic!("{uri} is not kept at all");
        };
        keeper.feed(body.as_bytes());
        keeper.finish();
    }

    /// What is told without the API server: `200 VERSION`, `404`, or nothing.
    fn told(&self, uri: &str) -> String {
        let asked = self.asked(uri);
        let found = at_once(answer::find(&self.0, &asked, WHO, Instant::now()));
        match found.map(|found| found.what) {
            None => String::new(),
            Some(What::Object { stored, .. }) => {
                format!("200 {}", String::from_utf8_lossy(&stored))
            }
            Some(What::Absent { .. }) => "404".to_owned(),
            Some(What::List(list)) => {
                let mut items = list.read();
                let mut count = 0;
                while let Some(some) = at_once(items.next()).unwrap() {
                    count += some.len();
                }
                format!("200 {} with {count}", list.view.version)
            }
            Some(What::Document { .. }) => "200".to_owned(),
        }
    }

    fn age(&self, uri: &str) -> Duration {
        let asked = self.asked(uri);
        at_once(answer::find(&self.0, &asked, WHO, Instant::now()))
            .unwrap()
            .age
    }

    /// The collection that was kept of the answer to this.
    fn id(&self, uri: &str) -> CollectionId {
        let scope = super::key::scope(&self.asked(uri)).unwrap();
        let cache = self.0.borrow();
        let mut ids = (cache.table.iter()).filter(|(key, _)| key.scope == scope);
        ids.next().unwrap().1.id
    }

    fn unreadable(&self, id: Option<CollectionId>) {
        let store = &mut self.0.borrow_mut().store;
        let Store::Ram(ram) = store else {
            panic!("not in memory");
        };
        ram.unreadable = id;
    }

    fn cluster_ips(&self) -> Option<Vec<IpAddr>> {
        at_once(cluster_ip::look(&self.0, &[]))
    }

    fn objects_kept(&self) -> u64 {
        self.0.borrow().counts.objects.get()
    }
}

fn list(version: u32, items: &[(&str, &str)]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|(namespace, name)| {
            format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","resourceVersion":"1"}}}}"#)
        })
        .collect();
    format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

const MAPS: &str = "/api/v1/configmaps";
const ONE: &str = "/api/v1/namespaces/a/configmaps/one";

#[test]
fn only_the_core_service_says_the_cluster_ip() {
    let kept = Kept::new();
    let service = |group: &str, ip: &str| {
        format!(
            r#"{{"kind":"Service","apiVersion":"{group}v1","metadata":{{"name":"kubernetes","namespace":"default","resourceVersion":"5"}},"spec":{{"clusterIP":"{ip}"}}}}"#
        )
    };
    let foreign = "/apis/serving.knative.dev/v1/namespaces/default/services/kubernetes";
    let body = service("serving.knative.dev/", "192.0.2.1");
    kept.answered(foreign, kept.begun(), 200, &body);
    assert_eq!(kept.cluster_ips(), Some(Vec::new()));
    assert_eq!(kept.cluster_ips(), None, "nothing new to look at");
    let own = "/api/v1/namespaces/default/services/kubernetes";
    kept.answered(own, kept.begun(), 200, &service("", "10.96.0.1"));
    assert_eq!(kept.cluster_ips(), Some(vec!["10.96.0.1".parse().unwrap()]));
    assert_eq!(kept.cluster_ips(), None);
}

#[test]
fn an_answer_that_a_write_overtook_is_not_kept() {
    let kept = Kept::new();
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"one","namespace":"a","resourceVersion":"5"}}"#;
    let begun = kept.begun();
    let put = kept.asked(ONE);
    kept.0.borrow_mut().written(put.resource().unwrap());
    kept.answered(ONE, begun, 200, body);
    assert_eq!(kept.told(ONE), "");
    kept.answered(ONE, kept.begun(), 200, body);
    assert!(kept.told(ONE).starts_with("200"));
}

#[test]
fn an_older_list_is_news_only_where_nobody_has_told_more_since() {
    let kept = Kept::new();
    let early = kept.begun();
    kept.answered(MAPS, kept.begun(), 200, &list(100, &[("a", "one")]));
    // Asked for before, answered after: it would go back in time.
    kept.answered(MAPS, early, 200, &list(90, &[]));
    assert_eq!(kept.told(MAPS), "200 100 with 1");
    // Asked for since: the API server's own past is back, as after a restore of etcd.
    kept.answered(MAPS, kept.begun(), 200, &list(80, &[]));
    assert_eq!(kept.told(MAPS), "200 80 with 0");
    // While a watch tells what happens, its word counts.
    let watch = kept.asked(&format!("{MAPS}?watch=1&resourceVersion=80"));
    let mut follower = Follower::new(&kept.0, &watch, WHO, Encoding::Json).unwrap();
    let frame = br#"{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"two","namespace":"a","resourceVersion":"85"}}}
"#;
    follower.event(&event::parse(Encoding::Json, frame).unwrap());
    assert_eq!(kept.told(MAPS), "200 85 with 1");
    kept.answered(MAPS, kept.begun(), 200, &list(82, &[]));
    assert_eq!(kept.told(MAPS), "200 85 with 1");
}

#[test]
fn a_namespaces_list_is_taken_out_of_a_wider_one() {
    let kept = Kept::new();
    let items = [("a", "one"), ("a", "two"), ("b", "three")];
    kept.answered(MAPS, kept.begun(), 200, &list(7, &items));
    assert_eq!(kept.told("/api/v1/namespaces/a/configmaps"), "200 7 with 2");
    assert_eq!(kept.told("/api/v1/namespaces/c/configmaps"), "200 7 with 0");
    assert_eq!(kept.told("/api/v1/namespaces/a/secrets"), "");
    // What is in no namespace has no such list: the API server knows no such path.
    kept.answered(
        "/api/v1/persistentvolumes",
        kept.begun(),
        200,
        &list(7, &[("", "disk")]),
    );
    assert_eq!(kept.told("/api/v1/namespaces/a/persistentvolumes"), "");
    kept.answered("/api/v1/nodes", kept.begun(), 200, &list(7, &[]));
    assert_eq!(kept.told("/api/v1/namespaces/a/nodes"), "");
}

fn map(version: u32, data: &str) -> String {
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"one","namespace":"a","resourceVersion":"{version}"}},"data":{{"a":"{data}"}}}}"#
    )
}

#[test]
fn what_is_kept_already_is_not_kept_again() {
    let kept = Kept::new();
    for (body, objects) in [
        (map(5, "x"), 1),
        (map(5, "x"), 1),
        (map(6, "x"), 2),
        // No server does so, yet the bytes decide.
        (map(6, "y"), 3),
        (map(6, "y"), 3),
    ] {
        kept.answered(ONE, kept.begun(), 200, &body);
        assert_eq!(kept.objects_kept(), objects, "{body}");
    }
    // Confirmed is not what is gone from the store.
    let id = kept.id(ONE);
    kept.0.borrow_mut().store.drop_collection(id);
    kept.answered(ONE, kept.begun(), 200, &map(6, "y"));
    assert_eq!(kept.objects_kept(), 4);
    assert!(kept.told(ONE).starts_with("200"));
}

#[test]
fn what_cannot_be_read_is_not_known_and_the_next_best_is_told() {
    let kept = Kept::new();
    kept.answered(MAPS, kept.begun(), 200, &list(7, &[("a", "one")]));
    kept.answered(ONE, kept.begun(), 200, &map(5, "x"));
    assert!(
        kept.told(ONE).contains("\"data\""),
        "the newer, got by itself"
    );
    kept.unreadable(Some(kept.id(ONE)));
    assert!(kept.told(ONE).starts_with("200") && !kept.told(ONE).contains("\"data\""));
    kept.unreadable(Some(kept.id(MAPS)));
    assert!(kept.told(ONE).contains("\"data\""));
    assert_eq!(kept.told(MAPS), "");
    // A namespace's list, and the wider one that holds it too.
    let narrow = "/api/v1/namespaces/a/configmaps";
    kept.unreadable(None);
    kept.answered(
        narrow,
        kept.begun(),
        200,
        &list(8, &[("a", "one"), ("a", "two")]),
    );
    assert_eq!(kept.told(narrow), "200 8 with 2");
    kept.unreadable(Some(kept.id(narrow)));
    assert_eq!(kept.told(narrow), "200 7 with 1");
}

#[test]
fn a_torn_list_is_never_a_shorter_one() {
    let kept = Kept::new();
    let names: Vec<String> = (0..100).map(|n| format!("m{n:03}")).collect();
    let items: Vec<(&str, &str)> = names.iter().map(|name| ("a", name.as_str())).collect();
    kept.answered(MAPS, kept.begun(), 200, &list(7, &items));
    let asked = kept.asked(MAPS);
    let found = at_once(answer::find_list(&kept.0, &asked, WHO, Instant::now()));
    let (whole, _) = found.unwrap();
    let mut torn = whole.clone();
    torn.view = whole.view.clone().torn();
    let count = |list: &answer::List| {
        let (mut items, mut count) = (list.read(), 0);
        loop {
            match at_once(items.next()) {
                Ok(Some(some)) => count += some.len(),
                Ok(None) => return Ok(count),
                Err(lost) => return Err((lost, count)),
            }
        }
    };
    assert_eq!(count(&whole), Ok(100));
    assert_eq!(count(&torn), Err((crate::store::Lost, 99)));
}

#[test]
fn a_denied_get_is_told_by_no_list() {
    let kept = Kept::new();
    kept.answered(MAPS, kept.begun(), 200, &list(7, &[("a", "one")]));
    let scope = super::key::scope(&kept.asked(ONE)).unwrap();
    kept.0.borrow_mut().forget(&WHO, &scope);
    assert_eq!(kept.told(ONE), "");
    assert_eq!(kept.told(MAPS), "200 7 with 1");
    // Nor by a list that comes to hold it later, for nobody looked whether this one does.
    let other = "/api/v1/namespaces/a/configmaps/two";
    let scope = super::key::scope(&kept.asked(other)).unwrap();
    kept.0.borrow_mut().forget(&WHO, &scope);
    let items = [("a", "one"), ("a", "two")];
    kept.answered(MAPS, kept.begun(), 200, &list(9, &items));
    assert_eq!(kept.told(other), "");
    // Allowed again.
    kept.answered(ONE, kept.begun(), 200, &map(5, "x"));
    assert!(kept.told(ONE).starts_with("200"));
}

#[test]
fn denials_are_bounded() {
    let kept = Kept::new();
    kept.answered(MAPS, kept.begun(), 200, &list(7, &[("a", "one")]));
    for n in 0..=limits::DENIED_GETS_MAX {
        let uri = format!("/api/v1/namespaces/a/configmaps/m{n}");
        let scope = super::key::scope(&kept.asked(&uri)).unwrap();
        kept.0.borrow_mut().forget(&WHO, &scope);
        // One too many: the oldest denial goes, and with it what could tell what it denied.
        let want = match n < limits::DENIED_GETS_MAX {
            true => "200 7 with 1",
            false => "",
        };
        assert_eq!(kept.told(MAPS), want, "{n}");
    }
}

#[test]
fn what_has_too_long_a_name_is_not_kept() {
    let kept = Kept::new();
    let selector = |len: usize| format!("{MAPS}?labelSelector={}", "x".repeat(len));
    let head = |begun| Head {
        status: 200,
        content_type: "application/json",
        gzip: false,
        begun,
    };
    for (len, want) in [(8000, true), (limits::STORE_NAME_BYTES_MAX, false)] {
        let asked = kept.asked(&selector(len));
        let keeper = Keeper::new(&kept.0, &asked, WHO, &head(kept.begun()));
        assert_eq!(keeper.is_some(), want, "{len}");
        let watch = kept.asked(&format!("{}&watch=1", selector(len)));
        let follower = Follower::new(&kept.0, &watch, WHO, Encoding::Json);
        assert_eq!(follower.is_some(), want, "{len}");
    }
}

#[test]
fn refusals_are_counted_by_their_cause() {
    let kept = Kept::new();
    let cache = kept.0.borrow();
    for why in [
        NotKept::NoRoom,
        NotKept::Gone,
        NotKept::Behind,
        NotKept::Frozen,
        NotKept::Off,
    ] {
        cache.counts.not_kept(why);
    }
    let counts = &cache.counts;
    let counted = [&counts.no_room, &counts.behind, &counts.frozen, &counts.off];
    assert_eq!(counted.map(|c| c.get()), [2, 1, 1, 1]);
}

#[test]
fn what_the_store_still_has_is_told_after_a_restart() {
    let hour = Duration::from_secs(3600);
    let before = Kept::new();
    let items = [("a", "one"), ("b", "two")];
    before.answered(MAPS, before.begun(), 200, &list(7, &items));
    before.answered(ONE, before.begun(), 200, &map(5, "x"));
    let recovered = |id: CollectionId, name: Vec<u8>, age| Recovered {
        id,
        name,
        class: 0,
        age,
    };
    // The store outlives its cache.
    let old = Rc::into_inner(before.0).unwrap().into_inner();
    let names: Vec<(Key, CollectionId)> = (old.table.iter())
        .map(|(key, e)| (key.clone(), e.id))
        .collect();
    let mut store = old.store;
    let stray = |store: &mut Store| {
        let fill = store.begin(0, None);
        store.commit(fill, None, b"?", "1", b"").unwrap()
    };
    let (unnamed, second) = (stray(&mut store), stray(&mut store));
    let mut cache = Cache::new(store, Agents::new(["*"]), &[8; 16]);
    assert_eq!(cache.subjects(), []);
    let mut all = vec![recovered(unnamed, b"?".to_vec(), None)];
    for (key, id) in &names {
        let age = matches!(key.scope, Scope::Objects(_)).then_some(hour);
        all.push(recovered(*id, key.to_bytes(), age));
    }
    all.push(recovered(second, names[0].0.to_bytes(), Some(hour)));
    cache.restore(all.into_iter());
    assert!(!cache.store.contains(unnamed) && !cache.store.contains(second));
    assert!(cache.subjects().iter().all(|who| *who == WHO));
    assert!(cache.shown(Instant::now()).iter().all(|shown| !shown.live));

    let kept = Kept(Rc::new(RefCell::new(cache)));
    assert_eq!(kept.told(MAPS), "200 7 with 2");
    assert!(kept.age(MAPS) >= hour);
    // Nobody knows how old it was, so it is taken for the newer.
    assert!(kept.told(ONE).contains("\"data\""));
    assert!(kept.age(ONE) < hour);
    // Whether it is the same is not known in this run, so it is kept anew; then it is known.
    kept.answered(ONE, kept.begun(), 200, &map(5, "x"));
    kept.answered(ONE, kept.begun(), 200, &map(5, "x"));
    assert_eq!(kept.objects_kept(), 1);
    // A watch from its version on confirms it.
    let watch = kept.asked(&format!("{MAPS}?watch=1&resourceVersion=7"));
    let follower = Follower::new(&kept.0, &watch, WHO, Encoding::Json).unwrap();
    assert_eq!(kept.age(MAPS), Duration::ZERO);
    drop(follower);
    assert!(kept.age(MAPS) < hour);
}

#[test]
fn a_restored_table_is_bounded() {
    let kept = Kept::new();
    let mut cache = kept.0.borrow_mut();
    let Some(Scope::Document(document)) = super::key::scope(&kept.asked("/version")) else {
        panic!("no document");
    };
    let mut recovered = Vec::new();
    for n in 0..=limits::COLLECTIONS_MAX {
        let mut document = document.clone();
        document.accept = n.to_string();
        let key = Key {
            agent: "a".into(),
            who: WHO,
            scope: Scope::Document(document),
            encoding: Encoding::Json,
            form: Form::Object,
        };
        let fill = cache.store.begin(0, None);
        let id = cache.store.commit(fill, None, b"", "", b"d");
        recovered.push(Recovered {
            id: id.unwrap(),
            name: key.to_bytes(),
            class: 0,
            age: None,
        });
    }
    let last = recovered[limits::COLLECTIONS_MAX].id;
    cache.restore(recovered.into_iter());
    assert_eq!(cache.table.len(), limits::COLLECTIONS_MAX);
    assert!(!cache.store.contains(last));
}

#[test]
fn what_is_the_hubs_own_is_found_again_and_by_nobody_else() {
    let put = |key, value| Change::Put { key, value, tag: 0 };
    let own = |cache: &mut Cache| {
        at_once(cache.read_own(Own::Tokens)).map(|items| {
            let text =
                |item: Item| format!("{}={}", item.key, String::from_utf8_lossy(&item.value));
            items.into_iter().map(text).collect::<Vec<_>>().join(" ")
        })
    };
    let store = Store::Ram(Ram::new(1 << 20));
    let mut cache = Cache::new(store, Agents::new(["*"]), &[7; 16]);
    assert_eq!(own(&mut cache), None);
    assert!(
        !cache.change_own(Own::Tokens, &[put("a", b"1")]),
        "nothing is there to change"
    );
    let mut all = [("a".to_owned(), b"1".to_vec())].into_iter();
    cache.replace_own(Own::Tokens, &mut all).unwrap();
    let changes = [put("b", b"2"), put("c", b"3"), Change::Delete("a")];
    assert!(cache.change_own(Own::Tokens, &changes));
    assert_eq!(own(&mut cache).as_deref(), Some("b=2 c=3"));
    assert!(cache.shown(Instant::now()).is_empty());
    cache.forget_all_of(&WHO);

    // What is not taken is not half there.
    let large = vec![0; 2 << 20];
    assert!(!cache.change_own(Own::Tokens, &[put("d", &large)]));
    assert_eq!(own(&mut cache), None);
    let mut all = [("b".to_owned(), b"2".to_vec())].into_iter();
    cache.replace_own(Own::Tokens, &mut all).unwrap();

    let id = cache.own[Own::Tokens as usize].unwrap();
    let mut again = Cache::new(cache.store, Agents::new(["*"]), &[8; 16]);
    let recovered = |id, name: &[u8]| Recovered {
        id,
        name: name.to_vec(),
        class: 3,
        age: None,
    };
    again.restore([recovered(id, b"\x02tokens")].into_iter());
    assert_eq!(own(&mut again).as_deref(), Some("b=2"));
}

/// Whoever invents names or selectors has a place in the table for each: it took the kubelet's.
#[test]
fn a_full_table_gives_up_the_lowest_class_first() {
    let kept = Kept::new();
    let mut cache = kept.0.borrow_mut();
    // It is the table that is full, not the store.
    cache.store = Store::Ram(Ram::new(16 << 20));
    let Some(Scope::Document(document)) = super::key::scope(&kept.asked("/version")) else {
        panic!("no document");
    };
    let key = |agent: &str, n: usize| Key {
        agent: agent.into(),
        who: WHO,
        scope: Scope::Document(super::key::Document {
            accept: n.to_string(),
            ..document.clone()
        }),
        encoding: Encoding::Json,
        form: Form::Object,
    };
    let keep = |cache: &mut Cache, key: &Key| {
        let class = cache.admit(key).unwrap();
        let fill = cache.begin(key, class);
        let note = super::note::Note::Document;
        cache.commit(key, fill, "", &note, None)
    };
    let kubelets = 10;
    for n in 0..kubelets {
        keep(&mut cache, &key("kubelet", n)).unwrap();
    }
    for n in 0..limits::COLLECTIONS_MAX + 50 {
        keep(&mut cache, &key("whoever", n)).unwrap();
    }
    let of = |cache: &Cache, agent: &str| cache.table.keys().filter(|k| k.agent == agent).count();
    assert_eq!(of(&cache, "kubelet"), kubelets);
    assert_eq!(of(&cache, "whoever"), limits::COLLECTIONS_MAX - kubelets);
    for n in 0..limits::COLLECTIONS_MAX {
        keep(&mut cache, &key("kubelet", n)).unwrap();
    }
    assert_eq!(of(&cache, "kubelet"), limits::COLLECTIONS_MAX);
    assert_eq!(keep(&mut cache, &key("whoever", 1)), Err(NotKept::NoRoom));
    assert_eq!(of(&cache, "kubelet"), limits::COLLECTIONS_MAX);
}
