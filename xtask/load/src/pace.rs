//! When each order is due: an open loop, which no slow answer slows down.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// An order that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) number: u64,
    /// When it should be sent. Latency counts from here, so that time spent waiting for a free
    /// connection counts too.
    pub(crate) at: Instant,
    /// Whether it is measured, or only warms the shop up.
    pub(crate) counts: bool,
}

/// Where the connections take the next order from.
pub(crate) struct Pace(Mutex<Source>);

enum Source {
    /// As fast as the connections come for more.
    Greedy {
        next: u64,
        orders: u64,
    },
    Timed(UnboundedReceiver<Due>),
}

impl Pace {
    pub(crate) fn greedy(orders: u64) -> Pace {
        Pace(Mutex::new(Source::Greedy { next: 0, orders }))
    }

    /// `orders` at even distances from now on.
    ///
    /// A thread keeps the time: the runtime's timers round up to a millisecond, which would be
    /// counted as the shop's.
    pub(crate) fn timed(orders: u64, rate: u32, warm: Duration) -> Pace {
        let (sender, receiver) = unbounded_channel();
        let began = Instant::now();
        std::thread::spawn(move || {
            for number in 0..orders {
                let offset = Duration::from_secs_f64(number as f64 / f64::from(rate));
                let at = began + offset;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if sender.send(Due { number, at, counts: offset >= warm }).is_err() {
                    return;
                }
            }
        });
        Pace(Mutex::new(Source::Timed(receiver)))
    }

    /// The next order, when it is due; none after the last.
    pub(crate) async fn next(&self) -> Option<Due> {
        match &mut *self.0.lock().await {
            Source::Timed(receiver) => receiver.recv().await,
            Source::Greedy { next, orders } => {
                let number = *next;
                *next += 1;
                (number < *orders).then(|| Due { number, at: Instant::now(), counts: true })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_order_is_due_once_and_never_early() {
        let pace = Pace::timed(40, 2_000, Duration::from_millis(10));
        let mut dues = Vec::new();
        while let Some(due) = pace.next().await {
            assert!(Instant::now() >= due.at, "sent before it was due");
            dues.push(due);
        }
        assert_eq!(
            dues.iter().map(|due| due.number).collect::<Vec<_>>(),
            (0..40).collect::<Vec<_>>()
        );
        assert_eq!(dues.iter().filter(|due| !due.counts).count(), 20);
        assert_eq!(dues[39].at - dues[0].at, Duration::from_micros(19_500));
    }

    #[tokio::test]
    async fn a_greedy_pace_ends_after_its_orders() {
        let pace = Pace::greedy(3);
        let mut count = 0;
        while pace.next().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 3);
    }
}
