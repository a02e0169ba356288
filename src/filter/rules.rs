//! Which filters are for whom.

use super::{Facts, Filter, Judge, Kind};
use crate::request::{Asked, Verb};
use std::rc::Rc;

/// Some filters, always in their own order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Set(u16);

impl Set {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn has(self, filter: Filter) -> bool {
        self.0 & 1 << filter as u16 != 0
    }

    pub fn with(self, filter: Filter) -> Set {
        Set(self.0 | 1 << filter as u16)
    }

    pub fn without(self, filter: Filter) -> Set {
        Set(self.0 & !(1 << filter as u16))
    }

    /// In the order in which they are applied.
    pub fn iter(self) -> impl Iterator<Item = Filter> {
        Filter::ALL
            .into_iter()
            .filter(move |filter| self.has(*filter))
    }
}

/// The programs that each filter is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    agents: [Vec<String>; Filter::ALL.len()],
}

impl Default for Rules {
    fn default() -> Rules {
        let agents = |filter: Filter| filter.agents().iter().map(ToString::to_string).collect();
        Rules {
            agents: Filter::ALL.map(agents),
        }
    }
}

impl Rules {
    /// Tells another program; one that is told already stays so.
    pub fn add(&mut self, filter: Filter, agent: &str) {
        let agents = &mut self.agents[filter as usize];
        if !agents.iter().any(|known| known == agent) {
            agents.push(agent.to_owned());
        }
    }

    /// Takes one program away, built in or not; `None` takes all.
    pub fn take(&mut self, filter: Filter, agent: Option<&str>) {
        self.agents[filter as usize].retain(|known| agent.is_some_and(|agent| known != agent));
    }

    /// Whether this filter is for any program at all.
    pub fn is_for_somebody(&self, filter: Filter) -> bool {
        !self.agents[filter as usize].is_empty()
    }

    /// The filters for what this program is told of this kind. Its name and its first word both count.
    pub fn of(&self, agent: &str, kind: Kind) -> Set {
        let first = agent.split(' ').next().unwrap_or(agent);
        let is_for = |filter: &Filter| {
            filter.is_about(kind)
                && (self.agents[*filter as usize].iter()).any(|name| name == agent || name == first)
        };
        let filters = Filter::ALL.into_iter().filter(is_for);
        filters.fold(Set::default(), Set::with)
    }
}

/// The filters in force, and what they go by.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    pub rules: Rc<Rules>,
    pub facts: Rc<Facts>,
    /// Not in force although somebody is told so.
    pub off: Set,
}

impl InForce {
    /// Whether what they go by has ever been known, as far as it can be.
    pub fn is_known(&self) -> bool {
        self.facts.topologies.is_some() || self.off.has(Filter::ServiceTopology)
    }

    /// Who judges what this request is answered with; `None`: no filter is about such objects. With an empty set for
    /// whom none is meant.
    pub fn judge(&self, asked: &Asked) -> Option<Judge> {
        let kind = Kind::asked_for(asked)?;
        // What a status was patched to comes back as the whole pod.
        let tells = asked.verb.is_read() || (asked.verb == Verb::Patch && kind == Kind::Pod);
        let set = self.rules.of(&asked.agent, kind);
        tells.then(|| Judge {
            set: self.off.iter().fold(set, Set::without),
            kind,
            facts: Rc::clone(&self.facts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_maps_that_nothing_is_about() {
        let asked = |uri: &str| {
            let head = http::Request::get(uri).header("user-agent", "kubelet/v1");
            crate::request::classify(&head.body(()).unwrap().into_parts().0).unwrap()
        };
        for (uri, want) in [
            ("/api/v1/namespaces/a/configmaps", true),
            ("/api/v1/namespaces/a/configmaps/kube-root-ca.crt", true),
            ("/api/v1/namespaces/a/configmaps/kube-proxy", true),
            ("/api/v1/namespaces/a/configmaps/other", false),
            (
                "/api/v1/namespaces/a/configmaps?watch=1&fieldSelector=metadata.name%3Dkube-root-ca.crt",
                true,
            ),
            (
                "/api/v1/namespaces/a/configmaps?watch=1&fieldSelector=metadata.name%3Dother",
                false,
            ),
            ("/api/v1/namespaces/a/secrets/other", true),
        ] {
            let judge = InForce::default().judge(&asked(uri));
            assert_eq!(judge.is_some(), want, "{uri}");
        }
    }

    #[test]
    fn filters_for_whom() {
        let mut rules = Rules::default();
        let of = |rules: &Rules, agent, kind| {
            let names = rules.of(agent, kind).iter().map(Filter::name);
            names.collect::<Vec<_>>().join(" ")
        };
        for (agent, kind, want) in [
            ("kubelet", Kind::Service, "masterservice"),
            ("kubelet", Kind::ConfigMap, "hubca inclusterconfig"),
            ("kubelet", Kind::Secret, "hubca"),
            ("kubelet", Kind::Pod, "serviceenvupdater"),
            ("kubelet", Kind::EndpointSlice, ""),
            (
                "kube-proxy",
                Kind::Service,
                "discardcloudservice nodeportisolation",
            ),
            (
                "kube-proxy x y",
                Kind::EndpointSlice,
                "servicetopology forwardkubesvctraffic podipoverlay",
            ),
            ("coredns", Kind::Endpoints, "servicetopology podipoverlay"),
            ("kubectl", Kind::Service, ""),
        ] {
            assert_eq!(of(&rules, agent, kind), want, "{agent} {kind:?}");
        }
        rules.add(Filter::MasterService, "my app");
        rules.add(Filter::MasterService, "my app");
        rules.take(Filter::MasterService, Some("kubelet"));
        rules.take(Filter::HubCa, None);
        assert_eq!(of(&rules, "my app", Kind::Service), "masterservice");
        assert_eq!(of(&rules, "kubelet", Kind::Service), "");
        assert_eq!(of(&rules, "kubelet", Kind::Secret), "");
        rules.take(Filter::MasterService, Some("my app"));
        assert_eq!(of(&rules, "my app", Kind::Service), "");
    }
}
