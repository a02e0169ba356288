//! Who goes up first when the link is back: a bounded number of watches at a time, the node's own components before all
//! others. Without it, a hub with a thousand watches would meet a server that has just come up with all of them at once.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The turns of one kind of work.
pub struct Turns {
    free: Cell<usize>,
    /// The dearest first, and of two alike the one that waits longer.
    waiting: RefCell<BTreeMap<Ticket, Waker>>,
    next: Cell<u64>,
}

type Ticket = (Reverse<u8>, u64);

/// One turn; it is over when this is dropped.
pub struct Turn(Rc<Turns>);

impl Turns {
    pub fn new(at_once: usize) -> Rc<Turns> {
        Rc::new(Turns {
            free: Cell::new(at_once),
            waiting: RefCell::default(),
            next: Cell::new(0),
        })
    }

    /// Waits for a turn. The higher the rank, the earlier it comes.
    pub async fn turn(self: &Rc<Turns>, rank: u8) -> Turn {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let place = Place {
            turns: self,
            ticket: (Reverse(rank), number),
        };
        poll_fn(|cx| place.poll(cx)).await;
        drop(place);
        Turn(Rc::clone(self))
    }

    fn wake_first(&self) {
        if self.free.get() > 0
            && let Some((_, waker)) = self.waiting.borrow().first_key_value()
        {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.wake_first();
    }
}

/// A place among those who wait. Given up when dropped, and then the next one must be woken: the news that something is
/// free may have gone to this one.
struct Place<'a> {
    turns: &'a Turns,
    ticket: Ticket,
}

impl Place<'_> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.turns.waiting.borrow_mut();
        let first = (waiting.first_key_value()).is_none_or(|(first, _)| self.ticket <= *first);
        if first && self.turns.free.get() > 0 {
            self.turns.free.set(self.turns.free.get() - 1);
            return Poll::Ready(());
        }
        waiting.insert(self.ticket, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.waiting.borrow_mut().remove(&self.ticket);
        self.turns.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{LocalSet, yield_now};

    #[tokio::test(flavor = "current_thread")]
    async fn the_dearest_first_and_never_more_than_allowed() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let turns = Turns::new(2);
        let local = LocalSet::new();
        let held = (turns.turn(0).await, turns.turn(0).await);
        for (name, rank) in [("a", 0), ("b", 2), ("c", 1), ("d", 2), ("e", 0)] {
            let (turns, order) = (Rc::clone(&turns), Rc::clone(&order));
            local.spawn_local(async move {
                let turn = turns.turn(rank).await;
                order.borrow_mut().push(name);
                yield_now().await;
                drop(turn);
            });
        }
        // One who leaves while it waits lets the next one go.
        let leaves = Rc::clone(&turns);
        let leaver = local.spawn_local(async move { drop(leaves.turn(9).await) });
        local
            .run_until(async {
                for _ in 0..3 {
                    yield_now().await;
                }
                assert!(order.borrow().is_empty());
                drop(held);
                leaver.abort();
            })
            .await;
        local.await;
        assert_eq!(*order.borrow(), ["b", "d", "c", "a", "e"]);
        assert_eq!((turns.free.get(), turns.waiting.borrow().len()), (2, 0));
    }
}
