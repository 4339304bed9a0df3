//! When a failed delivery is tried again.

use std::time::Duration;

use crate::world::Random;

/// How often and after which waits a transient failure is retried.
///
/// The wait before attempt n + 1 is `base × factor^(n-1)`, at most `cap`, of which a random half is
/// taken off ("equal jitter": Brooker, "Exponential Backoff and Jitter", 2015), so that what failed
/// together does not come back together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    attempts: u32,
    base: Duration,
    factor: f64,
    cap: Duration,
}

impl Default for Retry {
    /// Ten attempts: after 100 ms, 200 ms, 400 ms ... at most 30 s; about a minute in all.
    fn default() -> Self {
        Self {
            attempts: 10,
            base: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// No second attempt.
    pub fn never() -> Self {
        Self::default().attempts(1)
    }

    /// Attempts without end: for work that must be done, whenever what it needs is back.
    pub fn forever() -> Self {
        Self::default().attempts(u32::MAX)
    }

    /// At most `attempts` attempts in all; at least one is made.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// The wait after the first attempt.
    #[must_use]
    pub fn base(self, base: Duration) -> Self {
        Self { base, ..self }
    }

    /// What each wait is multiplied by for the next; at least 1.
    #[must_use]
    pub fn factor(self, factor: f64) -> Self {
        Self { factor: factor.max(1.0), ..self }
    }

    /// The longest wait.
    #[must_use]
    pub fn cap(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// The wait after attempt number `attempt` (from 1) has failed, or `None` when it was the last.
    pub(crate) fn wait_after(&self, attempt: u32, random: &Random) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        // Past 2^64 the cap has long been reached; the bound keeps the power finite.
        let doublings = i32::try_from(attempt.saturating_sub(1).min(64)).unwrap_or(64);
        let full = self.base.as_secs_f64() * self.factor.powi(doublings);
        let full = full.min(self.cap.as_secs_f64());
        Some(Duration::from_secs_f64(full * (0.5 + 0.5 * random.unit())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_keep_at_least_half() {
        let retry = Retry::forever().base(Duration::from_millis(10)).cap(Duration::from_millis(80));
        let random = Random::from_seed(1);
        for (attempt, full) in [(1, 10.0), (2, 20.0), (3, 40.0), (4, 80.0), (5, 80.0), (4000, 80.0)]
        {
            let wait = retry.wait_after(attempt, &random).expect("forever").as_secs_f64() * 1e3;
            assert!((full / 2.0 - 0.01..=full + 0.01).contains(&wait), "{attempt}: {wait} ms");
        }
    }

    #[test]
    fn the_last_attempt_is_not_followed_by_a_wait() {
        let random = Random::from_seed(1);
        assert_eq!(Retry::never().wait_after(1, &random), None);
        assert!(Retry::default().attempts(3).wait_after(2, &random).is_some());
        assert_eq!(Retry::default().attempts(3).wait_after(3, &random), None);
    }
}
