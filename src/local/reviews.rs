//! What the API server has answered to reviews, for a short time, in memory alone. Pure.

use crate::limits;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// All of a question: who asks, where, in which form, and every byte of it.
pub type ReviewKey = [u8; 32];

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub content_type: String,
    pub body: Bytes,
}

/// The answers. Bounded: the oldest makes room.
#[derive(Default)]
pub struct Reviews {
    /// The oldest first.
    all: Vec<(ReviewKey, Instant, Review)>,
}

impl Reviews {
    /// What was answered no longer ago than `age_max`.
    pub fn get(
        &self,
        key: &ReviewKey,
        age_max: Duration,
        now: Instant,
    ) -> Option<(&Review, Duration)> {
        let found = self.all.iter().find(|(of, ..)| of == key);
        let (_, at, review) = found?;
        let age = now.saturating_duration_since(*at);
        (age <= age_max).then_some((review, age))
    }

    pub fn put(&mut self, key: ReviewKey, review: Review, now: Instant) {
        self.all.retain(|(of, ..)| *of != key);
        if self.all.len() >= limits::REVIEWS_MAX {
            self.all.remove(0);
        }
        self.all.push((key, now, review));
    }

    /// Nothing is kept any more.
    pub fn clear(&mut self) {
        self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_for_a_while() {
        let mut reviews = Reviews::default();
        let review = |text: &'static str| Review {
            content_type: String::new(),
            body: Bytes::from_static(text.as_bytes()),
        };
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        reviews.put([1; 32], review("a"), now);
        reviews.put([1; 32], review("b"), now);
        let told = |reviews: &Reviews, after| {
            let found = reviews.get(&[1; 32], minute, now + after);
            found.map(|(review, age)| (review.body.clone(), age))
        };
        assert_eq!(told(&reviews, minute), Some(("b".into(), minute)));
        assert_eq!(told(&reviews, minute + Duration::from_millis(1)), None);
        assert_eq!(reviews.get(&[2; 32], minute, now), None);
        for n in 0..limits::REVIEWS_MAX {
            let mut key = [2; 32];
            key[..4].copy_from_slice(&(n as u32).to_le_bytes());
            reviews.put(key, review("c"), now);
        }
        assert_eq!(reviews.all.len(), limits::REVIEWS_MAX);
        assert_eq!(told(&reviews, minute), None, "the oldest made room");
    }
}
