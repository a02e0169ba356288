//! Choices that can be made again from a seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// xorshift64*.
pub struct Rng {
    seed: u64,
    state: u64,
}

impl Rng {
    /// From `EDGE_HUB_TEST_SEED`, or else from the clock.
    pub fn new() -> Rng {
        let given = std::env::var("EDGE_HUB_TEST_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
        Rng::from(seed)
    }

    fn from(seed: u64) -> Rng {
        Rng {
            seed,
            state: seed | 1,
        }
    }

    /// What it began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Another one, for another thread.
    pub fn fork(&mut self) -> Rng {
        Rng::from(self.next())
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}
