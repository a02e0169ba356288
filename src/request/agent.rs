//! The program that asks, by its User-Agent. Says what is worth keeping; proves nothing.

use crate::limits;

/// `kubelet` of `kubelet/v1.36.4 (linux/amd64) kubernetes/bb826b1`; `unknown` where there is none.
pub const UNKNOWN: &str = "unknown";

/// The component's name: the User-Agent up to the first `/`, trimmed, lower case, in characters that may stand in a
/// file name and a log line. At most [`limits::AGENT_BYTES_MAX`] bytes.
pub fn name(user_agent: Option<&str>) -> String {
    let head = user_agent
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default();
    let name: String = head
        .trim()
        .chars()
        .take(limits::AGENT_BYTES_MAX)
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || "-_.: ".contains(c) => c,
            _ => '_',
        })
        .collect();
    match name.trim_matches(['.', ' ']) {
        "" => UNKNOWN.to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// Which agents' answers are kept: the built-in ones, the configured ones, `*` for all, `-name` for never.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agents {
    named: Vec<String>,
    never: Vec<String>,
    all: bool,
    nobody: bool,
}

/// Kept without being asked for (design.md "What is kept").
pub const BUILT_IN: [&str; 5] = ["kubelet", "kube-proxy", "flanneld", "coredns", "edge-hub"];

/// How dear an agent's answers are when room is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Matched by `*` alone: goes first.
    Wild,
    /// Named by the operator.
    Named,
    /// Built in: the node cannot work without it, never evicted for others.
    Pinned,
}

impl Agents {
    /// From the entries of `cache_agents`. Names are read as a User-Agent's are, or they would never match one.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut agents = Agents::default();
        for entry in entries.into_iter().map(str::trim) {
            match entry.strip_prefix('-') {
                Some(never) => agents.never.push(name(Some(never))),
                None if entry == "*" => agents.all = true,
                None => agents.named.push(name(Some(entry))),
            }
        }
        agents
    }

    /// No agent's answers are kept, the built-in ones' neither.
    pub fn nobody() -> Self {
        Agents {
            nobody: true,
            ..Agents::default()
        }
    }

    /// `None`: this agent's answers are not kept. Its name and its first word both count.
    pub fn class(&self, agent: &str) -> Option<Class> {
        let first = agent.split(' ').next().unwrap_or(agent);
        let is = |list: &[String]| list.iter().any(|n| n == agent || n == first);
        if self.nobody || is(&self.never) {
            None
        } else if BUILT_IN.contains(&agent) || BUILT_IN.contains(&first) {
            Some(Class::Pinned)
        } else if is(&self.named) {
            Some(Class::Named)
        } else {
            self.all.then_some(Class::Wild)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (agent, want) in [
            (
                Some("kubelet/v1.36.4 (linux/amd64) kubernetes/bb826b1"),
                "kubelet",
            ),
            (Some("CoreDNS/1.12 git_commit:x"), "coredns"),
            (Some("Cilium 1.18 abc"), "cilium 1.18 abc"),
            (Some(" Kubernetes Java Client/1"), "kubernetes java client"),
            (Some(".."), UNKNOWN),
            (Some("../../etc/passwd"), UNKNOWN),
            (Some("a\u{1b}[31m\nb"), "a__31m_b"),
            (Some(""), UNKNOWN),
            (None, UNKNOWN),
        ] {
            assert_eq!(name(agent), want, "{agent:?}");
        }
        assert_eq!(name(Some(&"x".repeat(500))).len(), limits::AGENT_BYTES_MAX);
    }

    #[test]
    fn classes() {
        let some = Agents::new(["edge-app", "-CoreDNS"]);
        let all = Agents::new(["*", "-calico"]);
        let long = "x".repeat(limits::AGENT_BYTES_MAX + 1);
        let odd = Agents::new(["my@app", "*", &format!("-{long}")]);
        for (agents, agent, want) in [
            (&some, "kubelet", Some(Class::Pinned)),
            (&some, "coredns", None),
            (&some, "edge-app", Some(Class::Named)),
            (&some, "edge-app 1.2", Some(Class::Named)),
            (&some, "other", None),
            (&all, "other", Some(Class::Wild)),
            (&all, "calico", None),
            (&all, UNKNOWN, Some(Class::Wild)),
            (&odd, &name(Some("My@App/1")), Some(Class::Named)),
            (&odd, &name(Some(long.as_str())), None),
            (&Agents::nobody(), "kubelet", None),
            (&Agents::nobody(), "other", None),
        ] {
            assert_eq!(agents.class(agent), want, "{agent}");
        }
    }
}
