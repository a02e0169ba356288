//! Asks the API server for its issuer's keys, so that tokens which it has not seen yet can be told from others when it is
//! away.

use super::Shared;
use crate::access::bearer;
use crate::access::claims;
use crate::cache::own::Own;
use crate::certs::csr::Signer;
use crate::limits;
use crate::upstream::{RequestBody, Way};
use http::{HeaderValue, Request, StatusCode, header};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// Somebody as whom the hub may ask.
#[derive(Default)]
pub(super) struct Asker {
    /// The header of a caller whose token the API server has just accepted, where that is allowed and needed. Only while it
    /// is needed: nothing else remembers a token.
    lent: RefCell<Option<HeaderValue>>,
    is_wanted: Cell<bool>,
    came: Notify,
    again: Notify,
}

impl Asker {
    /// Takes the header, if one is wanted.
    pub(super) fn lend(&self, authorization: &HeaderValue) {
        if self.is_wanted.replace(false) {
            *self.lent.borrow_mut() = Some(authorization.clone());
            self.came.notify_one();
        }
    }

    /// Waits for one who lends.
    async fn lender(&self, patience: Duration) -> Option<HeaderValue> {
        self.is_wanted.set(true);
        let _ = timeout(patience, self.came.notified()).await;
        self.is_wanted.set(false);
        self.lent.borrow_mut().take()
    }

    /// Who may be asked has changed.
    pub(super) fn ask_again(&self) {
        self.again.notify_one();
    }
}

impl Shared {
    /// Asks at the start, then every hour; until there is an answer, more often.
    pub(super) async fn keep_issuer(self: Rc<Self>) {
        loop {
            self.upstream.link().became_up().await;
            let asked = Instant::now();
            let wait = self.ask_for_issuer().await.saturating_sub(asked.elapsed());
            let _ = timeout(wait, self.asker.again.notified()).await;
        }
    }

    /// As the hub itself if it has a certificate; else, or where that may not, as a caller, if that is allowed. Gives when
    /// to ask again.
    async fn ask_for_issuer(&self) -> Duration {
        let has_own = self.papers.borrow().issued(Signer::Client).is_some();
        let may_lend = self.config.borrow().jwks_from_callers;
        if has_own && self.ask_as(Way::Node, None).await {
            return limits::ISSUER_EVERY;
        }
        if may_lend
            && let Some(lent) = self.asker.lender(limits::ISSUER_RETRY).await
            && self.ask_as(Way::Bearer, Some(&lent)).await
        {
            return limits::ISSUER_EVERY;
        }
        // Who was refused is refused again.
        match has_own && !may_lend && !self.upstream.link().is_down() {
            true => limits::ISSUER_EVERY,
            false => limits::ISSUER_RETRY,
        }
    }

    async fn ask_as(&self, way: Way, authorization: Option<&HeaderValue>) -> bool {
        let get = |path| self.get_document(way, authorization, path);
        let (Some(configuration), Some(keys)) = (get(CONFIGURATION).await, get(KEYS).await) else {
            return false;
        };
        let told = self.issuer.borrow_mut().told(&configuration, &keys);
        match told {
            None => log::warn!("tokens: the API server tells no keys that can be read"),
            Some(false) => {}
            Some(true) => {
                log::info!("tokens: the issuer's keys are known");
                self.keep_issuers_parts();
            }
        }
        told.is_some()
    }

    /// A small document. `None`: it was not told to this asker, or it cannot be had now.
    async fn get_document(
        &self,
        way: Way,
        authorization: Option<&HeaderValue>,
        path: &'static str,
    ) -> Option<Vec<u8>> {
        let mut question = Request::get(path).body(()).ok()?.into_parts().0;
        if let Some(value) = authorization {
            (question.headers).insert(header::AUTHORIZATION, value.clone());
        }
        let agent = concat!("edge-hub/", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_static(agent);
        question.headers.insert(header::USER_AGENT, agent);
        let whole = async {
            let sent = self.upstream.send(way, &question, RequestBody::Empty);
            let response = sent.await.ok()?;
            if response.status() != StatusCode::OK {
                log::debug!("tokens: {path} is answered with {}", response.status());
                return None;
            }
            let whole = response.into_body().whole(limits::JWKS_BYTES_MAX);
            whole.await.ok()
        };
        timeout(limits::ISSUER_WAIT, whole).await.ok()?
    }

    /// An accepted token tells for whom API servers are.
    pub(super) fn learn_audience(&self, authorization: &HeaderValue) {
        let claims = bearer(authorization).and_then(claims::read);
        let of_account = claims.filter(|claims| claims.of_account().is_some());
        let is_new = of_account.is_some_and(|claims| self.issuer.borrow_mut().accepted(&claims));
        if is_new {
            self.keep_issuers_parts();
        }
    }

    fn keep_issuers_parts(&self) {
        let parts = self.issuer.borrow().parts();
        let mut parts = parts
            .into_iter()
            .map(|(part, value)| (part.to_owned(), value));
        // What is not taken is asked for again within the hour.
        let _ = self.cache.borrow_mut().replace_own(Own::Issuer, &mut parts);
    }

    /// Reads what a former run has kept.
    pub(super) async fn read_issuer(&self) {
        let read = self.cache.borrow_mut().read_own(Own::Issuer);
        for item in read.await.unwrap_or_default() {
            self.issuer.borrow_mut().restore(&item.key, &item.value);
        }
    }
}
