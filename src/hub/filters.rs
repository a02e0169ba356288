//! Which filters are in force, and what they go by.

use super::own::Seen;
use crate::access::Who;
use crate::config::live::Live;
use crate::config::{Config, FilterRule, WorkingMode};
use crate::filter::facts::{HubPlace, Membership};
use crate::filter::rules::InForce;
use crate::filter::{Facts, Filter, Judge, Kind, Rules, Set};
use crate::limits;
use crate::object::Encoding;
use crate::request::Asked;
use crate::watch::relay::Lens;
use crate::watch::stage::Stage;
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Those that go by what the hub has to ask the API server for.
const GATHERED: [Filter; 2] = [Filter::ServiceTopology, Filter::NodePortIsolation];

/// The filters in force.
pub struct Filters {
    now: watch::Sender<InForce>,
    /// When they changed last, if that is not long ago, and what was in force before they began to.
    before: RefCell<Option<(Instant, InForce)>>,
    /// Digests of the watches that have been sent to list again since.
    sent_back: RefCell<BTreeSet<u64>>,
    /// What the API server refused to tell the hub, until it tells it.
    refused: RefCell<BTreeMap<&'static str, StatusCode>>,
    /// A program came to whom one of them is meant that is not in force.
    missed: Cell<bool>,
    /// When somebody first asked for what depends on what has to be gathered.
    wanted: watch::Sender<Option<Instant>>,
}

impl Filters {
    /// As the configuration says; `hub_ca` is the hub's own CA.
    pub fn new(config: &Config, hub_ca: &str) -> Filters {
        let filters = Filters {
            now: watch::Sender::default(),
            before: RefCell::default(),
            sent_back: RefCell::default(),
            refused: RefCell::default(),
            missed: Cell::new(false),
            wanted: watch::Sender::default(),
        };
        filters.reconfigure(config, &Live::default(), hub_ca);
        filters
    }

    /// Takes over a changed configuration. What the file of this node says comes last: it is about this node alone.
    pub fn reconfigure(&self, config: &Config, live: &Live, hub_ca: &str) {
        let rules = rules(config.working_mode, live.filters().chain(&config.filters));
        self.replace(|now| {
            let is_other = rules != *now.rules;
            if is_other {
                now.rules = Rc::new(rules);
            }
            is_other
        });
        self.change(|facts| {
            facts.node.clone_from(&config.node_name);
            facts.hub = place(&config.listen, &config.own_addresses);
            // Who brings a certificate of their own has seen to its being trusted.
            facts.hub_ca = config.serving.is_none().then(|| hub_ca.to_owned());
        });
    }

    /// Whether the hub can ask the API server for what the filters go by. Without an identity nothing is ever known.
    pub fn asks(&self, can: bool) {
        let off = match can {
            true => Set::default(),
            false => (GATHERED.iter()).fold(Set::default(), |off, filter| off.with(*filter)),
        };
        self.replace(|now| std::mem::replace(&mut now.off, off) != off);
    }

    /// What programs are told in place of the cluster IP of `default/kubernetes`.
    pub fn hub_ips(&self) -> Vec<IpAddr> {
        let hub = self.now.borrow().facts.hub;
        hub.map_or_else(Vec::new, |hub| {
            std::iter::once(hub.first).chain(hub.other).collect()
        })
    }

    /// Changes what the filters go by.
    pub fn change(&self, change: impl FnOnce(&mut Facts)) {
        self.replace(|now| {
            let mut facts = Facts::clone(&now.facts);
            change(&mut facts);
            let is_other = facts != *now.facts;
            if is_other {
                now.facts = Rc::new(facts);
            }
            is_other
        });
    }

    fn replace(&self, change: impl FnOnce(&mut InForce) -> bool) {
        let old = self.now.borrow().clone();
        if !self.now.send_if_modified(change) {
            return;
        }
        self.sent_back.borrow_mut().clear();
        let mut before = self.before.borrow_mut();
        // What was in force before anything was known has told nobody anything.
        let counts = |at: &Instant, oldest: &InForce| {
            at.elapsed() < limits::FILTERS_NEWS && oldest.is_known()
        };
        let oldest = before.take().filter(|(at, oldest)| counts(at, oldest));
        *before = Some((Instant::now(), oldest.map_or(old, |(_, oldest)| oldest)));
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
        let now = self.now.borrow();
        if !now.rules.is_for_somebody(Filter::ServiceTopology) {
            return Vec::new();
        }
        let facts = &now.facts;
        let mut all = Vec::new();
        if self.missed.get() && now.off.has(Filter::ServiceTopology) {
            all.push(
                "filters: servicetopology and nodeportisolation do nothing: the hub has no identity to ask for Services \
                 and its node with; set `client_cert`, or list system:node:NAME under `identities`"
                    .to_owned(),
            );
        }
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

    /// Resolves when what the filters go by is to be gathered.
    pub async fn wanted(&self) {
        let mut wanted = self.wanted.subscribe();
        let _ = wanted.wait_for(Option::is_some).await;
    }

    /// Who judges what this request is answered with, if somebody does. The first such request may take a moment, until all
    /// is known that they go by.
    pub async fn judge(&self, asked: &Asked) -> Option<Judge> {
        let mut judge = self.judge_now(asked)?;
        let mut news = self.now.subscribe();
        while !judge.is_sure() {
            let more = timeout_at(self.want() + limits::FACTS_WAIT, news.changed());
            if !matches!(more.await, Ok(Ok(()))) {
                break;
            }
            judge = self.judge_now(asked)?;
        }
        Some(judge)
    }

    /// Has it gathered, and says since when.
    fn want(&self) -> Instant {
        let since = self.wanted.borrow().unwrap_or_else(Instant::now);
        self.wanted
            .send_if_modified(|wanted| wanted.replace(since).is_none());
        since
    }

    /// The same, at once.
    pub fn judge_now(&self, asked: &Asked) -> Option<Judge> {
        let judge = self.whoever_judges(asked)?;
        (!judge.set.is_empty()).then_some(judge)
    }

    /// The same, with an empty set where nothing is judged, for a request that some filter could be about.
    pub fn whoever_judges(&self, asked: &Asked) -> Option<Judge> {
        let now = self.now.borrow();
        let meant = now.rules.of(&asked.agent, Kind::asked_for(asked)?);
        let missed = |filter: &Filter| meant.has(*filter) && now.off.has(*filter);
        if GATHERED.iter().any(missed) {
            self.missed.set(true);
        }
        now.judge(asked)
    }

    /// Takes note that a watch of this client has ended so that it lists again, and hears what is so now.
    pub fn sends_back(&self, asked: &Asked, who: Who) {
        let mut all = self.sent_back.borrow_mut();
        if all.len() >= limits::FILTERS_SENT_BACK_MAX {
            all.pop_first();
        }
        all.insert(digest(asked, who));
    }

    /// What a watch is seen through; `None`: no filter can be about it. A client that goes on from a version was told
    /// what is before that by filters that may have changed since: then there is news for it at once, unless it has been
    /// sent to list again.
    pub fn lens(&self, asked: &Asked, who: Who, encoding: Encoding) -> Option<Box<Lens>> {
        let mut judge = self.whoever_judges(asked)?;
        if !judge.is_sure() {
            self.want();
        }
        let mut news = self.now.subscribe();
        let goes_on = asked
            .options
            .resource_version
            .as_deref()
            .is_some_and(|v| v != "0");
        if let (Some((at, before)), true) = (&*self.before.borrow(), goes_on)
            && at.elapsed() < limits::FILTERS_NEWS
            && let Some(old) = before.judge(asked)
            && !old.is_blind()
            && !asked.options.send_initial_events
            && !old.says_the_same(&judge)
            && (asked.options.allow_bookmarks
                || !self.sent_back.borrow().contains(&digest(asked, who)))
        {
            judge = old;
            news.mark_changed();
        }
        Some(Box::new(Lens {
            stage: Stage::new(encoding, judge),
            news,
        }))
    }
}

/// Tells watches of different clients, and of different things, apart.
fn digest(asked: &Asked, who: Who) -> u64 {
    let options = &asked.options;
    let mut hasher = DefaultHasher::new();
    (who, &asked.agent, asked.resource()).hash(&mut hasher);
    (&options.label_selector, &options.field_selector).hash(&mut hasher);
    hasher.finish()
}

/// What is for nodes that are far from their API servers, and not for those beside them.
const FOR_THE_EDGE: [Filter; 3] = [
    Filter::DiscardCloudService,
    Filter::ForwardKubeSvcTraffic,
    Filter::ServiceEnvUpdater,
];

fn rules<'a>(mode: WorkingMode, entries: impl Iterator<Item = &'a FilterRule>) -> Rules {
    let mut rules = Rules::default();
    if mode == WorkingMode::Cloud {
        (FOR_THE_EDGE.iter()).for_each(|filter| rules.take(*filter, None));
    }
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
