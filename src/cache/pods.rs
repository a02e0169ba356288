//! The pods of this node, out of what the API server has told the kubelet.

use super::key::{Key, Objects, Scope, item_key};
use super::{Cache, Entry};
use crate::access::ledger::Pod;
use crate::access::{Subject, Who};
use crate::object::{self, Encoding};
use crate::request::Form;
use crate::store::CollectionId;
use std::cell::RefCell;
use std::time::Instant;

/// What is known of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// It is kept for the kubelet.
    Yes,
    /// All pods of the node are kept, and it is none of them.
    No,
    /// The kubelet does not ask through the hub, or what it was told is not kept.
    Unknown,
}

/// Looks for a pod of this namespace, name and uid among those that the kubelet of `node` was told.
pub async fn look(cache: &RefCell<Cache>, node: &str, pod: &Pod) -> Here {
    let places = cache.borrow().pods_of(node);
    for (id, encoding) in places {
        let item = item_key(&pod.namespace, &pod.name);
        let read = cache.borrow_mut().store.one(id, &item);
        let Some(one) = read.await else {
            continue;
        };
        let uid = one.value.as_ref().map(|bytes| {
            object::read_meta(encoding, bytes).map(|(_, meta)| meta.uid == pod.uid.as_str())
        });
        return match uid {
            Some(Ok(true)) => Here::Yes,
            // Another one of the same name, or none.
            Some(Ok(false)) | None => Here::No,
            Some(Err(_)) => continue,
        };
    }
    Here::Unknown
}

/// What `of` makes of each pod that the kubelet of `node` was told, a bare object. Of the most current list that can be read
/// to its end; without one, nothing.
pub async fn each<T>(
    cache: &RefCell<Cache>,
    node: &str,
    of: impl Fn(Encoding, &[u8]) -> Option<T>,
) -> Vec<T> {
    let places = cache.borrow().pods_of(node);
    for (id, encoding) in places {
        let view = cache.borrow_mut().store.view(id);
        let Some(view) = view.await else {
            continue;
        };
        let (mut reading, mut all) = (view.read(), Vec::new());
        while let Ok(items) = reading.next().await {
            let Some(items) = items else {
                return all;
            };
            all.extend(items.iter().filter_map(|item| of(encoding, &item.value)));
        }
    }
    Vec::new()
}

impl Cache {
    /// The lists of all pods of the node, as its kubelet was told them; the most current first. Who may call himself the
    /// kubelet of a node, its certificate says, and not a `User-Agent`.
    fn pods_of(&self, node: &str) -> Vec<(CollectionId, Encoding)> {
        let kubelet = Who::of(&Subject::kubelet(node));
        let scope = Scope::Objects(Objects {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: String::new(),
            label_selector: String::new(),
            field_selector: format!("spec.nodeName={node}"),
            others: String::new(),
        });
        let now = Instant::now();
        let is_it =
            |key: &Key| key.who == kubelet && key.form == Form::Object && key.scope == scope;
        let mut places: Vec<(&Key, &Entry)> = (self.table.iter())
            .filter(|(key, entry)| is_it(key) && self.store.contains(entry.id))
            .collect();
        places.sort_by_key(|(_, entry)| entry.age(now));
        let place = |(key, entry): (&Key, &Entry)| (entry.id, key.encoding);
        places.into_iter().map(place).collect()
    }
}
