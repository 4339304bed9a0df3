//! What was measured, as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// Everything a run found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// From due to the 201.
    pub(crate) accepted: Vec<Duration>,
    /// From due to seen confirmed.
    pub(crate) confirmed: Vec<Duration>,
    /// From due to sent: what the generator itself was late.
    pub(crate) late: Vec<Duration>,
    pub(crate) rejected: u64,
    /// Followed and never seen to end.
    pub(crate) unseen: usize,
    pub(crate) sent: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn json(self) -> Value {
        json!({
            "sent": self.sent,
            "errors": self.errors,
            "firstError": self.first_error,
            "accepted": distribution(self.accepted),
            "confirmed": distribution(self.confirmed),
            "late": distribution(self.late),
            "rejected": self.rejected,
            "unseen": self.unseen,
            "seconds": self.took.as_secs_f64(),
            "cpuSeconds": cpu_seconds(),
        })
    }
}

/// Count and percentiles, in microseconds.
fn distribution(mut values: Vec<Duration>) -> Value {
    values.sort_unstable();
    let micros = |share: f64| {
        let rank = (values.len() as f64 * share).ceil() as usize;
        values.get(rank.max(1) - 1).map_or(0, Duration::as_micros) as u64
    };
    json!({ "count": values.len(), "p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "max": micros(1.0) })
}

/// Processor time that this process has used so far.
fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = (1..=100).map(Duration::from_micros).collect();
        let found = distribution(values);
        assert_eq!(found, json!({ "count": 100, "p50": 50, "p90": 90, "p99": 99, "max": 100 }));
        assert_eq!(distribution(Vec::new())["p99"], 0);
        assert_eq!(distribution(vec![Duration::from_micros(7)])["p50"], 7);
    }
}
