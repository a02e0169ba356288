//! Whose a token is: what the API server says of it while it can be asked, and what is known of it when it cannot.

use super::Shared;
use crate::access::claims::{self, Claims};
use crate::access::ledger::{self, Changed, Entry, Item, Pod, TokenDigest};
use crate::access::verdict::Verdict;
use crate::access::{Caller, Who, bearer, sha256};
use crate::cache::own::Own;
use crate::cache::pods::{self, Here};
use crate::limits;
use crate::store::Change;
use crate::sys::clock::Sanity;
use http::HeaderValue;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Notify;

/// Accounts of which a token was refused. Each is here once, so there are no more than identities in the ledger.
#[derive(Default)]
pub(super) struct Doubts {
    accounts: RefCell<Vec<Who>>,
    came: Notify,
}

impl Doubts {
    fn add(&self, who: Who) {
        let mut accounts = self.accounts.borrow_mut();
        if !accounts.contains(&who) && accounts.len() < limits::LEDGER_TOKENS_MAX {
            accounts.push(who);
        }
        self.came.notify_one();
    }

    async fn next(&self) -> Who {
        loop {
            let next = self.accounts.borrow_mut().pop();
            match next {
                Some(who) => return who,
                None => self.came.notified().await,
            }
        }
    }
}

impl Shared {
    /// Who asks, as far as that is known: a token that the API server has accepted is whose it was. Of any other nothing
    /// is believed, and it remains a token.
    pub fn whose(&self, caller: Caller) -> Caller {
        let mut ledger = self.ledger.borrow_mut();
        let entry = caller.token.and_then(|token| ledger.get(&token));
        let entry = entry.filter(|entry| !entry.refused);
        Caller {
            who: entry.map_or(caller.who, |entry| entry.who),
            ..caller
        }
    }

    /// The API server has accepted this caller before.
    pub fn is_known(&self, caller: &Caller) -> bool {
        match caller.token {
            Some(token) => self.ledger.borrow().has_accepted(&token),
            None => self.known.borrow().contains(&caller.who),
        }
    }

    /// The issuer whose keys are known.
    pub fn issuer(&self) -> Option<String> {
        let issuer = self.issuer.borrow();
        issuer.is_known().then(|| issuer.name().to_owned())
    }

    /// How many tokens are remembered.
    pub fn tokens(&self) -> usize {
        self.ledger.borrow().entries().len()
    }

    /// Takes what an answer of the API server says about whoever asked, and gives who that is.
    pub fn judged(
        &self,
        caller: Caller,
        authorization: Option<&HeaderValue>,
        verdict: Verdict,
    ) -> Caller {
        let token = caller.token.zip(authorization);
        match (verdict, token) {
            (Verdict::Accepted, Some((token, value))) => self.accepted(token, value),
            (Verdict::Refused, Some((token, value))) => self.refused(token, value),
            (Verdict::Accepted, None) if matches!(caller.who, Who::Subject(_)) => {
                self.known.borrow_mut().accept(caller.who);
            }
            (Verdict::Refused, None) if !self.is_over(&caller.who) => {
                self.known.borrow_mut().refuse(&caller.who);
                self.cache.borrow_mut().forget_all_of(&caller.who);
                self.take_all_back(&caller.who);
            }
            _ => {}
        }
        self.whose(caller)
    }

    /// Whether the pair that goes up for this caller has run out. Then a refusal says nothing about whose it is, as with
    /// tokens: what was told to him waits for the next pair, and a box that was cut off for too long can still start.
    fn is_over(&self, who: &Who) -> bool {
        let Who::Subject(subject) = who else {
            return false;
        };
        let end = self.papers.borrow().way_up_ends(subject);
        // The API server's clock may be ahead of this one by as much as with tokens.
        let now = self.clock.now() + limits::JWT_LEEWAY_SECS;
        end.is_some_and(|end| end < now)
    }

    fn accepted(&self, token: TokenDigest, authorization: &HeaderValue) {
        let known = {
            let mut ledger = self.ledger.borrow_mut();
            let known = ledger.get(&token);
            // As nearly always, with nothing to be done.
            if let Some(entry) = known
                && !entry.refused
            {
                if entry.is_of_account() {
                    self.asker.lend(authorization);
                }
                return;
            }
            known.cloned()
        };
        let now = self.clock.now();
        let entry = known.or_else(|| Some(Entry::new(token, bearer(authorization)?, now)));
        let Some(mut entry) = entry else {
            return;
        };
        if entry.is_of_account() {
            self.asker.lend(authorization);
            self.learn_audience(authorization);
            // It was issued before it was accepted: a clock that was never set is at least so late.
            if self.clock.sanity() == Sanity::Unset {
                self.clock.raise_floor(entry.issued);
            }
        }
        entry.refused = false;
        let changed = self.ledger.borrow_mut().put(entry);
        self.keep_ledger(&changed);
    }

    /// The API server has issued this token to be shown to itself: so it would accept it.
    pub(super) fn has_issued(&self, bearer: &[u8]) {
        let entry = Entry::new(sha256(bearer), bearer, self.clock.now());
        if entry.is_of_account() {
            let changed = self.ledger.borrow_mut().put(entry);
            self.keep_ledger(&changed);
        }
    }

    /// A token that is neither known nor signed by the issuer can say nothing about the account that it names.
    fn refused(&self, token: TokenDigest, authorization: &HeaderValue) {
        let now = self.clock.now();
        self.cache.borrow_mut().forget_all_of(&Who::Token(token));
        let known = self.ledger.borrow_mut().get(&token).cloned();
        let entry = known.or_else(|| {
            let bearer = bearer(authorization)?;
            let verified = self.issuer.borrow().verify(bearer, now);
            verified.ok()?;
            Some(Entry::new(token, bearer, now))
        });
        let Some(entry) = entry.filter(|entry| !entry.refused) else {
            return;
        };
        let (who, is_in_date) = (entry.who, entry.is_in_date(now));
        let changed = self.ledger.borrow_mut().refuse(entry, now);
        self.keep_ledger(&changed);
        // One that has run out says nothing about its account: what that was told waits for its next token.
        if is_in_date {
            self.doubts.add(who);
        }
    }

    /// Forgets what is kept for accounts none of whose tokens counts any more. One at a time, for where their pods are is
    /// read.
    pub(super) async fn settle_doubts(self: Rc<Self>) {
        loop {
            let who = self.doubts.next().await;
            let now = self.clock.now();
            let others: Vec<Entry> = self.ledger.borrow().of(&who, now).cloned().collect();
            let mut is_left = false;
            for other in &others {
                is_left |= self.is_standing(other).await;
            }
            if !is_left {
                self.cache.borrow_mut().forget_all_of(&who);
            }
        }
    }

    /// Keeps what has changed of the ledger; what was refused is written at once, or a cut would bring it back.
    fn keep_ledger(&self, changed: &Changed) {
        if changed.items.is_empty() {
            return;
        }
        let ledger = self.ledger.borrow();
        let items: Vec<Option<Item>> = changed.items.iter().map(|name| ledger.item(name)).collect();
        let mut changes = Vec::new();
        for (key, item) in changed.items.iter().zip(&items) {
            changes.push(match item {
                None => Change::Delete(key),
                Some(Item { value, refused, .. }) => {
                    let tag = u32::from(*refused);
                    Change::Put { key, value, tag }
                }
            });
        }
        let mut cache = self.cache.borrow_mut();
        if !cache.change_own(Own::Tokens, &changes) {
            let all = ledger.items().into_iter();
            let mut all = all.map(|item| (item.name, item.value));
            // What is not taken now is offered again with the next change.
            let _ = cache.replace_own(Own::Tokens, &mut all);
        }
        if changed.urgent {
            drop(cache.flush());
        }
    }

    /// Reads what a former run has kept for the hub's own use.
    pub(super) async fn read_own(&self) {
        self.read_ledger().await;
        self.read_issuer().await;
        self.read_grants().await;
        self.read_live().await;
        self.read_events().await;
    }

    async fn read_ledger(&self) {
        let read = self.cache.borrow_mut().read_own(Own::Tokens);
        let items = read.await.unwrap_or_default();
        let mut entries: Vec<Entry> = (items.iter())
            .flat_map(|item| ledger::read_item(&item.value))
            .collect();
        // As if they were accepted again, one after the other.
        entries.sort_by_key(|entry| entry.accepted);
        let mut ledger = self.ledger.borrow_mut();
        for entry in entries {
            ledger.put(entry);
        }
    }

    /// Who asks, without the API server: a token that it has accepted before, or one that its issuer has signed for a pod of
    /// this node. `None`: nothing that is kept is told to this caller.
    pub async fn recognised(
        &self,
        caller: Caller,
        authorization: Option<&HeaderValue>,
    ) -> Option<Caller> {
        let Some(token) = caller.token else {
            return Some(caller);
        };
        let entry = self.ledger.borrow_mut().get(&token).cloned();
        let who = match entry {
            Some(entry) => self.is_standing(&entry).await.then_some(entry.who),
            None => self.not_seen_before(token, bearer(authorization?)?).await,
        };
        who.map(|who| Caller { who, ..caller })
    }

    /// Whether an accepted token counts without the API server: it is in date, and its pod is not known to be gone.
    async fn is_standing(&self, entry: &Entry) -> bool {
        let is_elsewhere = |pod: &Pod| !pod.node.is_empty() && pod.node != self.node_name();
        let pod = entry.pod.as_ref().filter(|pod| !is_elsewhere(pod));
        !entry.refused
            && entry.is_in_date(self.clock.now())
            && match pod {
                Some(pod) => self.look_for(pod).await != Here::No,
                None => true,
            }
    }

    async fn look_for(&self, pod: &Pod) -> Here {
        let node = self.node_name();
        pods::look(&self.cache, &node, pod).await
    }

    /// The name of this node.
    pub fn node_name(&self) -> String {
        self.config.borrow().node_name.clone()
    }

    /// Whose a token is that the API server was never asked about.
    async fn not_seen_before(&self, token: TokenDigest, bearer: &[u8]) -> Option<Who> {
        let now = self.clock.now();
        let claims = claims::read(bearer).unwrap_or_default();
        if claims.of_account().is_none() {
            // What is kept for it was told to itself.
            let in_date = claims.expires.is_none_or(|expires| now < expires);
            return in_date.then_some(Who::Token(token));
        }
        let verified = self.issuer.borrow().verify(bearer, now);
        match verified {
            Ok(claims) => self.of_pod_here(&claims).await,
            Err(wrong) => {
                log::debug!("a token is not taken without the API server: {wrong}");
                None
            }
        }
    }

    /// The account of a verified token, if it is bound to a pod that is kept for this node's kubelet. One that was copied
    /// from another node is not, nor is that of a pod that is gone.
    async fn of_pod_here(&self, claims: &Claims) -> Option<Who> {
        let pod = Pod::of(claims.of_account()?)?;
        let is_here = (pod.node.is_empty() || pod.node == self.node_name())
            && self.look_for(&pod).await == Here::Yes;
        if !is_here {
            log::debug!("a token is not taken without the API server: its pod is not kept here");
        }
        let who = ledger::account(claims).filter(|_| is_here)?;
        let issued = claims.issued.unwrap_or(0);
        let is_refused = self.ledger.borrow().is_refused(&who, &pod, issued);
        (!is_refused).then_some(who)
    }
}
