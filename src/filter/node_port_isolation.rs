//! `nodeportisolation`: a Service's node ports are open in the pools that it names, and in no other.

use super::facts::Membership;
use super::fields::{ANNOTATIONS, SERVICE_TYPE, metadata, spec, text_in};
use super::{Cannot, Facts, Verdict};
use crate::object::edit::Node;

/// In which pools: names, `*` for all, `-name` for not this one. The hub's own annotation, and OpenYurt's.
const POOLS: [&str; 2] = ["edge-hub/nodeport-pools", "nodeport.openyurt.io/listen"];

/// Drops what is for other pools. A node in no pool has all node ports, as in a cluster without this filter.
pub fn judge(facts: &Facts, service: &Node<'_>) -> Result<Verdict, Cannot> {
    let metadata = metadata(service)?;
    for annotation in POOLS {
        if metadata.entry(ANNOTATIONS, annotation)?.is_none() {
            continue;
        }
        let kind = spec(service)?.text_of(SERVICE_TYPE)?;
        let has_ports = matches!(&*kind, "NodePort" | "LoadBalancer");
        let pools = text_in(&metadata, ANNOTATIONS, annotation)?;
        return Ok(match has_ports && !is_open(&pools, &facts.pool) {
            true => Verdict::Drop,
            false => Verdict::Keep,
        });
    }
    Ok(Verdict::Keep)
}

/// Of one pool that stands there twice, the first counts. Where the pool is not known, only what is open everywhere is.
fn is_open(pools: &str, pool: &Membership) -> bool {
    let mut entries = pools.split(',').map(str::trim);
    let all = || pools.split(',').any(|entry| entry.trim() == "*");
    match pool {
        Membership::Alone => true,
        Membership::Unknown => all() && !entries.any(|entry| entry.starts_with('-')),
        Membership::In(pool) => entries
            .find(|entry| entry.trim_start_matches('-') == pool)
            .map_or_else(all, |entry| entry == pool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools() {
        let inside = Membership::In("a".to_owned());
        for (pools, member, unknown) in [
            ("a", true, false),
            (" b , a", true, false),
            ("b", false, false),
            ("*", true, true),
            ("*,-a", false, false),
            ("-a,*", false, false),
            ("-b,*", true, false),
            ("-b", false, false),
            ("a,-a", true, false),
            ("-a,a", false, false),
            ("", false, false),
            (",", false, false),
        ] {
            assert_eq!(is_open(pools, &inside), member, "{pools}");
            assert_eq!(is_open(pools, &Membership::Unknown), unknown, "{pools}");
            assert!(is_open(pools, &Membership::Alone));
        }
    }
}
