//! Which filters are in force, and what they go by.

use crate::config::{Config, FilterRule};
use crate::filter::facts::HubPlace;
use crate::filter::{Facts, Filter, Judge, Kind, Rules};
use crate::request::{Asked, Verb};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// The filters in force.
pub struct Filters {
    rules: RefCell<Rules>,
    facts: RefCell<Rc<Facts>>,
}

impl Filters {
    /// As the configuration says; `hub_ca` is the hub's own CA.
    pub fn new(config: &Config, hub_ca: &str) -> Filters {
        let filters = Filters {
            rules: RefCell::default(),
            facts: RefCell::default(),
        };
        filters.reconfigure(config, hub_ca);
        filters
    }

    /// Takes over a changed configuration.
    pub fn reconfigure(&self, config: &Config, hub_ca: &str) {
        *self.rules.borrow_mut() = rules(&config.filters);
        self.change(|facts| {
            facts.node.clone_from(&config.node_name);
            facts.hub = place(&config.listen, &config.own_addresses);
            // Who brings a certificate of their own has seen to its being trusted.
            facts.hub_ca = config.serving.is_none().then(|| hub_ca.to_owned());
        });
    }

    /// What the filters go by now.
    pub fn facts(&self) -> Rc<Facts> {
        Rc::clone(&self.facts.borrow())
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(Rc::make_mut(&mut self.facts.borrow_mut()));
    }

    /// Who judges what this request is answered with, if somebody does.
    pub fn judge(&self, asked: &Asked) -> Option<Judge> {
        let resource = asked.resource()?;
        let kind = Kind::of(resource)?;
        // What a status was patched to comes back as the whole pod.
        let tells = asked.verb.is_read() || (asked.verb == Verb::Patch && kind == Kind::Pod);
        let set = self.rules.borrow().of(&asked.agent, kind);
        // What these go by is not gathered yet.
        let set = (set.without(Filter::PodIpOverlay)).without(Filter::ServiceTopology);
        let set = set.without(Filter::NodePortIsolation);
        (tells && !set.is_empty()).then(|| Judge {
            set,
            kind,
            facts: self.facts(),
        })
    }
}

fn rules(entries: &[FilterRule]) -> Rules {
    let mut rules = Rules::default();
    for entry in entries {
        match entry {
            FilterRule::Off(filter) => rules.take(*filter, None),
            FilterRule::Add(filter, agent) => rules.add(*filter, agent),
            FilterRule::Not(filter, agent) => rules.take(*filter, Some(agent)),
        }
    }
    rules
}

/// Where pods reach the hub: at its own addresses, or else at one of the node's. What is at loopback is not for pods.
fn place(listen: &[SocketAddr], own: &[IpAddr]) -> Option<HubPlace> {
    let listens_at = |ip: &IpAddr| {
        let here = |l: &&SocketAddr| l.ip() == *ip || l.ip().is_unspecified();
        listen
            .iter()
            .find(here)
            .map(|l| SocketAddr::new(*ip, l.port()))
    };
    let others = listen.iter().copied();
    let others = others.filter(|l| !l.ip().is_loopback() && !l.ip().is_unspecified());
    let mut places = own.iter().filter_map(listens_at).chain(others);
    let first = places.next()?;
    let other = places.find(|l| l.is_ipv6() != first.is_ipv6() && l.port() == first.port());
    Some(HubPlace {
        first: first.ip(),
        other: other.map(|l| l.ip()),
        port: first.port(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_pods_reach_the_hub() {
        for (listen, own, want) in [
            (
                vec!["127.0.0.1:10268", "169.254.2.1:10268"],
                vec!["169.254.2.1"],
                Some("169.254.2.1 None 10268"),
            ),
            (
                vec!["169.254.2.1:1", "[fd00::2:1]:1"],
                vec!["fd00::2:1", "169.254.2.1"],
                Some("fd00::2:1 Some(169.254.2.1) 1"),
            ),
            (
                vec!["169.254.2.1:1", "[fd00::2:1]:2"],
                vec!["169.254.2.1", "fd00::2:1"],
                Some("169.254.2.1 None 1"),
            ),
            (
                vec!["0.0.0.0:7"],
                vec!["169.254.2.1"],
                Some("169.254.2.1 None 7"),
            ),
            (vec!["10.0.0.7:7"], vec![], Some("10.0.0.7 None 7")),
            (vec!["127.0.0.1:7", "0.0.0.0:8"], vec![], None),
            (vec!["127.0.0.1:7"], vec!["169.254.2.1"], None),
        ] {
            let listen: Vec<SocketAddr> = listen.iter().map(|l| l.parse().unwrap()).collect();
            let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().unwrap()).collect();
            let found = place(&listen, &own);
            let shown = found.map(|p| format!("{} {:?} {}", p.first, p.other, p.port));
            assert_eq!(shown.as_deref(), want, "{listen:?} {own:?}");
        }
    }
}
