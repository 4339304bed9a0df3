//! The threads that step a log: the one place where this crate starts any.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::shared::Shared;
use crate::sync::atomic::Ordering;
use crate::sync::{Builder, JoinHandle, lock, wait, wait_timeout};
use crate::{Log, LogError};

const STACK: usize = 256 << 10;
/// How long house-keeping rests after an error.
const REST: Duration = Duration::from_secs(1);

/// Steps a log on threads of its own until it is stopped or dropped, which closes the log.
#[derive(Debug)]
pub struct Committer {
    log: Log,
    threads: Vec<JoinHandle<()>>,
}

impl Committer {
    /// Starts a thread that commits, and one that keeps house.
    pub fn start(log: &Log) -> Result<Self, LogError> {
        let mut committer = Self { log: log.clone(), threads: Vec::new() };
        committer.spawn("dhara-log-commit", commit)?;
        log.shared.has_committer.store(true, Ordering::Release);
        committer.spawn("dhara-log-house", keep_house)?;
        Ok(committer)
    }

    fn spawn(&mut self, name: &str, run: fn(&Log)) -> Result<(), LogError> {
        let log = self.log.clone();
        let thread = Builder::new().name(name.to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || run(&log));
        let failed = |error: io::Error| LogError::io("starting a thread", Path::new(name), error);
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }

    /// Commits what waits, closes the log and ends the threads.
    pub fn stop(mut self) -> Result<(), LogError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), LogError> {
        let closed = self.log.close();
        self.log.shared.has_committer.store(false, Ordering::Release);
        self.log.shared.queue_changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has told so on standard error already.
            drop(thread.join());
        }
        closed
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            // Whoever wants to know the outcome calls `stop`.
            drop(self.end());
        }
    }
}

fn commit(log: &Log) {
    while let Some(next) = log.shared.wait_for_work() {
        match next {
            Next::Commit => drop(log.commit_step()),
            Next::Mark => log.mark_step(),
            Next::Sync => log.sync_step(),
        }
    }
}

fn keep_house(log: &Log) {
    while log.shared.wait_for_housework() {
        while !lock(&log.shared.house).is_closed {
            match log.housekeep_step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    // A full disk is told to the commit that needs the space; the rest can wait.
                    log.shared.rest_house();
                    break;
                }
            }
        }
    }
}

enum Next {
    Commit,
    Mark,
    Sync,
}

impl Shared {
    /// Sleeps until there is something to commit; `None` when the log was closed.
    fn wait_for_work(&self) -> Option<Next> {
        let mut queue = lock(&self.queue);
        loop {
            queue.is_idle = false;
            if queue.is_urgent {
                return Some(Next::Commit);
            }
            if queue.is_closed {
                return None;
            }
            let has_lazy = !queue.waiting.is_empty();
            let is_marked = self.is_marked.load(Ordering::Acquire);
            let now = self.options.clock.now();
            let (delay, next) = match queue.sync_due.map(|due| due.since(now)) {
                _ if has_lazy => (Some(self.options.lazy_delay), Next::Commit),
                Some(within) if within < self.options.mark_delay => (Some(within), Next::Sync),
                // A mark is written with a sync.
                _ if !is_marked => (Some(self.options.mark_delay), Next::Mark),
                _ => (None, Next::Mark),
            };
            queue.is_idle = true;
            queue.has_alarm = delay.is_some();
            let Some(delay) = delay else {
                queue = wait(&self.queue_changed, queue);
                continue;
            };
            let (held, is_over) = wait_timeout(&self.queue_changed, &self.queue, queue, delay);
            queue = held;
            if is_over && !queue.is_urgent && !queue.is_closed {
                queue.is_idle = false;
                return Some(next);
            }
        }
    }

    /// Sleeps until there is something to do in the house, or it is time to look.
    fn wait_for_housework(&self) -> bool {
        let mut house = lock(&self.house);
        while !house.is_closed && house.wanted.is_none() && !house.is_called {
            let time = self.options.retention_interval;
            let (held, is_over) = wait_timeout(&self.house_changed, &self.house, house, time);
            house = held;
            if is_over {
                break;
            }
        }
        !house.is_closed
    }

    fn rest_house(&self) {
        let house = lock(&self.house);
        if !house.is_closed {
            drop(wait_timeout(&self.house_changed, &self.house, house, REST));
        }
    }

    pub(crate) fn stop_house(&self) {
        lock(&self.house).is_closed = true;
        self.house_changed.notify_all();
    }
}
