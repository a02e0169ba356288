//! The watches without an API server: how many there are, what they hold, and what became of them.

use crate::cache::answer::List;
use crate::limits;
use std::cell::Cell;
use std::rc::Rc;

/// Counts of all watches.
#[derive(Default)]
pub struct Held {
    watches: Cell<u64>,
    objects: Cell<usize>,
    /// Watches that went on, as their clients did not notice.
    pub resumed: Cell<u64>,
    /// Of these, the ones of which the API server had forgotten the version: the hub has told what was different.
    pub caught_up: Cell<u64>,
    /// Watches whose clients were told to list again.
    pub expired: Cell<u64>,
}

impl Held {
    /// Counts a watch as held until the guard is dropped.
    pub fn hold(self: &Rc<Held>) -> Holding {
        self.watches.set(self.watches.get() + 1);
        Holding(Rc::clone(self))
    }

    /// How many watches are held now.
    pub fn watches(&self) -> u64 {
        self.watches.get()
    }

    /// Keeps in mind where what the client holds is kept, if there is room for that.
    pub fn remember(self: &Rc<Held>, list: List) -> Option<Remembered> {
        let objects = list.view.len();
        if self.objects.get() + objects > limits::HELD_OBJECTS_MAX {
            return None;
        }
        self.objects.set(self.objects.get() + objects);
        let held = Rc::clone(self);
        Some(Remembered {
            list,
            objects,
            held,
        })
    }
}

/// A watch that is held.
pub struct Holding(Rc<Held>);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.watches.set(self.0.watches.get() - 1);
    }
}

/// What a client holds, as it is kept: neither keys nor values, but where they lie.
pub struct Remembered {
    pub list: List,
    objects: usize,
    held: Rc<Held>,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.held
            .objects
            .set(self.held.objects.get() - self.objects);
    }
}
