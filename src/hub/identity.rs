//! Whose a token is: what the API server says of it while it can be asked, and what is known of it when it cannot.

use super::Shared;
use crate::access::claims;
use crate::access::ledger::{self, Changed, Entry};
use crate::access::verdict::Verdict;
use crate::access::{Caller, Way, Who, bearer};
use crate::cache::own::Own;
use crate::store::Change;
use http::HeaderValue;

impl Shared {
    /// Who asks, as far as that is known: a token that the API server has accepted is whose it was. Of any other nothing
    /// is believed, and it remains a token.
    pub fn whose(&self, caller: Caller) -> Caller {
        let mut ledger = self.ledger.borrow_mut();
        let entry = caller.token.and_then(|token| ledger.get(&token));
        Caller {
            who: entry.map_or(caller.who, |entry| entry.who),
            ..caller
        }
    }

    /// The API server has accepted this caller before.
    pub fn is_known(&self, caller: &Caller) -> bool {
        match caller.token {
            Some(token) => self.ledger.borrow().contains(&token),
            None => self.known.borrow().contains(&caller.who),
        }
    }

    /// Takes what an answer of the API server says about whoever asked, and gives who that is.
    pub fn judged(
        &self,
        caller: Caller,
        authorization: Option<&HeaderValue>,
        verdict: Verdict,
    ) -> Caller {
        match verdict {
            Verdict::Accepted => self.accepted(caller, authorization),
            Verdict::Refused => self.refused(&caller),
            Verdict::Unknown => {}
        }
        self.whose(caller)
    }

    fn accepted(&self, caller: Caller, authorization: Option<&HeaderValue>) {
        let Some(token) = caller.token else {
            if let Way::Pair(_) = caller.way {
                self.known.borrow_mut().accept(caller.who);
            }
            return;
        };
        if self.ledger.borrow().contains(&token) {
            return;
        }
        let Some(bearer) = authorization.and_then(bearer) else {
            return;
        };
        let entry = Entry::new(token, bearer, self.clock.now());
        let value = entry.to_bytes();
        let changed = self.ledger.borrow_mut().accept(entry);
        self.keep_ledger(&changed, &ledger::key(&token), &value);
    }

    fn refused(&self, caller: &Caller) {
        let Some(token) = caller.token else {
            self.known.borrow_mut().refuse(&caller.who);
            self.cache.borrow_mut().forget_all_of(&caller.who);
            return;
        };
        let now = self.clock.now();
        let gone = self.ledger.borrow_mut().refuse(&token, now);
        let mut changed = Changed::default();
        for entry in &gone {
            changed.removed.push(entry.token);
            // A token that has run out says nothing about the account: what it was told waits for its next token.
            let is_last = !(self.ledger.borrow())
                .of(&entry.who)
                .any(|other| other.is_in_date(now));
            if is_last && entry.is_in_date(now) {
                self.cache.borrow_mut().forget_all_of(&entry.who);
            }
        }
        self.cache.borrow_mut().forget_all_of(&Who::Token(token));
        self.keep_ledger(&changed, "", &[]);
    }

    /// Keeps what has changed of the ledger; what has gone is written at once, or a cut would bring it back.
    fn keep_ledger(&self, changed: &Changed, key: &str, value: &[u8]) {
        if !changed.added && changed.removed.is_empty() {
            return;
        }
        let removed: Vec<String> = changed.removed.iter().map(ledger::key).collect();
        let mut changes: Vec<Change<'_>> = removed.iter().map(|key| Change::Delete(key)).collect();
        if changed.added {
            let tag = 0;
            changes.push(Change::Put { key, value, tag });
        }
        let mut cache = self.cache.borrow_mut();
        if !cache.change_own(Own::Tokens, &changes) {
            let ledger = self.ledger.borrow();
            let all = ledger.entries().iter();
            let mut all = all.map(|entry| (ledger::key(&entry.token), entry.to_bytes()));
            // What is not taken now is offered again with the next change.
            let _ = cache.replace_own(Own::Tokens, &mut all);
        }
        if !removed.is_empty() {
            drop(cache.flush());
        }
    }

    /// Reads what a former run has kept of the ledger.
    pub(super) async fn read_ledger(&self) {
        let read = self.cache.borrow_mut().read_own(Own::Tokens);
        let items = read.await.unwrap_or_default();
        let mut entries: Vec<Entry> = (items.iter())
            .filter_map(|item| Entry::from_bytes(&item.key, &item.value))
            .collect();
        // As if they were accepted again, one after the other.
        entries.sort_by_key(|entry| entry.accepted);
        let mut ledger = self.ledger.borrow_mut();
        for entry in entries {
            ledger.accept(entry);
        }
    }

    /// Who asks, without the API server: a token that it has accepted and that has not run out. `None`: nothing that is kept
    /// is told to this caller.
    pub async fn recognised(
        &self,
        caller: Caller,
        authorization: Option<&HeaderValue>,
    ) -> Option<Caller> {
        let Some(token) = caller.token else {
            return Some(caller);
        };
        let now = self.clock.now();
        if let Some(entry) = self.ledger.borrow_mut().get(&token) {
            let who = entry.who;
            return entry.is_in_date(now).then_some(Caller { who, ..caller });
        }
        let claims = claims::read(bearer(authorization?)?).unwrap_or_default();
        let in_date = claims.expires.is_none_or(|expires| now < expires);
        // Any other token was told what is kept for it itself.
        (claims.of_account().is_none() && in_date).then_some(caller)
    }
}
