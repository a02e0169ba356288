//! What is kept and told, without sockets: answers fed by hand.

use super::answer::What;
use super::keep::{Head, Keeper};
use super::watched::Follower;
use super::{Begun, Cache};
use crate::access::Who;
use crate::object::Encoding;
use crate::request::agent::Agents;
use crate::request::{Asked, classify};
use crate::watch::event;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

const WHO: Who = Who::Token([1; 32]);

struct Kept(Rc<RefCell<Cache>>);

impl Kept {
    fn new() -> Kept {
        let cache = Cache::new(1 << 20, Agents::new(["*"]));
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
        let found = (self.0.borrow_mut()).find(&self.asked(uri), WHO, Instant::now());
        match found.map(|found| found.what) {
            None => String::new(),
            Some(What::Object { stored, .. }) => {
                format!("200 {}", String::from_utf8_lossy(&stored))
            }
            Some(What::Absent { .. }) => "404".to_owned(),
            Some(What::List(list)) => {
                format!("200 {} with {}", list.view.version, list.items().count())
            }
            Some(What::Document { .. }) => "200".to_owned(),
        }
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
    assert!(kept.0.borrow_mut().cluster_ips().is_empty());
    let own = "/api/v1/namespaces/default/services/kubernetes";
    kept.answered(own, kept.begun(), 200, &service("", "10.96.0.1"));
    let ips = kept.0.borrow_mut().cluster_ips();
    assert_eq!(ips, ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]);
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
