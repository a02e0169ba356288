//! Answers to the node's own components that may be given again, kept and found.

use super::Shared;
use crate::access::Who;
use crate::access::ledger::Pod;
use crate::cache::own::Own;
use crate::cache::pods::{self, Here};
use crate::config::WorkingMode;
use crate::limits;
use crate::local::grants::{self, Grant, GrantKey};
use crate::local::lease::Lease;
use crate::local::pod_status::{Report, uid_of_ready};
use crate::local::reviews::{Review, ReviewKey};
use crate::local::token_request::{Wish, granted};
use crate::object::Encoding;
use crate::store::Change;
use bytes::Bytes;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A token that was asked for.
pub struct TokenWish {
    pub key: GrantKey,
    pub who: Who,
    pub namespace: String,
    pub wish: Wish,
}

/// An answer that is given again.
pub struct Again {
    pub content_type: String,
    pub body: Bytes,
    pub age: Duration,
}

impl Shared {
    /// The API server has granted a token: what it said is kept for as long as the token is good.
    pub fn grant(&self, asked: &TokenWish, encoding: Encoding, content_type: &str, body: Vec<u8>) {
        if self.config.borrow().working_mode == WorkingMode::Cloud {
            return;
        }
        let now = self.clock.now();
        let Some((token, claims)) = granted(encoding, &body) else {
            return;
        };
        let (Some(expires), Some(pod)) = (claims.expires, asked.wish.pod()) else {
            return;
        };
        // One without audiences is for the API server, which may never see it: the pod gets it, and the power goes.
        if asked.wish.audiences.is_empty() {
            self.has_issued(token.as_bytes());
        }
        let grant = Grant {
            key: asked.key,
            who: asked.who,
            expires,
            granted: now,
            pod: Pod {
                namespace: asked.namespace.clone(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                node: String::new(),
            },
            content_type: content_type.to_owned(),
            body,
        };
        let (name, value) = (grants::name(&grant.key), grant.to_bytes());
        let gone = self.grants.borrow_mut().put(grant, now);
        self.keep_grants(&gone, Some((&name, &value)));
    }

    /// The API server says that there is nothing to grant: the account or the pod is gone.
    pub fn take_back(&self, key: &GrantKey) {
        self.drop_grants(&|grant| grant.key == *key);
    }

    /// Whoever this is, the API server knows him no more.
    pub(super) fn take_all_back(&self, who: &Who) {
        self.drop_grants(&|grant| grant.who == *who);
        self.reviews.borrow_mut().clear();
    }

    fn drop_grants(&self, is: &dyn Fn(&Grant) -> bool) {
        let gone = self.grants.borrow_mut().remove(is);
        self.keep_grants(&gone, None);
    }

    fn keep_grants(&self, gone: &[GrantKey], put: Option<(&str, &[u8])>) {
        if gone.is_empty() && put.is_none() {
            return;
        }
        let gone: Vec<String> = gone.iter().map(grants::name).collect();
        let mut changes: Vec<Change<'_>> = gone.iter().map(|key| Change::Delete(key)).collect();
        if let Some((key, value)) = put {
            // One in the place of another that is as good may be written late.
            let tag = 0;
            changes.push(Change::Put { key, value, tag });
        }
        let mut cache = self.cache.borrow_mut();
        if !cache.change_own(Own::Grants, &changes) {
            let grants = self.grants.borrow();
            let all = grants.all().iter();
            let mut all = all.map(|grant| (grants::name(&grant.key), grant.to_bytes()));
            // What is not taken now is offered again with the next change.
            let _ = cache.replace_own(Own::Grants, &mut all);
        }
        if put.is_none() {
            drop(cache.flush());
        }
    }

    /// The answer that the API server gave to the same wish of the same component, while its token is good and its pod is
    /// known to be on this node.
    pub async fn granted_before(&self, asked: &TokenWish) -> Option<Again> {
        let now = self.clock.now();
        let (pod, again) = {
            let grants = self.grants.borrow();
            let grant = grants.get(&asked.key).filter(|g| now < g.expires)?;
            let again = Again {
                content_type: grant.content_type.clone(),
                body: Bytes::copy_from_slice(&grant.body),
                age: Duration::from_secs(now.saturating_sub(grant.granted)),
            };
            (grant.pod.clone(), again)
        };
        let node = self.config.borrow().node_name.clone();
        let here = pods::look(&self.cache, &node, &pod).await;
        (here == Here::Yes).then_some(again)
    }

    pub(super) async fn read_grants(&self) {
        let read = self.cache.borrow_mut().read_own(Own::Grants);
        let now = self.clock.now();
        for item in read.await.unwrap_or_default() {
            if let Some(grant) = Grant::from_bytes(&item.key, &item.value) {
                self.grants.borrow_mut().put(grant, now);
            }
        }
    }

    /// Whether this is this node's kubelet, or whoever comes to the plain port as the node. In the cloud nobody is: an API
    /// server that is there no more is what the kubelet has to hear of.
    pub fn is_node(&self, who: &Who) -> bool {
        let is_edge = self.config.borrow().working_mode == WorkingMode::Edge;
        is_edge
            && (*who == self.kubelet || self.rules.borrow().node.map(Who::Subject) == Some(*who))
    }

    /// The lease that the kubelet has sent since the API server was lost.
    pub fn lease(&self) -> Option<Lease> {
        self.lease.borrow().clone()
    }

    /// The kubelet has sent this while the API server could not be asked; or it could, and what was before counts no more.
    pub fn renew_lease(&self, lease: Option<Lease>) {
        *self.lease.borrow_mut() = lease;
    }

    /// The kubelet says how a pod is, and the API server cannot be told.
    pub fn report(&self, report: Report) {
        if self.reported.borrow_mut().take(report) {
            self.show_pods();
        }
    }

    /// The kubelet has told the API server how a pod is.
    pub fn report_is_told(&self, report: &Report) {
        if self.reported.borrow_mut().is_told(report) {
            self.show_pods();
        }
    }

    /// Has the filters go by what is known of the pods.
    fn show_pods(&self) {
        let reported = self.reported.borrow();
        self.filters.change(|facts| {
            facts.pod_ips = reported.ips();
            facts.pods_ready = reported.ready();
        });
    }

    /// See [`crate::local::reported::Reported::counts`].
    pub fn reported(&self) -> (u64, u64) {
        self.reported.borrow().counts()
    }

    /// Remembers in an outage how the kubelet's pods are, and forgets it when the kubelet has told the API server itself.
    pub(super) async fn follow_pods(self: Rc<Self>) {
        let link = self.upstream.link();
        loop {
            link.became_down().await;
            let ready = pods::each(&self.cache, &self.node_name(), uid_of_ready).await;
            self.reported.borrow_mut().were_ready(ready);
            link.became_up().await;
            // What is heard first may be that the cloud has given up the node.
            self.show_pods();
            let is_down_again = timeout(limits::REPORTED_LINGER, link.became_down())
                .await
                .is_ok();
            if !is_down_again && self.reported.borrow_mut().clear() {
                self.show_pods();
            }
        }
    }

    /// How long an answer to a review may be given again; `None`: never.
    pub fn review_age_max(&self) -> Option<Duration> {
        let config = self.config.borrow();
        let age = config.review_age_max;
        (!age.is_zero() && config.working_mode == WorkingMode::Edge).then_some(age)
    }

    pub fn keep_review(&self, key: ReviewKey, content_type: &str, body: Vec<u8>) {
        let review = Review {
            content_type: content_type.to_owned(),
            body: body.into(),
        };
        self.reviews.borrow_mut().put(key, review, Instant::now());
    }

    pub fn reviewed_before(&self, key: &ReviewKey) -> Option<Again> {
        let reviews = self.reviews.borrow();
        let (review, age) = reviews.get(key, self.review_age_max()?, Instant::now())?;
        Some(Again {
            content_type: review.content_type.clone(),
            body: review.body.clone(),
            age,
        })
    }
}
