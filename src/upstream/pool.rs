//! The connections to one server: a pool per way, and who waits for whom.

use super::body::told;
use super::connect::{Connected, Known, Offer, connect};
use super::error::ConnectError;
use super::http1::{self, H1Conn, Idle};
use super::http2::{self, Ended, H2Conn, Pulse, Ticket, Vitals};
use super::{Tls, Way};
use crate::config::ServerUrl;
use crate::health::{Input, Link, Readiness, Reason};
use crate::limits::{H1_CONNECTIONS_PER_POOL_MAX, H2_CONNECTIONS_PER_POOL_MAX};
use rustls::ClientConfig;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The tasks that move connections' bytes. They end with the upstream.
#[derive(Default)]
pub(crate) struct Tasks(RefCell<JoinSet<()>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut set = self.0.borrow_mut();
        while set.try_join_next().is_some() {}
        set.spawn_local(task);
    }
}

/// How patient connections are.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) pulse: Pulse,
}

/// What connections are made with.
pub(crate) struct Means {
    pub(crate) tls: Tls,
    pub(crate) patience: Patience,
    pub(crate) tasks: Tasks,
}

/// One API server.
pub(crate) struct Server {
    pub(crate) index: usize,
    pub(crate) url: ServerUrl,
    pub(crate) link: Rc<Link>,
    pub(crate) last_error: RefCell<Option<String>>,
    known: Known,
    pub(crate) readiness: Cell<Readiness>,
    pools: RefCell<HashMap<(Way, Offer), Rc<Pool>>>,
    /// Every HTTP/2 connection that is not at its end, oldest first.
    live: RefCell<Vec<Rc<Vitals>>>,
    /// Ends the HTTP/1.1 connections, which have no PING of their own to find out.
    cut: Rc<Notify>,
    /// It refused to speak HTTP/1.1.
    http2_only: Cell<bool>,
}

/// The connections of one way to one server.
pub(crate) struct Pool {
    /// What ALPN chose last.
    http1: Cell<bool>,
    http1_places: Arc<Semaphore>,
    h2: RefCell<Vec<Rc<H2Conn>>>,
    idle: Rc<Idle>,
    /// Held by who is connecting: the others wait for the outcome, they do not connect beside.
    gate: Mutex<()>,
    /// How many attempts to connect have ended, and how the last one did.
    outcome: RefCell<(u64, Option<ConnectError>)>,
    room: Rc<Notify>,
}

/// A connection, or a place on one.
pub(crate) enum Lease {
    H2(Rc<H2Conn>, Ticket),
    H1(H1Conn, Rc<Idle>),
}

impl Server {
    pub(crate) fn new(index: usize, url: ServerUrl, link: Rc<Link>) -> Server {
        Server {
            index,
            url,
            link,
            last_error: RefCell::new(None),
            known: Known::default(),
            readiness: Cell::default(),
            pools: RefCell::default(),
            live: RefCell::default(),
            cut: Rc::default(),
            http2_only: Cell::new(false),
        }
    }

    fn pool(&self, way: Way, offer: Offer) -> Rc<Pool> {
        self.pools
            .borrow_mut()
            .entry((way, offer))
            .or_default()
            .clone()
    }

    /// A connection on which nothing was said yet.
    pub(crate) async fn connect(
        &self,
        tls: &ClientConfig,
        offer: Offer,
        own_certificate: bool,
        deadline: Instant,
    ) -> Result<Connected, ConnectError> {
        let made = connect(
            &self.url,
            tls,
            offer,
            own_certificate,
            &self.known,
            deadline,
        )
        .await;
        match &made {
            Err(ConnectError::Link(Reason::Tls(text)))
            | Err(ConnectError::OurCertificate(text))
                if text.contains("NoApplicationProtocol") && offer == Offer::Http1 =>
            {
                self.http2_only.set(true);
                connect(
                    &self.url,
                    tls,
                    Offer::Both,
                    own_certificate,
                    &self.known,
                    deadline,
                )
                .await
            }
            _ => made,
        }
    }

    /// A connection for one request: one that is there, or a new one.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        way: Way,
        offer: Offer,
        means: &Means,
    ) -> Result<Lease, ConnectError> {
        loop {
            // Looked up each time: a reload may have put a new one in its place.
            let pool = self.pool(way, offer);
            if let Some(lease) = pool.take() {
                return Ok(lease);
            }
            // Registered before the last look, so that a place given up in between is not missed.
            let room = pool.room.notified();
            let h2_full = pool.h2.borrow().len() >= H2_CONNECTIONS_PER_POOL_MAX;
            if !pool.http1.get() && h2_full {
                room.await;
                continue;
            }
            let place = if pool.http1.get() {
                // Both arms are cancel-safe. A connection that is given back keeps its place, and is as good as one.
                tokio::select! {
                    biased;
                    place = pool.http1_place() => place,
                    () = pool.idle.given() => continue,
                }
            } else {
                None
            };
            let seen = pool.outcome.borrow().0;
            let gate = pool.gate.lock().await;
            if let Some(lease) = pool.take() {
                return Ok(lease);
            }
            let (ended, last) = pool.outcome.borrow().clone();
            if let (true, Some(error)) = (ended != seen, last) {
                return Err(error);
            }
            // HTTP/1.1 carries one request a connection: there nobody can wait for another's.
            let gate = (!pool.http1.get()).then_some(gate);
            // Rare, and far bigger than all that a request needs otherwise.
            let made = Box::pin(self.open(way, offer, means, &pool, place)).await;
            self.note(&pool, &made);
            drop(gate);
            if let Some(lease) = made? {
                return Ok(lease);
            }
        }
    }

    /// Connects for a pool. Gives the lease of an HTTP/1.1 connection; an HTTP/2 connection is in the pool now.
    async fn open(
        self: &Rc<Self>,
        way: Way,
        offer: Offer,
        means: &Means,
        pool: &Rc<Pool>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Lease>, ConnectError> {
        let config = means.tls.config(way).ok_or(ConnectError::NoIdentity)?;
        let deadline = Instant::now() + means.patience.connect;
        let own = way.has_certificate();
        let connected = self.connect(&config, offer, own, deadline).await?;
        pool.http1.set(!connected.h2);
        if !connected.h2 {
            let permit = match place {
                Some(place) => Some(place),
                None => pool.http1_place().await,
            };
            let (conn, connection) = http1::open(connected, permit)
                .await
                .map_err(|e| ConnectError::Link(Reason::Reset(e.to_string())))?;
            let (server, cut) = (self.clone(), self.cut.clone());
            means.tasks.spawn(async move {
                let ended = tokio::select! {
                    biased;
                    ended = connection => ended,
                    () = cut.notified() => return,
                };
                if let Err(error) = ended
                    && !error.is_user()
                    && !error.is_canceled()
                {
                    server.fail(Reason::Reset(told(&error)));
                }
            });
            return Ok(Some(Lease::H1(conn, pool.idle.clone())));
        }
        let opening = http2::open(connected, pool.room.clone(), own);
        let (conn, driver) = tokio::time::timeout_at(deadline, opening)
            .await
            .unwrap_or(Err(ConnectError::Link(Reason::TimedOut)))?;
        self.live.borrow_mut().push(conn.vitals.clone());
        let (server, vitals) = (self.clone(), conn.vitals.clone());
        let pulse = means.patience.pulse;
        means.tasks.spawn(async move {
            let ended = http2::drive(driver, pulse, |v| server.is_newest(v)).await;
            server.ended(&vitals, ended, pulse);
        });
        pool.h2.borrow_mut().push(Rc::new(conn));
        Ok(None)
    }

    /// Tells the link, and those that waited, how an attempt to connect ended.
    fn note(&self, pool: &Pool, made: &Result<Option<Lease>, ConnectError>) {
        let error = made.as_ref().err().cloned();
        match &error {
            // Only a probe ends an outage: a gateway that answers 503 takes connections too.
            None if self.link.usable(self.index) => self.link.feed(self.index, Input::Answered),
            None | Some(ConnectError::NoIdentity) => {}
            Some(ConnectError::OurCertificate(text)) => {
                *self.last_error.borrow_mut() = Some(text.clone());
            }
            Some(ConnectError::Link(reason)) => self.fail(reason.clone()),
        }
        let mut outcome = pool.outcome.borrow_mut();
        outcome.0 += 1;
        outcome.1 = error;
    }

    /// Something failed that says: no request can succeed now.
    pub(crate) fn fail(&self, reason: Reason) {
        *self.last_error.borrow_mut() = Some(reason.to_string());
        let input = match reason {
            // A connection that was reset before it began decides nothing; the probe that follows does.
            Reason::Reset(_) => Input::Broken(reason),
            reason => Input::Failed(reason),
        };
        self.link.feed(self.index, input);
    }

    fn ended(&self, vitals: &Rc<Vitals>, ended: Ended, pulse: Pulse) {
        self.live.borrow_mut().retain(|v| !Rc::ptr_eq(v, vitals));
        self.sweep();
        match ended {
            Ended::Agreed => {}
            Ended::Broken(text) => {
                let reason = Reason::Reset(text);
                *self.last_error.borrow_mut() = Some(reason.to_string());
                self.link.feed(self.index, Input::Broken(reason));
            }
            // One connection may be lost to a forgetful NAT while others live.
            Ended::Silent if self.heard_within(pulse.after + pulse.wait) => {
                self.link.feed(self.index, Input::Broken(Reason::PingLost));
            }
            Ended::Silent => {
                self.abandon();
                self.fail(Reason::PingLost);
            }
        }
    }

    fn heard_within(&self, most: Duration) -> bool {
        self.live
            .borrow()
            .iter()
            .any(|v| v.heard.at().elapsed() < most)
    }

    fn is_newest(&self, vitals: &Rc<Vitals>) -> bool {
        let live = self.live.borrow();
        live.iter()
            .rev()
            .find(|v| !v.is_leaving())
            .is_some_and(|v| Rc::ptr_eq(v, vitals))
    }

    /// Takes out of the pools what cannot be used again.
    pub(crate) fn sweep(&self) {
        for pool in self.pools.borrow().values() {
            pool.h2.borrow_mut().retain(|conn| conn.open());
            pool.idle.prune();
        }
    }

    /// Closes connections that nobody has used for so long, but not the last one, by which the link is watched.
    pub(crate) fn close_idle(&self, most: Duration) {
        self.sweep();
        let now = Instant::now();
        let live = self.live.borrow().clone();
        let mut left = live.iter().filter(|v| !v.is_leaving()).count();
        for vitals in &live {
            if left > 1
                && !vitals.is_leaving()
                && vitals.idle_for(now).is_some_and(|idle| idle >= most)
            {
                vitals.leave();
                left -= 1;
            }
        }
        self.sweep();
    }

    /// After a black hole: what carried nothing, or speaks HTTP/1.1, is as dead, and nobody should find that out with
    /// a request.
    pub(crate) fn abandon(&self) {
        self.cut.notify_waiters();
        for vitals in self.live.borrow().iter().filter(|v| v.streams() == 0) {
            vitals.leave();
        }
        self.pools
            .borrow()
            .values()
            .for_each(|pool| pool.idle.clear());
        self.sweep();
    }

    /// New requests of these ways get new connections; streams that run go on to their end.
    pub(crate) fn renew(&self, changed: &dyn Fn(Way) -> bool) {
        self.pools.borrow_mut().retain(|(way, _), pool| {
            if !changed(*way) {
                return true;
            }
            pool.h2.borrow().iter().for_each(|c| c.vitals.leave());
            pool.room.notify_waiters();
            // Without its pool, a connection that is at work over HTTP/1.1 cannot come back.
            false
        });
    }

    /// Whether some connection has pings, which tell about the link.
    pub(crate) fn is_watched(&self) -> bool {
        !self.live.borrow().is_empty()
    }

    /// Connections and streams, now.
    pub(crate) fn load(&self) -> (usize, usize) {
        let pools = self.pools.borrow();
        let idle: usize = pools.values().map(|pool| pool.idle.len()).sum();
        let busy: usize = pools.values().map(|pool| pool.http1_taken()).sum();
        let live = self.live.borrow();
        let streams: usize = live.iter().map(|v| v.streams()).sum();
        (live.len() + busy, streams + busy.saturating_sub(idle))
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            http1: Cell::new(false),
            http1_places: Arc::new(Semaphore::new(H1_CONNECTIONS_PER_POOL_MAX)),
            h2: RefCell::default(),
            idle: Rc::default(),
            gate: Mutex::default(),
            outcome: RefCell::default(),
            room: Rc::default(),
        }
    }
}

impl Pool {
    async fn http1_place(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so never refused.
        self.http1_places.clone().acquire_owned().await.ok()
    }

    fn http1_taken(&self) -> usize {
        H1_CONNECTIONS_PER_POOL_MAX - self.http1_places.available_permits()
    }

    fn take(&self) -> Option<Lease> {
        let found = self
            .h2
            .borrow()
            .iter()
            .find_map(|conn| Some((conn.clone(), conn.ticket()?)));
        self.h2
            .borrow_mut()
            .retain(|conn| !conn.vitals.is_leaving());
        match found {
            Some((conn, ticket)) => Some(Lease::H2(conn, ticket)),
            None => self
                .idle
                .take()
                .map(|conn| Lease::H1(conn, self.idle.clone())),
        }
    }
}
