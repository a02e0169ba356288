//! How the pods of this node are by the word of their kubelet, while the API server cannot be told and a little longer. Pure.
//!
//! The kubelet is told that nothing of what it says was taken, so it says all of it again every ten seconds: to a hub that
//! has been started anew, and at last to the API server. What it says is what is different from what it was told; so how
//! its pods were when the API server was lost is known here too. In a longer outage the cloud gives up the node and calls
//! all of its pods unready, which is the first thing that is heard when the link is back, and true of none of them.

use super::pod_status::Report;
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// By the pod's uid. Bounded: what comes when it is full is not taken.
#[derive(Debug, Default)]
pub struct Reported {
    /// Invariant: at most [`limits::REPORTED_PODS_MAX`].
    pods: BTreeMap<String, Pod>,
    /// Those that were ready when the API server was lost. Invariant: at most [`limits::REPORTED_PODS_MAX`].
    were_ready: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Pod {
    /// Where they are others than those that are kept.
    ips: Vec<IpAddr>,
    /// Where that is otherwise than is kept.
    ready: Option<bool>,
}

impl Reported {
    /// Takes what was said. True: some pod is elsewhere than before, or ready and was not, or no longer.
    pub fn take(&mut self, report: Report) -> bool {
        let is_full = self.pods.len() >= limits::REPORTED_PODS_MAX;
        if report.uid.len() > limits::REPORTED_UID_BYTES_MAX
            || is_full && !self.pods.contains_key(&report.uid)
        {
            return false;
        }
        let was_ready = self.is_ready(&report.uid);
        let now = Pod {
            ips: report.ips.unwrap_or_default(),
            ready: report.ready,
        };
        let pod = self.pods.entry(report.uid.clone()).or_default();
        let is_elsewhere = now.ips != pod.ips;
        *pod = now;
        is_elsewhere || was_ready != self.is_ready(&report.uid)
    }

    /// These pods were ready when the API server was lost.
    pub fn were_ready(&mut self, mut uids: Vec<String>) {
        let is_new = |uid: &String| !self.were_ready.contains(uid);
        uids.retain(|uid| uid.len() <= limits::REPORTED_UID_BYTES_MAX && is_new(uid));
        let room = limits::REPORTED_PODS_MAX - self.were_ready.len();
        self.were_ready.extend(uids.into_iter().take(room));
    }

    /// The API server has taken what was said, which counts from then on. True: the pod was ready, and is no longer, or it
    /// is elsewhere.
    pub fn is_told(&mut self, report: &Report) -> bool {
        let was_ready = self.is_ready(&report.uid);
        if report.ready == Some(false) {
            self.were_ready.remove(&report.uid);
        }
        let mut is_elsewhere = false;
        if let Some(pod) = self.pods.get_mut(&report.uid) {
            pod.ready = report.ready.or(pod.ready);
            // Where it is as it is kept, the API server says the same, and says itself where it is now.
            if let Some(ips) = &report.ips
                && !pod.ips.is_empty()
                && *ips != pod.ips
            {
                is_elsewhere = true;
                pod.ips.clone_from(ips);
            }
        }
        is_elsewhere || was_ready && !self.is_ready(&report.uid)
    }

    fn is_ready(&self, uid: &str) -> bool {
        let said = self.pods.get(uid).and_then(|pod| pod.ready);
        said.unwrap_or_else(|| self.were_ready.contains(uid))
    }

    /// The addresses of the pods that are elsewhere than is kept.
    pub fn ips(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let elsewhere = self.pods.iter().filter(|(_, pod)| !pod.ips.is_empty());
        elsewhere
            .map(|(uid, pod)| (uid.clone(), pod.ips.clone()))
            .collect()
    }

    /// The pods that are ready, whatever the API server says.
    pub fn ready(&self) -> BTreeSet<String> {
        let all = self.pods.keys().chain(&self.were_ready);
        all.filter(|uid| self.is_ready(uid)).cloned().collect()
    }

    /// Of how many pods anything was said, and how many of them are not ready that were so before.
    pub fn counts(&self) -> (u64, u64) {
        let unready = self.pods.values().filter(|pod| pod.ready == Some(false));
        (self.pods.len() as u64, unready.count() as u64)
    }

    /// The API server has been told. True: there was something.
    pub fn clear(&mut self) -> bool {
        let was = !self.pods.is_empty() || !self.were_ready.is_empty();
        *self = Reported::default();
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(uid: &str, ip: Option<&str>, ready: Option<bool>) -> Report {
        Report {
            uid: uid.to_owned(),
            ips: ip.map(|ip| vec![ip.parse().unwrap()]),
            ready,
        }
    }

    #[test]
    fn the_last_word_counts() {
        let mut reported = Reported::default();
        assert!(!reported.take(report("a", None, Some(false))));
        assert!(reported.take(report("a", Some("10.0.0.1"), None)));
        assert_eq!(reported.counts(), (1, 0));
        assert!(reported.ready().is_empty());
        assert!(reported.take(report("a", Some("10.0.0.1"), Some(true))));
        assert!(!reported.take(report("a", Some("10.0.0.1"), Some(true))));
        assert_eq!(reported.ready().into_iter().collect::<Vec<_>>(), ["a"]);
        assert!(reported.take(report("b", Some("10.0.0.2"), Some(false))));
        assert_eq!(reported.counts(), (2, 1));
        assert_eq!(reported.ips().len(), 2);
        // It is where it was again.
        assert!(reported.take(report("a", None, None)));
        assert_eq!(reported.ips().keys().collect::<Vec<_>>(), ["b"]);
        assert!(reported.clear() && !reported.clear());
    }

    #[test]
    fn who_was_ready_is_so_until_the_kubelet_says_otherwise() {
        let mut reported = Reported::default();
        let ready = |reported: &Reported| Vec::from_iter(reported.ready()).join(" ");
        reported.were_ready(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(ready(&reported), "a b");
        assert!(reported.take(report("a", None, Some(false))));
        assert_eq!(ready(&reported), "b");
        // It says no more of it, so that is as the API server has it.
        assert!(reported.take(report("a", None, None)));
        assert_eq!(ready(&reported), "a b");
        // The API server has been told.
        assert!(!reported.is_told(&report("a", None, Some(true))));
        assert!(reported.is_told(&report("b", None, Some(false))));
        assert!(!reported.is_told(&report("c", None, Some(true))));
        assert_eq!(ready(&reported), "a");
        // It was elsewhere in the outage, and then again.
        assert!(reported.take(report("d", Some("10.0.0.1"), None)));
        assert!(!reported.is_told(&report("d", Some("10.0.0.1"), None)));
        assert!(reported.is_told(&report("d", Some("10.0.0.2"), None)));
        assert!(!reported.is_told(&report("d", None, None)));
        assert_eq!(reported.ips()["d"], ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert!(reported.clear() && ready(&reported).is_empty());
        let many = 0..2 * limits::REPORTED_PODS_MAX;
        reported.were_ready(many.map(|n| n.to_string()).collect());
        assert_eq!(reported.ready().len(), limits::REPORTED_PODS_MAX);
    }

    #[test]
    fn what_is_said_is_bounded() {
        let mut reported = Reported::default();
        for n in 0..limits::REPORTED_PODS_MAX {
            assert!(reported.take(report(&n.to_string(), Some("10.0.0.1"), None)));
        }
        assert!(!reported.take(report("more", Some("10.0.0.1"), None)));
        assert!(reported.take(report("0", Some("10.0.0.2"), None)));
        let long = "x".repeat(limits::REPORTED_UID_BYTES_MAX + 1);
        reported.clear();
        assert!(!reported.take(report(&long, Some("10.0.0.1"), None)));
    }
}
