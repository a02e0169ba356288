//! How long to wait between probes: twice as long each time, and never in step with ten thousand other hubs.

use std::time::Duration;

/// A small generator for jitter; not for secrets.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from the system's source; from a constant if that fails, which only costs spread.
    pub(crate) fn seeded() -> Random {
        let mut seed = [0; 8];
        let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed);
        Random(u64::from_le_bytes(seed) | 1)
    }

    /// xorshift64.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Evenly between nothing and `most`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.next() % (nanos + 1))
    }
}

/// The ceiling of the next wait.
pub(crate) struct Backoff {
    ceiling: Duration,
    least: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration) -> Backoff {
        Backoff {
            ceiling: least,
            least,
            most,
        }
    }

    /// The next wait: anything up to the ceiling (full jitter), but not so little that probes follow each other
    /// without a pause.
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        let wait = random.up_to(self.ceiling).max(self.least / 10);
        self.ceiling = (self.ceiling * 2).min(self.most);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.ceiling = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound_and_spreads() {
        let mut random = Random(88_172_645_463_325_252);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for secs in [1, 2, 4, 8, 16, 30, 30] {
            let wait = backoff.next(&mut random);
            assert!(
                wait <= Duration::from_secs(secs) && wait >= Duration::from_millis(100),
                "{wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= Duration::from_secs(1));
        let mean: f64 = (0..1000)
            .map(|_| random.up_to(Duration::from_secs(30)).as_secs_f64())
            .sum::<f64>()
            / 1000.0;
        assert!((13.0..17.0).contains(&mean), "{mean}");
    }
}
