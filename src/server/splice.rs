//! A client's watch, from its first answer to its end: passed on while there is an API server to pass on from, held while
//! there is none, and taken up again where the client is. The client sees one answer.

use super::catch_up::Failed;
use super::handle::{Exchange, Peer, text};
use crate::access::{Caller, Who};
use crate::cache::answer::{self, List};
use crate::cache::watched::Follower;
use crate::filter::Judge;
use crate::filter::list::Fault;
use crate::hub::Shared;
use crate::limits;
use crate::object::Encoding;
use crate::reply::filtered;
use crate::reply::list::{as_now, write_added};
use crate::reply::script::{BrokenOff, Pen};
use crate::request::agent::Class;
use crate::request::{accept, classify};
use crate::upstream::{RequestBody, ResponseBody};
use crate::watch::ask::Ask;
use crate::watch::event::{self, EventType};
use crate::watch::relay::{Ended, Lens, Relay};
use crate::watch::told::{GoOn, Told};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A watch, before its answer begins.
pub struct Watch {
    pub shared: Rc<Shared>,
    pub peer: Rc<Peer>,
    pub who: Who,
    pub ask: Ask,
    pub encoding: Encoding,
    pub told: Told,
    /// What the program is that asks; `None`: one whose answers are not kept.
    pub class: Option<Class>,
    pub lifetime: Duration,
    /// What the client sees it through.
    pub lens: Option<Box<Lens>>,
}

/// What the answer begins with.
pub enum Begin {
    /// What the API server says.
    Up(Stream),
    /// Nothing. What the client holds, where that is kept.
    Silent(Option<Box<List>>),
    /// The objects of a list as ADDED; then the annotated bookmark, if the client waits for it.
    Replay(Box<List>),
    /// Nothing. More is kept than the client knows: when the link stays away, it shall list again.
    Behind,
    /// 410: the client shall list again. The answer ends after it.
    Expired,
}

/// An answer of the API server, and who follows it.
pub type Stream = Box<(ResponseBody, Option<Box<Follower>>)>;

/// A watch under way.
pub(super) struct Splice {
    pub(super) shared: Rc<Shared>,
    pub(super) peer: Rc<Peer>,
    pub(super) who: Who,
    pub(super) ask: Ask,
    pub(super) rank: u8,
    started: Instant,
    /// When the client, or else the hub, wants it to end.
    until: Instant,
    pub(super) relay: Relay,
    /// Streams in a row that were over at once.
    fruitless: u32,
    /// More is kept than the client was told before this watch began.
    behind: bool,
}

/// What became of asking the API server again.
enum Attempt {
    Up(Stream),
    /// It may be asked again, after this at the earliest.
    Later(Duration),
    /// It no longer has what came after the client's version.
    Expired,
    /// It says that to this client, or to this request, there is nothing more to say. The client shall hear it itself.
    Over,
}

impl Watch {
    /// Writes the answer. It ends when its time is over, when the hub ends, or when nothing true can follow.
    pub fn run(self, pen: Pen, begin: Begin) -> impl Future<Output = Result<(), BrokenOff>> {
        let started = Instant::now();
        // What a quiet watch holds is held a hundred times: made here, it is in the future once, and not once more as an
        // argument. What is rare is boxed.
        let mut stop = Box::pin(self.shared.draining());
        let mut splice = Splice {
            started,
            until: started + self.lifetime,
            relay: Relay::new(pen, self.encoding, self.told, self.lens),
            rank: self.class.map_or(0, |class| class as u8 + 1),
            shared: self.shared,
            peer: self.peer,
            who: self.who,
            ask: self.ask,
            fruitless: 0,
            behind: matches!(begin, Begin::Behind),
        };
        let (mut next, begin) = match begin {
            Begin::Up(stream) => (Some(stream), None),
            begin => (None, Some(begin)),
        };
        async move {
            if let Some(begin) = begin {
                next = Box::pin(splice.begin(begin, stop.as_mut())).await;
            }
            while let Some(stream) = next.take() {
                next = splice.pass(stream, stop.as_mut()).await;
            }
            splice.end().await
        }
    }
}

impl Splice {
    /// Passes one stream on to its end, and says what follows on it.
    async fn pass(
        &mut self,
        stream: Stream,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Stream> {
        let (mut body, follower) = *stream;
        let since = Instant::now();
        self.relay.begin(follower);
        let ended = loop {
            match self.relay.run(&mut body, stop.as_mut()).await {
                Ended::News => match Box::pin(self.reconsider()).await {
                    Ok(()) => {}
                    Err(ended) => break ended,
                },
                ended => break ended,
            }
        };
        drop(body);
        self.fruitless = match since.elapsed() < limits::FRUITLESS_MAX {
            true => self.fruitless.saturating_add(1),
            false => 0,
        };
        self.after(ended, stop).await
    }

    /// Says what can be said without an API server. `None`: the watch is over.
    async fn begin(
        &mut self,
        begin: Begin,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Stream> {
        match begin {
            Begin::Up(stream) => return Some(stream),
            Begin::Silent(held) => self.remember(held.map(|list| *list)),
            Begin::Replay(list) => self.replay(*list).await?,
            Begin::Behind => {}
            Begin::Expired => return self.expire(None).await,
        }
        self.hold(None, stop).await
    }

    /// What follows on a stream that is over.
    async fn after(
        &mut self,
        ended: Ended,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Stream> {
        match ended {
            Ended::Stopped | Ended::Failed => return None,
            Ended::Backwards => return self.expire(None).await,
            Ended::NotFiltered(why) => {
                filtered::note(&Fault::Cannot(why));
                return self.fail(500, "InternalError", NOT_FILTERED).await;
            }
            Ended::Expired(said) => return self.hold(Some(said), stop).await,
            // The API server has ended it because its time is over, not because it is restarted.
            Ended::Finished if Instant::now() + limits::WATCH_END_SLACK >= self.until => {
                return None;
            }
            Ended::Finished | Ended::Broke | Ended::News => {}
        }
        if self.relay.is_torn() {
            return None;
        }
        match self.relay.told.go_on() {
            GoOn::After | GoOn::Afresh => self.hold(None, stop).await,
            GoOn::End => None,
            GoOn::Fail => self.fail(503, "ServiceUnavailable", BROKE_OFF).await,
        }
    }

    /// Holds the watch until it goes on. `None`: it is over. `expired`: the API server has said that it no longer has what
    /// came after the client's version.
    async fn hold(
        &mut self,
        expired: Option<Bytes>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Stream> {
        let _holding = self.shared.held.hold();
        let until = self.until;
        tokio::select! {
            biased;
            () = stop => None,
            () = sleep_until(until) => None,
            // Boxed, so that a watch that is not held has no room for it.
            next = Box::pin(self.goes_on(expired)) => next,
        }
    }

    /// What the client holds, where that is kept. A few watches at a time: a thousand break at once, and each would take
    /// memory that is never given back.
    async fn look_what_is_held(&mut self) {
        let _turn = self.shared.looks.turn(self.rank).await;
        let follower = self.relay.take_follower();
        let is_table = self.ask.takes_tables();
        if self.relay.held.is_none()
            && let (false, Some(follower), Some(version)) =
                (is_table, follower, self.relay.told.version())
        {
            let held = Box::pin(follower.into_held(version)).await;
            self.remember(held);
        }
    }

    async fn goes_on(&mut self, mut expired: Option<Bytes>) -> Option<Stream> {
        self.look_what_is_held().await;
        let mut failed = self.fruitless;
        let mut least = Duration::ZERO;
        loop {
            self.wait(failed, least).await?;
            least = Duration::ZERO;
            failed = failed.saturating_add(1);
            if let Some(said) = &expired {
                match Box::pin(self.catch_up()).await {
                    Ok(()) => expired = None,
                    Err(Failed::Later) => continue,
                    Err(Failed::Over) => return None,
                    Err(why) => {
                        log::debug!("watch: the client must list again: {why}");
                        return self.expire(Some(said.clone())).await;
                    }
                }
            }
            let upstream = Rc::clone(&self.shared.upstream);
            let turn = tokio::select! {
                biased;
                // As in `wait`: with the place that it has now it would be first when the link is back.
                () = upstream.link().became_down() => continue,
                turn = self.shared.resumes.turn(self.rank) => turn,
            };
            let attempt = Box::pin(self.attempt()).await;
            drop(turn);
            match attempt {
                Attempt::Up(stream) => {
                    self.behind = false;
                    self.relay.told.goes_on();
                    if let Some(lens) = &mut self.relay.lens {
                        // Of what was news meanwhile, the client was told where pods are, and no more.
                        lens.news.mark_changed();
                    }
                    let resumed = &self.shared.held.resumed;
                    resumed.set(resumed.get() + 1);
                    return Some(stream);
                }
                Attempt::Later(wait) => least = wait,
                Attempt::Expired => expired = Some(self.expired()),
                Attempt::Over => return None,
            }
        }
    }

    /// Waits until the API server may be asked. `None`: the watch is over.
    async fn wait(&mut self, failed: u32, least: Duration) -> Option<()> {
        let upstream = Rc::clone(&self.shared.upstream);
        if !upstream.link().is_down() {
            tokio::select! {
                biased;
                // Whoever has failed as the link went waits for it as all others do, and comes back in its turn.
                () = upstream.link().became_down() => {}
                () = sleep(self.pause(failed).max(least)) => return Some(()),
            }
        }
        if self.relay.told.go_on() == GoOn::Afresh {
            Box::pin(self.begin_offline()).await?;
        }
        let link = upstream.link();
        // Hardly any watch has one, so there is no room for it in the others.
        let mut patience = (self.behind).then(|| Box::pin(sleep(limits::BEHIND_WAIT)));
        loop {
            let held = self.relay.held.is_some();
            let lens = self.relay.lens.as_mut().filter(|_| held);
            let news = async {
                match lens {
                    Some(lens) => drop(lens.news.changed().await),
                    None => pending().await,
                }
            };
            let out_of_patience = async {
                match &mut patience {
                    Some(patience) => patience.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = link.not_down() => break,
                () = out_of_patience => return self.expire(None).await.map(drop),
                () = news => {}
            }
            Box::pin(self.tell_moved()).await?;
        }
        sleep(self.spread()).await;
        Some(())
    }

    /// The link is gone before the client was told anything: what is kept is told instead.
    async fn begin_offline(&mut self) -> Option<()> {
        let head = self.ask.again(None, self.secs_left())?;
        let asked = classify(&head).ok()?;
        let exchange = Exchange::new(&self.shared, &self.peer, &asked, &head.headers);
        // What is kept is not told to a token that has run out since, or whose pod is gone.
        let found = match exchange.recognised(self.asker(&head.headers)?).await {
            Some(caller) if caller.who == self.who => {
                answer::find_list(&self.shared.cache, &asked, self.who, now()).await
            }
            _ => None,
        };
        match found {
            Some((list, _)) if list.encoding == self.relay.encoding => self.replay(list).await,
            _ if self.relay.told.waits_for_mark() => {
                self.fail(503, "ServiceUnavailable", BROKE_OFF).await;
                None
            }
            _ => Some(()),
        }
    }

    /// Tells the client what is elsewhere now than it was told, though no API server has said so. `None`: the watch is over.
    async fn tell_moved(&mut self) -> Option<()> {
        let Some((old, new)) = self.judges() else {
            return Some(());
        };
        let Some(held) = self
            .relay
            .held
            .as_ref()
            .filter(|_| !old.facts.has_pods_of(&new.facts))
        else {
            return Some(());
        };
        let new = old.with_pods_of(&new);
        let (was, is) = (old.of_kept(), new.of_kept());
        let list = held.list.clone();
        let (mut out, encoding) = (Vec::new(), list.encoding);
        let mut items = list.read();
        loop {
            let some = match items.next().await {
                Ok(Some(some)) => some,
                Ok(None) => break,
                Err(_) => return self.expire(None).await.map(drop),
            };
            for item in some {
                let now = as_now(is.as_ref(), encoding, &item.value);
                if as_now(was.as_ref(), encoding, &item.value) != now {
                    event::write(
                        encoding,
                        EventType::Modified,
                        &list.type_meta,
                        &now,
                        &mut out,
                    );
                }
            }
        }
        if !out.is_empty() {
            if !self.relay.told.takes_bookmarks() {
                // It would go on at the version of what it is told again, which is old.
                self.sends_back();
                return self.expire(None).await.map(drop);
            }
            if let Some(version) = self.relay.told.version() {
                event::write_bookmark(encoding, &list.type_meta, version, false, &mut out);
            }
            self.relay.write(Bytes::from(out)).await;
        }
        if let Some(lens) = &mut self.relay.lens {
            lens.stage.take(new);
        }
        Some(())
    }

    /// Tells a kept list. `None`: it cannot be read.
    async fn replay(&mut self, list: List) -> Option<()> {
        let judge = self.relay.lens.as_ref().map(|lens| lens.stage.judge());
        let now = judge.and_then(Judge::of_kept);
        let written = write_added(&self.relay.pen, &list, now.as_ref()).await;
        if written.is_err() {
            // Not 410: the list that the client would then ask for cannot be read either.
            let message = "edge-hub can no longer read what it kept of these objects";
            self.fail(500, "InternalError", message).await;
            return None;
        }
        // The API server sends none to those who take no bookmarks.
        if self.relay.told.waits_for_mark() && self.relay.told.takes_bookmarks() {
            let mut out = Vec::new();
            let version = &list.view.version;
            event::write_bookmark(list.encoding, &list.type_meta, version, true, &mut out);
            self.relay.write(Bytes::from(out)).await;
        }
        self.relay.wrote |= !list.view.is_empty();
        self.relay.told.everything(&list.view.version);
        self.remember(Some(list));
        Some(())
    }

    fn remember(&mut self, held: Option<List>) {
        let held = held.and_then(|list| self.shared.held.remember(list));
        self.relay.held = held.map(Box::new);
    }

    /// Asks the API server for what follows on what the client was told.
    async fn attempt(&mut self) -> Attempt {
        let told = &self.relay.told;
        let from = told.version().filter(|_| told.go_on() == GoOn::After);
        let Some(head) = self.ask.again(from, self.secs_left()) else {
            return Attempt::Over;
        };
        let Ok(asked) = classify(&head) else {
            return Attempt::Over;
        };
        let exchange = Exchange::new(&self.shared, &self.peer, &asked, &head.headers);
        let Some(caller) = self.asker(&head.headers) else {
            return Attempt::Over;
        };
        if exchange.introduce(caller).await.is_some() {
            return Attempt::Over;
        }
        // Whose a token is that began this watch without the API server is only known now.
        let Some(caller) = self.caller(&head.headers) else {
            return Attempt::Over;
        };
        if let Some(lens) = self
            .relay
            .lens
            .as_mut()
            .filter(|l| l.stage.judge().is_blind())
        {
            // The client was told what is kept, which needs no judge.
            match self.shared.filters.judge(&asked).await {
                Some(judge) if judge.is_blind() => return Attempt::Later(limits::OWN_RETRY_MIN),
                Some(judge) => lens.stage.take(judge),
                None => {}
            }
        }
        let way = exchange.way(caller);
        let send = self.shared.upstream.send(way, &head, RequestBody::Empty);
        let response = match timeout(limits::RESUME_WAIT, send).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                log::debug!("watch not taken up: {error}");
                return Attempt::Later(Duration::ZERO);
            }
            Err(_) => return Attempt::Later(Duration::ZERO),
        };
        let (head, body) = response.into_parts();
        let caller = exchange.learn(caller, head.status, &head.headers);
        match head.status.as_u16() {
            200 if self.goes_on_as_it_began(&head.headers) => {
                let (cache, encoding) = (&self.shared.cache, self.relay.encoding);
                let follower = exchange
                    .is_kept_for(&caller)
                    .then(|| Follower::new(cache, &asked, self.who, encoding));
                Attempt::Up(Box::new((body, follower.flatten().map(Box::new))))
            }
            410 if from.is_some() => Attempt::Expired,
            429 | 500..=599 => Attempt::Later(retry_after(&head.headers)),
            _ => Attempt::Over,
        }
    }

    /// Who asks, and their way up, which may be another by now, or none.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let caller = self.shared.whose(self.asker(headers)?);
        (caller.who == self.who).then_some(caller)
    }

    fn asker(&self, headers: &HeaderMap) -> Option<Caller> {
        let rules = self.shared.rules();
        self.peer.names(headers, &rules).ok()
    }

    fn goes_on_as_it_began(&self, headers: &HeaderMap) -> bool {
        accept::encoding_of(text(headers, header::CONTENT_TYPE)) == Some(self.relay.encoding)
            && matches!(text(headers, header::CONTENT_ENCODING), "" | "identity")
    }

    /// Whole seconds that the watch has left, and never none: to a server that is no end.
    pub(super) fn secs_left(&self) -> u64 {
        let left = self.until.saturating_duration_since(Instant::now());
        (left + Duration::from_millis(999)).as_secs().max(1)
    }

    /// How long this watch waits when the link is back: the node's own components come first, and ten thousand hubs
    /// must not come back in the same moment.
    fn spread(&self) -> Duration {
        let most = self.shared.config.borrow().probe_min * limits::RESUME_SPREAD_FACTOR;
        let quarter = most / 4;
        match self.rank > Class::Named as u8 + 1 {
            true => self.up_to(quarter),
            false => quarter + self.up_to(most - quarter),
        }
    }

    /// How long it waits after so many failures.
    fn pause(&self, failed: u32) -> Duration {
        if failed == 0 {
            return Duration::ZERO;
        }
        let config = self.shared.config.borrow();
        let (least, most) = (config.probe_min, config.probe_max);
        let ceiling = least.saturating_mul(1 << (failed - 1).min(16)).min(most);
        drop(config);
        self.up_to(ceiling).max(least / 10)
    }

    fn up_to(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.shared.random() % (micros + 1))
    }

    /// Tells the client to list again, in the API server's own words where it has said so. Always the end.
    async fn expire(&mut self, said: Option<Bytes>) -> Option<Stream> {
        let expired = &self.shared.held.expired;
        expired.set(expired.get() + 1);
        let said = said.unwrap_or_else(|| self.expired());
        self.relay.write(said).await;
        None
    }

    /// As the API server would say it.
    fn expired(&self) -> Bytes {
        let message = "too old resource version: edge-hub knows a newer one; list again";
        self.error(410, "Expired", message)
    }

    /// Ends with an error. Always the end.
    async fn fail(&mut self, code: u16, reason: &str, message: &str) -> Option<Stream> {
        let error = self.error(code, reason, message);
        self.relay.write(error).await;
        None
    }

    fn error(&self, code: u16, reason: &str, message: &str) -> Bytes {
        let mut out = Vec::new();
        event::write_error(self.relay.encoding, code, reason, message, &mut out);
        Bytes::from(out)
    }

    async fn end(&self) -> Result<(), BrokenOff> {
        if self.relay.is_torn() {
            return Err(BrokenOff("a watch event was torn"));
        }
        if !self.relay.wrote {
            sleep_until(self.started + limits::HELD_MIN).await;
        }
        Ok(())
    }
}

const NOT_FILTERED: &str =
    "edge-hub: an event cannot be read by the filters that answers to this program must pass";
const BROKE_OFF: &str = "edge-hub: the watch broke off before its initial events were complete";

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// What the API server wants to be waited for, within what anybody would wait.
fn retry_after(headers: &HeaderMap) -> Duration {
    let secs = text(headers, header::RETRY_AFTER).parse().unwrap_or(0);
    Duration::from_secs(secs).min(limits::RETRY_AFTER_MAX)
}
