//! How much may be written: so many bytes a day, refilled evenly, a quarter kept for what a node cannot do without. What a
//! quiet day leaves is for the next one: a day may take twice as much, days on end may not.

use super::collection::Urgency;
use crate::limits;
use crate::store::Class;
use std::time::Duration;

/// A bucket of bytes.
#[derive(Debug, Clone)]
pub struct Budget {
    daily: u64,
    /// Below nothing where reclaim had to carry more than was left: then that is made good first.
    left: i64,
    at: Duration,
}

const DAY: u64 = 86_400;

impl Budget {
    /// `left`: what the process before left, as far as it is known.
    pub fn new(daily: u64, left: Option<u64>, now: Duration) -> Budget {
        Budget {
            daily,
            left: whole(left.unwrap_or(daily).min(daily)),
            at: now,
        }
    }

    pub fn refill(&mut self, now: Duration) {
        let gain =
            self.daily as u128 * now.saturating_sub(self.at).as_millis() / (1000 * DAY as u128);
        if gain > 0 {
            self.left = whole(self.daily).min(self.left.saturating_add(whole(gain as u64)));
            self.at = now;
        }
    }

    pub fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(whole(bytes));
    }

    pub fn left(&self) -> u64 {
        self.left.max(0) as u64
    }

    /// Of three quarters of the day's bytes, the percentage that is used.
    fn used(&self) -> u64 {
        let usable = self.daily / 4 * 3;
        let left = self.left().saturating_sub(self.daily - usable);
        100 - 100 * left / usable.max(1)
    }

    /// True if a collection of this class may be written now.
    pub fn allows(&self, class: Class, urgency: Urgency) -> bool {
        match (self.used(), class) {
            _ if self.left() < limits::RING_BUDGET_LEAST_BYTES => false,
            (0..80, _) => true,
            (80..100, class) => class > 0,
            // The last quarter is for what comes, goes or changes for the pinned.
            (_, class) => class > 1 && urgency == Urgency::Soon,
        }
    }

    /// True if a list that is written ahead may take more. None takes the last of the day's bytes, an eighth: it could be
    /// given up halfway, and what only changes, however little, could not be written any more either.
    pub fn has_for_list(&self) -> bool {
        self.left() > self.daily / 8
    }

    /// How much longer than usual late changes wait.
    pub fn patience(&self) -> u32 {
        if self.used() < 50 { 1 } else { 4 }
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_degrades_by_rule_and_refills_evenly() {
        let mib = 1 << 20;
        let mut budget = Budget::new(32 * mib, None, Duration::ZERO);
        let allowed = |budget: &Budget| {
            [0, 1, 2].map(|class| {
                [Urgency::Late, Urgency::Soon].map(|urgency| budget.allows(class, urgency))
            })
        };
        assert_eq!(allowed(&budget), [[true; 2]; 3]);
        assert_eq!(budget.patience(), 1);
        budget.spend(13 * mib);
        assert_eq!((allowed(&budget), budget.patience()), ([[true; 2]; 3], 4));
        budget.spend(7 * mib);
        assert_eq!(allowed(&budget), [[false; 2], [true; 2], [true; 2]]);
        budget.spend(5 * mib);
        assert_eq!(allowed(&budget), [[false; 2], [false; 2], [false, true]]);
        assert!(budget.has_for_list());
        budget.spend(3 * mib);
        assert!(!budget.has_for_list());
        assert_eq!(allowed(&budget), [[false; 2], [false; 2], [false, true]]);
        budget.spend(4 * mib);
        assert_eq!((allowed(&budget), budget.left()), ([[false; 2]; 3], 0));
        // A quarter of a day later there is a quarter of it.
        budget.refill(Duration::from_secs(DAY / 4));
        assert_eq!(budget.left(), 8 * mib);
        budget.refill(Duration::from_secs(10 * DAY));
        assert_eq!(budget.left(), 32 * mib);
    }

    #[test]
    fn what_was_taken_too_much_is_made_good() {
        let mib = 1 << 20;
        let mut budget = Budget::new(32 * mib, Some(mib), Duration::ZERO);
        budget.spend(9 * mib);
        budget.refill(Duration::from_secs(DAY / 4));
        assert_eq!(budget.left(), 0);
        budget.refill(Duration::from_secs(DAY / 2));
        assert_eq!(budget.left(), 8 * mib);
        budget.spend(u64::MAX);
        budget.spend(u64::MAX);
        assert_eq!(budget.left(), 0);
    }

    #[test]
    fn refills_of_less_than_a_byte_are_not_lost() {
        let mut budget = Budget::new(86_400, Some(0), Duration::ZERO);
        for step in 1..=1000 {
            budget.refill(Duration::from_millis(step * 100));
        }
        assert_eq!(budget.left(), 100);
    }
}
