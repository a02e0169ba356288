//! The cluster IP of `default/kubernetes`, out of what is kept. It belongs into the hub's serving certificate.

use super::Cache;
use super::key::{Scope, item_key};
use crate::object::{self, Encoding};
use crate::request::Form;
use crate::store::CollectionId;
use std::cell::RefCell;
use std::hash::Hasher;
use std::net::IpAddr;

/// Where the Service may be.
struct Place {
    id: CollectionId,
    item: String,
    encoding: Encoding,
}

/// The cluster IPs, or none if no kept answer holds the Service. `None` where nothing has changed since this was asked
/// last: then nothing is read either.
///
/// `own`: the hub's addresses, which programs under the filter `masterservice` are told instead.
pub async fn look(cache: &RefCell<Cache>, own: &[IpAddr]) -> Option<Vec<IpAddr>> {
    let places = cache.borrow_mut().new_places()?;
    for place in places {
        let one = cache.borrow_mut().store.one(place.id, &place.item);
        let service = one.await.and_then(|one| one.value);
        let ips = service.map(|service| object::service::cluster_ips(place.encoding, &service));
        let mut ips = ips.unwrap_or_default();
        ips.retain(|ip| !own.contains(ip));
        if !ips.is_empty() {
            return Some(ips);
        }
    }
    Some(Vec::new())
}

impl Cache {
    fn new_places(&mut self) -> Option<Vec<Place>> {
        let mut digest = self.digests;
        let mut places = Vec::new();
        for (key, entry) in &self.table {
            let Some((item, version)) = item(&key.scope)
                .filter(|_| key.form == Form::Object)
                .zip(self.store.version(entry.id))
            else {
                continue;
            };
            digest.write_u64(entry.id.0);
            digest.write_usize(version.len());
            digest.write(version.as_bytes());
            places.push(Place {
                id: entry.id,
                item,
                encoding: key.encoding,
            });
        }
        let seen = Some(digest.finish());
        (std::mem::replace(&mut self.cluster_ip_seen, seen) != seen).then_some(places)
    }
}

/// The Service's key in a collection that may have it.
fn item(scope: &Scope) -> Option<String> {
    match scope {
        Scope::Objects(o)
            if o.group.is_empty()
                && o.resource == "services"
                && matches!(o.namespace.as_str(), "" | "default") =>
        {
            Some(item_key("default", "kubernetes"))
        }
        Scope::One(o)
            if o.group.is_empty()
                && o.resource == "services"
                && o.namespace == "default"
                && o.name == "kubernetes" =>
        {
            Some(String::new())
        }
        _ => None,
    }
}
