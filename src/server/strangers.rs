//! Those whom the API server does not know, or not yet. One program in a loop with a token that is no good, or with none,
//! must not take the uplink from all others, so of each source only so many such requests go up: [`STRANGERS_AT_ONCE`], and
//! then one each [`STRANGER_EVERY`]. Those beyond wait, and are refused when they have waited too long.
//!
//! A token that turns out to be good costs nothing: what it took is given back, and who waits with it need not any longer.

use crate::limits::{
    STRANGER_EVERY, STRANGER_SOURCES_MAX, STRANGER_WAIT, STRANGERS_AT_ONCE, STRANGERS_WAITING_MAX,
    STRANGERS_WAITING_PER_SOURCE_MAX,
};
use crate::sys::owner::owner;
use std::cell::{OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Where a stranger comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From elsewhere, such as a pod.
    Address(IpAddr),
    /// A program on this machine, of which all have one address: by its user.
    User(u32),
}

/// A connection's ends, and its source when somebody has asked for it: the kernel is asked for a socket's owner only where
/// it matters.
pub struct Origin {
    from: SocketAddr,
    local: SocketAddr,
    source: OnceCell<Source>,
}

impl Origin {
    pub fn new(from: SocketAddr, local: SocketAddr) -> Origin {
        Origin {
            from,
            local,
            source: OnceCell::new(),
        }
    }

    pub fn source(&self) -> Source {
        *self.source.get_or_init(|| {
            let (from, local) = (
                self.from.ip().to_canonical(),
                self.local.ip().to_canonical(),
            );
            let is_here = from.is_loopback() || from == local;
            let user = is_here.then(|| owner(self.from, self.local).ok().flatten());
            user.flatten().map_or(Source::Address(from), Source::User)
        })
    }
}

/// Too many strangers come from there.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// The sources that were heard of lately.
#[derive(Default)]
pub struct Strangers {
    table: RefCell<Table>,
    freed: Notify,
}

#[derive(Default)]
struct Table {
    sources: heapless::Vec<Account, STRANGER_SOURCES_MAX>,
    waiting: usize,
}

/// What one source may still send.
#[derive(Debug, Clone, Copy)]
struct Account {
    source: Source,
    left: u32,
    /// When `left` was so much.
    at: Instant,
    waiting: usize,
}

impl Strangers {
    /// Returns when one more request of a stranger may go up, or when `is_known` says that it no longer is one's.
    pub async fn enter(&self, source: Source, is_known: impl Fn() -> bool) -> Result<(), TooMany> {
        let began = Instant::now();
        if self.table.borrow_mut().take(source, began) {
            return Ok(());
        }
        let _waiting = Waiting::begin(&self.table, source)?;
        loop {
            // Registered before the look, so that what is freed in between is not missed.
            let freed = self.freed.notified();
            let now = Instant::now();
            if is_known() || self.table.borrow_mut().take(source, now) {
                return Ok(());
            }
            if now >= began + STRANGER_WAIT {
                return Err(TooMany);
            }
            // Both arms are cancel-safe.
            tokio::select! {
                () = freed => {}
                () = sleep_until(now + STRANGER_EVERY) => {}
            }
        }
    }

    /// Of one that was let in, the API server has said that it knows it.
    pub fn known(&self, source: Source) {
        self.table.borrow_mut().give_back(source);
        self.freed.notify_waiters();
    }
}

impl Table {
    fn take(&mut self, source: Source, now: Instant) -> bool {
        let account = self.account(source, now);
        *account = account.refilled(now);
        let some_left = account.left > 0;
        account.left = account.left.saturating_sub(1);
        some_left
    }

    fn give_back(&mut self, source: Source) {
        if let Some(account) = self.sources.iter_mut().find(|a| a.source == source) {
            account.left = (account.left + 1).min(STRANGERS_AT_ONCE);
        }
    }

    /// The account of a source, new if there is none. Where there is no room the one that has most left goes, for it would
    /// be opened anew with little more.
    fn account(&mut self, source: Source, now: Instant) -> &mut Account {
        let found = self.sources.iter().position(|a| a.source == source);
        let at = found.unwrap_or_else(|| {
            let new = Account {
                source,
                left: STRANGERS_AT_ONCE,
                at: now,
                waiting: 0,
            };
            match self.sources.push(new) {
                Ok(()) => self.sources.len() - 1,
                Err(new) => {
                    let idle = self.sources.iter().enumerate();
                    let idle = idle.filter(|(_, account)| account.waiting == 0);
                    let most = idle.max_by_key(|(_, account)| account.refilled(now).left);
                    let most = most.map(|(at, _)| at);
                    // All wait only if more may wait than there are sources.
                    let at = most.unwrap_or_default();
                    self.sources[at] = new;
                    at
                }
            }
        });
        &mut self.sources[at]
    }
}

const _: () = assert!(STRANGERS_WAITING_MAX < STRANGER_SOURCES_MAX);

impl Account {
    fn refilled(self, now: Instant) -> Account {
        let since = now.saturating_duration_since(self.at);
        let more = u32::try_from(since.as_millis() / STRANGER_EVERY.as_millis());
        let left = self.left.saturating_add(more.unwrap_or(u32::MAX));
        match left < STRANGERS_AT_ONCE {
            true => Account {
                left,
                at: self.at + STRANGER_EVERY * more.unwrap_or_default(),
                ..self
            },
            false => Account {
                left: STRANGERS_AT_ONCE,
                at: now,
                ..self
            },
        }
    }
}

/// One who waits, as long as it is not dropped.
struct Waiting<'a> {
    table: &'a RefCell<Table>,
    source: Source,
}

impl<'a> Waiting<'a> {
    fn begin(table: &'a RefCell<Table>, source: Source) -> Result<Waiting<'a>, TooMany> {
        let mut all = table.borrow_mut();
        if all.waiting >= STRANGERS_WAITING_MAX {
            return Err(TooMany);
        }
        let account = all.account(source, Instant::now());
        if account.waiting >= STRANGERS_WAITING_PER_SOURCE_MAX {
            return Err(TooMany);
        }
        account.waiting += 1;
        all.waiting += 1;
        drop(all);
        Ok(Waiting { table, source })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = self.table.borrow_mut();
        all.waiting -= 1;
        let source = self.source;
        if let Some(account) = all.sources.iter_mut().find(|a| a.source == source) {
            account.waiting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    const LOOPED: Source = Source::User(1000);

    fn pod(n: u32) -> Source {
        Source::Address(IpAddr::from(n.to_be_bytes()))
    }

    async fn enters(strangers: &Strangers, source: Source) -> Result<Duration, TooMany> {
        let began = Instant::now();
        strangers.enter(source, || false).await?;
        Ok(began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn one_in_a_loop_is_slowed_and_others_are_not() {
        let strangers = Strangers::default();
        for _ in 0..STRANGERS_AT_ONCE {
            assert_eq!(enters(&strangers, LOOPED).await, Ok(Duration::ZERO));
        }
        for _ in 0..20 {
            assert_eq!(enters(&strangers, LOOPED).await, Ok(STRANGER_EVERY));
            assert_eq!(enters(&strangers, pod(7)).await, Ok(Duration::ZERO));
        }
        // It calms down, and has no more than at first.
        tokio::time::sleep(STRANGER_EVERY * (2 * STRANGERS_AT_ONCE)).await;
        for _ in 0..STRANGERS_AT_ONCE {
            assert_eq!(enters(&strangers, LOOPED).await, Ok(Duration::ZERO));
        }
        assert_eq!(enters(&strangers, LOOPED).await, Ok(STRANGER_EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_wait_and_are_refused() {
        let strangers = Rc::new(Strangers::default());
        let most = STRANGERS_AT_ONCE as usize + STRANGERS_WAITING_PER_SOURCE_MAX;
        let (entered, refused) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let local = tokio::task::LocalSet::new();
        for _ in 0..most + 10 {
            let (strangers, entered, refused) =
                (strangers.clone(), entered.clone(), refused.clone());
            local.spawn_local(async move {
                let count = match enters(&strangers, LOOPED).await {
                    Ok(_) => entered,
                    Err(TooMany) => refused,
                };
                count.set(count.get() + 1);
            });
        }
        local
            .run_until(tokio::time::sleep(Duration::from_millis(1)))
            .await;
        assert_eq!(entered.get(), STRANGERS_AT_ONCE as usize);
        assert_eq!(refused.get(), 10, "those beyond the bound, at once");
        local.await;
        assert_eq!(entered.get() + refused.get(), most + 10);
        let waited = STRANGER_WAIT.as_millis() / STRANGER_EVERY.as_millis();
        let late = entered.get() - STRANGERS_AT_ONCE as usize;
        assert!(late.abs_diff(waited as usize) <= 1, "{late}");
        assert_eq!(strangers.table.borrow().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_turns_out_to_be_known_costs_nothing() {
        let strangers = Strangers::default();
        for _ in 0..10 * STRANGERS_AT_ONCE {
            assert_eq!(enters(&strangers, LOOPED).await, Ok(Duration::ZERO));
            strangers.known(LOOPED);
        }
        for _ in 0..STRANGERS_AT_ONCE {
            assert_eq!(enters(&strangers, LOOPED).await, Ok(Duration::ZERO));
        }
        // Those who wait with the same token go on as soon as one of them is known.
        let is_known = Cell::new(false);
        let began = Instant::now();
        let wait = strangers.enter(LOOPED, || is_known.get());
        let tell = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            is_known.set(true);
            strangers.known(LOOPED);
        };
        let (entered, ()) = tokio::join!(wait, tell);
        assert_eq!(entered, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_who_owes_stays_in_it() {
        let strangers = Strangers::default();
        for _ in 0..STRANGERS_AT_ONCE {
            enters(&strangers, LOOPED).await.unwrap();
        }
        for n in 0..3 * STRANGER_SOURCES_MAX as u32 {
            assert_eq!(enters(&strangers, pod(n)).await, Ok(Duration::ZERO));
        }
        let count = strangers.table.borrow().sources.len();
        assert_eq!(count, STRANGER_SOURCES_MAX);
        assert_eq!(enters(&strangers, LOOPED).await, Ok(STRANGER_EVERY));
    }
}
