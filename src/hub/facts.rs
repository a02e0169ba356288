//! Gathers what the filters go by: what Services ask of their topology, the labels of this node, and the nodes of its pool.
//! What was known last stays in force until something newer is known.

use super::Shared;
use super::own::{Collection, Seen, follow};
use crate::filter::facts::{Membership, TOPOLOGY, Topology};
use crate::filter::fields::{ANNOTATIONS, LABELS, NAME, NAMESPACE, metadata, text_in};
use crate::limits::{POOL_NODES_MAX, TOPOLOGIES_MAX};
use crate::object::edit::{Field, Node};
use crate::object::{Encoding, Malformed};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tokio::sync::watch;

/// Labels of a node that name its pool: the hub's own, OpenYurt's, and that of ACK.
const POOL_LABELS: [&str; 4] = [
    "edge-hub/pool",
    "apps.openyurt.io/nodepool",
    "openyurt.io/nodepool",
    "alibabacloud.com/nodepool-id",
];
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Gathers for ever, from when somebody first asks for what depends on it.
pub async fn gather(shared: Rc<Shared>) {
    shared.filters.wanted().await;
    let (tell_pool, pool) = watch::channel(None);
    tokio::join!(
        services(&shared),
        node(&shared, &tell_pool),
        members(&shared, pool)
    );
}

/// This node's pool, and the label that says so.
type Pool = Option<(&'static str, String)>;

async fn services(shared: &Shared) {
    let services = RefCell::new(Followed::default());
    let see = |seen: Seen<'_>| {
        let filters = &shared.filters;
        filters.heard_of("services", &seen);
        let mut services = services.borrow_mut();
        if services.see(&seen, TOPOLOGIES_MAX, &topology_of) {
            // More than fit: none is known, or the others would be told of whatever is far away.
            let all = (!services.overflown).then(|| services.all.clone());
            filters.change(|facts| facts.topologies = all);
        }
    };
    let collection = Collection {
        target: "/api/v1/services".to_owned(),
        metadata: true,
    };
    follow(shared, &collection, &see).await;
}

/// What a Service asks of its topology.
fn topology_of(service: &Node<'_>) -> Counted<Topology> {
    let metadata = metadata(service)?;
    let asked = |annotation| text_in(&metadata, ANNOTATIONS, annotation);
    let topology = Topology::read(&asked(TOPOLOGY[0])?, &asked(TOPOLOGY[1])?);
    let (namespace, name) = (metadata.text_of(NAMESPACE)?, metadata.text_of(NAME)?);
    Ok((format!("{namespace}/{name}"), topology))
}

async fn node(shared: &Shared, tell_pool: &watch::Sender<Pool>) {
    let name = shared.config.borrow().node_name.clone();
    let see = |seen: Seen<'_>| {
        shared.filters.heard_of("nodes", &seen);
        let (Seen::There(node) | Seen::Now(node)) = seen else {
            return;
        };
        let Ok((pool, zone)) = labels_of(&Node::object(Encoding::Json, node)) else {
            return;
        };
        let membership = match &pool {
            None => Membership::Alone,
            Some((_, pool)) => Membership::In(pool.clone()),
        };
        shared.filters.change(|facts| {
            if facts.pool != membership {
                facts.pool = membership;
                facts.pool_nodes = None;
            }
            facts.zone = zone;
        });
        tell_pool.send_if_modified(|known| {
            let is_other = *known != pool;
            *known = pool;
            is_other
        });
    };
    let collection = Collection {
        target: format!("/api/v1/nodes?fieldSelector=metadata.name%3D{name}"),
        metadata: true,
    };
    follow(shared, &collection, &see).await;
}

/// Pool and zone of a node.
fn labels_of(node: &Node<'_>) -> Result<(Pool, Option<String>), Malformed> {
    let metadata = metadata(node)?;
    let label = |label| Ok::<_, Malformed>(text_in(&metadata, LABELS, label)?.into_owned());
    let zone = Some(label(ZONE_LABEL)?).filter(|zone| !zone.is_empty());
    for name in POOL_LABELS {
        let pool = label(name)?;
        if !pool.is_empty() {
            return Ok((Some((name, pool)), zone));
        }
    }
    Ok((None, zone))
}

/// The nodes of the pool, from each place that may say them, for as long as the pool is this one.
async fn members(shared: &Shared, mut pool: watch::Receiver<Pool>) {
    loop {
        let now = pool.borrow_and_update().clone();
        let gathering = async {
            match &now {
                Some((label, pool)) => members_of(shared, label, pool).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = gathering => {}
            // The sender lives as long as this.
            _ = pool.changed() => {}
        }
    }
}

async fn members_of(shared: &Shared, label: &str, pool: &str) {
    // What a label cannot be is no part of a path either.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !pool.bytes().all(is_plain) {
        return std::future::pending().await;
    }
    let open_yurt = "/apis/apps.openyurt.io";
    let sources: [(&'static str, String, Members); 4] = [
        (
            "the nodes of the pool",
            format!("/api/v1/nodes?labelSelector={label}%3D{pool}"),
            of_node,
        ),
        (
            "nodepools.v1beta2.apps.openyurt.io",
            format!("{open_yurt}/v1beta2/nodepools?fieldSelector=metadata.name%3D{pool}"),
            of_node_pool,
        ),
        (
            "nodepools.v1beta1.apps.openyurt.io",
            format!("{open_yurt}/v1beta1/nodepools?fieldSelector=metadata.name%3D{pool}"),
            of_node_pool,
        ),
        (
            "nodebuckets.v1alpha1.apps.openyurt.io",
            format!(
                "{open_yurt}/v1alpha1/nodebuckets?labelSelector=openyurt.io/pool-name%3D{pool}"
            ),
            of_node_bucket,
        ),
    ];
    let found: [RefCell<Followed<Vec<String>>>; 4] = Default::default();
    // Until all is read that was kept, the nodes that another source has would be missing.
    let unread = Cell::new(found.len());
    let one = |at: usize| {
        let (what, target, read) = &sources[at];
        let collection = Collection {
            target: target.clone(),
            metadata: at == 0,
        };
        let (found, unread) = (&found, &unread);
        async move {
            let see = |seen: Seen<'_>| {
                shared.filters.heard_of(what, &seen);
                let mut news = found[at].borrow_mut().see(&seen, POOL_NODES_MAX, read);
                if let Seen::KeptOver = seen {
                    unread.set(unread.get() - 1);
                    news = found.iter().any(|source| source.borrow().known);
                }
                if news && unread.get() == 0 {
                    let nodes = union(found);
                    shared
                        .filters
                        .change(|facts| facts.pool_nodes = Some(nodes));
                }
            };
            follow(shared, &collection, &see).await;
        }
    };
    tokio::join!(one(0), one(1), one(2), one(3));
}

/// All that any of them says. What one lists anew is taken from the others until it is whole.
fn union(found: &[RefCell<Followed<Vec<String>>>]) -> BTreeSet<String> {
    let mut nodes = BTreeSet::new();
    for source in found {
        let source = source.borrow();
        if source.known {
            let names = source.all.values().flatten().take(POOL_NODES_MAX);
            nodes.extend(names.cloned());
        }
    }
    nodes
}

/// The nodes that an object says to be in the pool, and the object's own name.
type Members = fn(&Node<'_>) -> Counted<Vec<String>>;

fn of_node(node: &Node<'_>) -> Counted<Vec<String>> {
    let name = metadata(node)?.text_of(NAME)?.into_owned();
    Ok((name.clone(), Some(vec![name])))
}

fn of_node_pool(pool: &Node<'_>) -> Counted<Vec<String>> {
    let name = metadata(pool)?.text_of(NAME)?.into_owned();
    let mut nodes = Vec::new();
    if let Some(status) = pool.get(Field::new("status", 0))? {
        for node in status.items(Field::new("nodes", 0))? {
            nodes.push(node.text()?.into_owned());
        }
    }
    Ok((name, Some(nodes)))
}

fn of_node_bucket(bucket: &Node<'_>) -> Counted<Vec<String>> {
    let name = metadata(bucket)?.text_of(NAME)?.into_owned();
    let mut nodes = Vec::new();
    for node in bucket.items(Field::new("nodes", 0))? {
        nodes.push(node.text_of(NAME)?.into_owned());
    }
    Ok((name, Some(nodes)))
}

/// The name of an object, and what it counts for, if it does.
type Counted<V> = Result<(String, Option<V>), Malformed>;

/// What is followed of a collection: by the names of its objects, and only of those that count.
struct Followed<V> {
    all: BTreeMap<String, V>,
    /// `all` is complete.
    known: bool,
    /// Some did not fit.
    overflown: bool,
}

impl<V> Default for Followed<V> {
    fn default() -> Followed<V> {
        Followed {
            all: BTreeMap::new(),
            known: false,
            overflown: false,
        }
    }
}

impl<V: PartialEq> Followed<V> {
    /// Takes note of what is seen, with what `read` makes of an object: its name, and a value if it counts. True if
    /// there is something new to say.
    fn see(&mut self, seen: &Seen<'_>, max: usize, read: &dyn Fn(&Node<'_>) -> Counted<V>) -> bool {
        let (object, is_gone) = match seen {
            Seen::Begin => {
                *self = Followed::default();
                return false;
            }
            Seen::All => {
                self.known = true;
                return true;
            }
            Seen::KeptOver | Seen::Refused(_) => return false,
            Seen::There(object) | Seen::Now(object) => (object, false),
            Seen::Gone(object) => (object, true),
        };
        let (name, value) = match read(&Node::object(Encoding::Json, object)) {
            Ok((name, value)) => (name, value.filter(|_| !is_gone)),
            Err(malformed) => {
                log::debug!("an object of the hub's own list: {malformed}");
                return false;
            }
        };
        let is_new = self.all.get(&name) != value.as_ref();
        match value {
            None => drop(self.all.remove(&name)),
            Some(value) if self.all.len() < max || self.all.contains_key(&name) => {
                self.all.insert(name, value);
            }
            Some(_) => self.overflown = true,
        }
        self.known && is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn what_objects_say() {
        let node = |text: &'static str| Node::object(Encoding::Json, text.as_bytes());
        let service = node(
            r#"{"metadata":{"name":"a","namespace":"n","annotations":{"openyurt.io/topologyKeys":"kubernetes.io/hostname"}}}"#,
        );
        assert_eq!(
            topology_of(&service),
            Ok(("n/a".to_owned(), Some(Topology::Node)))
        );
        let plain = node(r#"{"metadata":{"name":"a","namespace":"n"}}"#);
        assert_eq!(topology_of(&plain), Ok(("n/a".to_owned(), None)));
        for (labels, pool, zone) in [
            (
                r#"{"apps.openyurt.io/nodepool":"b","edge-hub/pool":"a"}"#,
                Some(("edge-hub/pool", "a")),
                None,
            ),
            (
                r#"{"apps.openyurt.io/nodepool":"b","topology.kubernetes.io/zone":"z"}"#,
                Some(("apps.openyurt.io/nodepool", "b")),
                Some("z"),
            ),
            (
                r#"{"openyurt.io/nodepool":"c","edge-hub/pool":""}"#,
                Some(("openyurt.io/nodepool", "c")),
                None,
            ),
            (
                r#"{"alibabacloud.com/nodepool-id":"np1"}"#,
                Some(("alibabacloud.com/nodepool-id", "np1")),
                None,
            ),
            ("{}", None, None),
            ("null", None, None),
        ] {
            let text = format!(r#"{{"metadata":{{"labels":{labels}}}}}"#);
            let found = labels_of(&Node::object(Encoding::Json, text.as_bytes())).unwrap();
            let pool = pool.map(|(label, pool)| (label, pool.to_owned()));
            assert_eq!(found, (pool, zone.map(str::to_owned)), "{labels}");
        }
        let pool = node(r#"{"metadata":{"name":"p"},"status":{"nodes":["a","b"]}}"#);
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            of_node_pool(&pool),
            Ok(("p".to_owned(), Some(names(&["a", "b"]))))
        );
        let empty = node(r#"{"metadata":{"name":"p"}}"#);
        assert_eq!(of_node_pool(&empty), Ok(("p".to_owned(), Some(vec![]))));
        let bucket = node(r#"{"metadata":{"name":"p-x"},"nodes":[{"name":"a"},{"name":"b"}]}"#);
        assert_eq!(
            of_node_bucket(&bucket),
            Ok(("p-x".to_owned(), Some(names(&["a", "b"]))))
        );
    }

    #[test]
    fn what_was_known_stays_until_all_is_new() {
        let mut followed = Followed::default();
        let mut see = |seen: &Seen<'_>| {
            let news = followed.see(seen, 2, &of_node);
            (news, followed.all.len(), followed.known, followed.overflown)
        };
        let object = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}}}}"#).into_bytes();
        let (a, b, c) = (object("a"), object("b"), object("c"));
        assert_eq!(see(&Seen::Begin), (false, 0, false, false));
        assert_eq!(see(&Seen::There(&a)), (false, 1, false, false));
        assert_eq!(see(&Seen::All), (true, 1, true, false));
        assert_eq!(see(&Seen::Now(&a)), (false, 1, true, false));
        assert_eq!(see(&Seen::Now(&b)), (true, 2, true, false));
        assert_eq!(
            see(&Seen::Refused(StatusCode::FORBIDDEN)),
            (false, 2, true, false)
        );
        assert_eq!(see(&Seen::Now(b"{}")), (false, 2, true, false));
        assert_eq!(see(&Seen::Now(&c)), (true, 2, true, true));
        assert_eq!(see(&Seen::Gone(&a)), (true, 1, true, true));
        assert_eq!(see(&Seen::Begin), (false, 0, false, false));
    }
}
