//! Events that wait for the API server: taken, kept on flash, and posted when it is back.

use super::Shared;
use super::own::USER_AGENT;
use crate::cache::own::Own;
use crate::limits;
use crate::local::journal::{Changed, Journal, Waiting};
use crate::store::Change;
use crate::upstream::{RequestBody, Way};
use http::{HeaderValue, Method, Request, StatusCode, header};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// The journal, and what became of what was in it.
#[derive(Default)]
pub struct Events {
    journal: RefCell<Journal>,
    came: Notify,
    pub posted: Cell<u64>,
    pub dropped: Cell<u64>,
}

impl Events {
    /// How many wait.
    pub fn waiting(&self) -> u64 {
        self.journal.borrow().all().len() as u64
    }

    /// See [`Journal::has`].
    pub fn has(&self, subject: &[u8; 32], path: &str, name: &str) -> bool {
        self.journal.borrow().has(subject, path, name)
    }
}

/// What the API server has made of an event.
enum Outcome {
    Posted,
    /// It will never take it.
    Never,
    Later,
}

impl Shared {
    /// Takes an event that cannot be posted now.
    pub fn journal_event(&self, name: &str, event: Waiting) {
        let value = event.to_bytes();
        let changed = self.events.journal.borrow_mut().put(name, event);
        count(&self.events.dropped, changed.dropped);
        self.keep_events(&changed, Some(&value));
        self.events.came.notify_one();
    }

    fn keep_events(&self, changed: &Changed, put: Option<&[u8]>) {
        let gone = changed.gone.iter();
        let mut changes: Vec<Change<'_>> = gone.map(|key| Change::Delete(key)).collect();
        if let Some(value) = put {
            let (key, tag) = (&*changed.key, 0);
            changes.push(Change::Put { key, value, tag });
        }
        let mut cache = self.cache.borrow_mut();
        if !cache.change_own(Own::Events, &changes) {
            let journal = self.events.journal.borrow();
            let all = journal.all().iter();
            let mut all = all.map(|(key, event)| (key.clone(), event.to_bytes()));
            // What is not taken now is offered again with the next change.
            let _ = cache.replace_own(Own::Events, &mut all);
        }
    }

    pub(super) async fn read_events(&self) {
        let read = self.cache.borrow_mut().read_own(Own::Events);
        for item in read.await.unwrap_or_default() {
            if let Some(event) = Waiting::from_bytes(&item.value) {
                self.events
                    .journal
                    .borrow_mut()
                    .restore(item.key.to_string(), event);
            }
        }
    }

    /// Posts what waits, the oldest first, and not all at once.
    pub(super) async fn post_events(self: Rc<Self>) {
        loop {
            if self.events.waiting() == 0 {
                self.events.came.notified().await;
                continue;
            }
            self.upstream.link().became_up().await;
            // What the node needs to live comes before what somebody may want to know about it.
            sleep(limits::EVENTS_AFTER).await;
            while !self.upstream.link().is_down() {
                let next = self.events.journal.borrow().first().cloned();
                let Some((key, event)) = next else {
                    break;
                };
                match self.post_event(&event).await {
                    Outcome::Posted => count(&self.events.posted, 1),
                    Outcome::Never => count(&self.events.dropped, 1),
                    Outcome::Later => break,
                }
                if self.events.journal.borrow_mut().remove(&key) {
                    let gone = vec![key];
                    self.keep_events(
                        &Changed {
                            gone,
                            ..Changed::default()
                        },
                        None,
                    );
                }
                sleep(limits::EVENTS_EVERY).await;
            }
        }
    }

    /// As whoever has posted it, and as nobody else: without that pair it is not posted.
    async fn post_event(&self, event: &Waiting) -> Outcome {
        if !self.rules.borrow().pairs.contains(&event.subject)
            && self.rules.borrow().node != Some(event.subject)
        {
            return Outcome::Never;
        }
        let request = Request::builder().method(Method::POST).uri(&event.path);
        let content_type = HeaderValue::from_str(&event.content_type);
        let (Ok(request), Ok(content_type)) = (request.body(()), content_type) else {
            return Outcome::Never;
        };
        let mut head = request.into_parts().0;
        head.headers.insert(header::CONTENT_TYPE, content_type);
        let agent = HeaderValue::from_static(USER_AGENT);
        head.headers.insert(header::USER_AGENT, agent);
        let body = RequestBody::Bytes(event.body.clone());
        let send = self.upstream.send(Way::Pair(event.subject), &head, body);
        let Ok(Ok(response)) = timeout(limits::EVENT_WAIT, send).await else {
            return Outcome::Later;
        };
        match response.status() {
            status if status.is_success() => Outcome::Posted,
            // An answer to it was lost, or whoever has posted it has done so again.
            StatusCode::CONFLICT => Outcome::Posted,
            StatusCode::UNAUTHORIZED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS => Outcome::Later,
            status if status.is_client_error() => Outcome::Never,
            _ => Outcome::Later,
        }
    }
}

fn count(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}
