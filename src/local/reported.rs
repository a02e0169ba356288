//! What the kubelet has said of its pods since the API server was lost. It is told that nothing of it was taken, so it says
//! all of it again every ten seconds: to a hub that has been started anew, and at last to the API server. Pure.

use super::pod_status::Report;
use crate::limits;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// By the pod's uid. Bounded: what comes when it is full is not taken.
#[derive(Debug, Default)]
pub struct Reported {
    /// Invariant: at most [`limits::REPORTED_PODS_MAX`].
    pods: BTreeMap<String, Pod>,
}

#[derive(Debug, Default)]
struct Pod {
    /// Where they are others than those that are kept.
    ips: Vec<IpAddr>,
    /// Where that is otherwise than is kept.
    ready: Option<bool>,
}

impl Reported {
    /// Takes what was said. True: some pod is elsewhere than before.
    pub fn take(&mut self, report: Report) -> bool {
        let is_full = self.pods.len() >= limits::REPORTED_PODS_MAX;
        if report.uid.len() > limits::REPORTED_UID_BYTES_MAX
            || is_full && !self.pods.contains_key(&report.uid)
        {
            return false;
        }
        let pod = self.pods.entry(report.uid).or_default();
        pod.ready = report.ready;
        let ips = report.ips.unwrap_or_default();
        let is_elsewhere = ips != pod.ips;
        pod.ips = ips;
        is_elsewhere
    }

    /// The addresses of the pods that are elsewhere than is kept.
    pub fn ips(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let elsewhere = self.pods.iter().filter(|(_, pod)| !pod.ips.is_empty());
        elsewhere
            .map(|(uid, pod)| (uid.clone(), pod.ips.clone()))
            .collect()
    }

    /// Of how many pods anything was said, and how many of them are not ready that were so before.
    pub fn counts(&self) -> (u64, u64) {
        let unready = self.pods.values().filter(|pod| pod.ready == Some(false));
        (self.pods.len() as u64, unready.count() as u64)
    }

    /// The API server has been told. True: there was something.
    pub fn clear(&mut self) -> bool {
        let was = !self.pods.is_empty();
        self.pods.clear();
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
        assert!(!reported.take(report("a", Some("10.0.0.1"), Some(true))));
        assert!(reported.take(report("b", Some("10.0.0.2"), Some(false))));
        assert_eq!(reported.counts(), (2, 1));
        assert_eq!(reported.ips().len(), 2);
        // It is where it was again.
        assert!(reported.take(report("a", None, None)));
        assert_eq!(reported.ips().keys().collect::<Vec<_>>(), ["b"]);
        assert!(reported.clear() && !reported.clear());
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
