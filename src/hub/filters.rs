//! Which filters are in force, and what they go by.

use super::own::Seen;
use crate::config::{Config, FilterRule};
use crate::filter::facts::{HubPlace, Membership};
use crate::filter::{Facts, Filter, Judge, Kind, Rules};
use crate::limits;
use crate::request::{Asked, Verb};
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The filters in force.
pub struct Filters {
    rules: RefCell<Rules>,
    facts: watch::Sender<Rc<Facts>>,
    /// What the API server refused to tell the hub, until it tells it.
    refused: RefCell<BTreeMap<&'static str, StatusCode>>,
    /// The hub has an identity to ask with.
    asks: Cell<bool>,
    started: Instant,
}

impl Filters {
    /// As the configuration says; `hub_ca` is the hub's own CA.
    pub fn new(config: &Config, hub_ca: &str) -> Filters {
        let filters = Filters {
            rules: RefCell::default(),
            facts: watch::Sender::new(Rc::default()),
            refused: RefCell::default(),
            asks: Cell::new(false),
            started: Instant::now(),
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

    /// Whether the hub can ask the API server for what the filters go by.
    pub fn asks(&self, can: bool) {
        self.asks.set(can);
    }

    /// What the filters go by now.
    pub fn facts(&self) -> Rc<Facts> {
        Rc::clone(&self.facts.borrow())
    }

    /// Changes what the filters go by.
    pub fn change(&self, change: impl FnOnce(&mut Facts)) {
        self.facts.send_if_modified(|now| {
            let mut facts = Facts::clone(now);
            change(&mut facts);
            let is_other = facts != **now;
            if is_other {
                *now = Rc::new(facts);
            }
            is_other
        });
    }

    /// Takes note of whether the API server tells the hub of these.
    pub fn heard_of(&self, what: &'static str, seen: &Seen<'_>) {
        let mut refused = self.refused.borrow_mut();
        match seen {
            Seen::Refused(status) if refused.insert(what, *status) != Some(*status) => {
                log::info!("filters: the API server does not tell the hub of {what}: {status}");
            }
            Seen::All => drop(refused.remove(what)),
            _ => {}
        }
    }

    /// What somebody should do something about.
    pub fn warnings(&self) -> Vec<String> {
        let rules = self.rules.borrow();
        if !rules.is_for_somebody(Filter::ServiceTopology) {
            return Vec::new();
        }
        let facts = self.facts.borrow();
        let mut all = Vec::new();
        let refused = self.refused.borrow();
        let state = match &facts.topologies {
            Some(_) => "what was known last stays in force",
            None => "programs under this filter get no endpoints",
        };
        for what in ["services", "nodes"] {
            if let Some(status) = refused.get(what) {
                all.push(format!(
                    "filters: servicetopology: the API server does not let the hub list {what} ({status}); {state}; \
                     give its identity the right, or switch the filter off"
                ));
            }
        }
        if let (Membership::In(pool), None) = (&facts.pool, &facts.pool_nodes) {
            all.push(format!(
                "filters: servicetopology: which nodes are in the pool {pool} is not known; only this one is taken for a \
                 member; let the hub's identity list nodes or nodepools"
            ));
        }
        all
    }

    /// Who judges what this request is answered with, if somebody does. Right after the start it may take a moment until
    /// all is known that they go by.
    pub async fn judge(&self, asked: &Asked) -> Option<Judge> {
        let mut judge = self.judge_now(asked)?;
        let mut facts = self.facts.subscribe();
        while !judge.is_sure() && self.asks.get() {
            let news = timeout_at(self.started + limits::FACTS_WAIT, facts.changed());
            if !matches!(news.await, Ok(Ok(()))) {
                break;
            }
            judge = self.judge_now(asked)?;
        }
        Some(judge)
    }

    fn judge_now(&self, asked: &Asked) -> Option<Judge> {
        let resource = asked.resource()?;
        let kind = Kind::of(resource)?;
        // What a status was patched to comes back as the whole pod.
        let tells = asked.verb.is_read() || (asked.verb == Verb::Patch && kind == Kind::Pod);
        let set = self.rules.borrow().of(&asked.agent, kind);
        let mut set = set.without(Filter::PodIpOverlay);
        let facts = self.facts();
        if facts.topologies.is_none() && !self.asks.get() {
            // Without an identity nothing is ever known; the start has said so.
            set = set.without(Filter::ServiceTopology);
        }
        (tells && !set.is_empty()).then_some(Judge { set, kind, facts })
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
