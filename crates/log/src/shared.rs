//! What all handles of one log share.

use std::sync::{Arc, OnceLock, Weak};

use dhara_world::Timestamp;
use dhara_world::disk::Lock;

use crate::buffers::Buffers;
use crate::commit::{Pending, Work};
use crate::groups::Groups;
use crate::house::House;
use crate::journal::Journal;
use crate::notes::Notes;
use crate::producers::Producers;
use crate::segment::{Folder, Segment};
use crate::settled::{IndexCache, Settled};
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Condvar, Mutex, RwLock, lock};
use crate::tail::Tail;
use crate::ticket::Completer;
use crate::topics::Topics;
use crate::watch::{WatchEnd, Watcher};
use crate::{Damage, LogError, OpenReport, Options, Ticket};

/// How many damaged places are remembered: more tell nobody more.
const MOST_DAMAGE: usize = 1000;

/// The parts of a log. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The log itself, for those who wait for a commit of it.
    pub(crate) me: Weak<Shared>,
    pub(crate) options: Options,
    pub(crate) folder: Folder,
    pub(crate) report: OpenReport,
    pub(crate) salt: u64,
    pub(crate) epoch: u32,
    /// Held while files are settled, merged or given back: one such work at a time.
    pub(crate) settling: Mutex<()>,
    pub(crate) journal: Mutex<Journal>,
    /// Whether a mark on disk says that all was synced.
    pub(crate) is_marked: AtomicBool,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) queue_changed: Condvar,
    /// Whether a thread commits what waits.
    pub(crate) has_committer: AtomicBool,
    /// Held for writing while a commit is shown, so that readers see all of it or nothing.
    pub(crate) tail: RwLock<Tail>,
    pub(crate) topics: RwLock<Topics>,
    pub(crate) groups: RwLock<Groups>,
    pub(crate) notes: RwLock<Notes>,
    pub(crate) producers: RwLock<Producers>,
    /// The segments in use, in order; the last is the one that is written.
    pub(crate) segments: RwLock<Arc<Vec<Segment>>>,
    /// What is no longer in the journal.
    pub(crate) settled: RwLock<Arc<Settled>>,
    /// The number that the next settled file gets.
    pub(crate) next_settled: AtomicU64,
    pub(crate) indexes: Mutex<IndexCache>,
    pub(crate) buffers: Buffers,
    /// Whether the file system gives back space inside of a file.
    pub(crate) knows_holes: AtomicBool,
    pub(crate) syncs: Arc<AtomicU64>,
    /// What was found damaged since the log was opened.
    pub(crate) damage: Mutex<Vec<Damage>>,
    /// Held while a segment is made ready.
    pub(crate) making: Mutex<()>,
    pub(crate) house: Mutex<House>,
    pub(crate) house_changed: Condvar,
    pub(crate) watches: Mutex<Vec<WatchEnd>>,
    /// Counts the changes of topics since the log was opened.
    pub(crate) topic_changes: AtomicU64,
    pub(crate) topic_watchers: Mutex<Vec<Watcher>>,
    pub(crate) failure: OnceLock<LogError>,
    pub(crate) lock: Mutex<Option<Box<dyn Lock>>>,
}

/// What waits for the next commit.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) waiting: Vec<Pending>,
    /// The tickets of those that wait.
    pub(crate) completer: Completer,
    pub(crate) bytes: usize,
    /// Whether something waits that is not lazy.
    pub(crate) is_urgent: bool,
    /// Whether the committer's thread sleeps.
    pub(crate) is_idle: bool,
    /// Whether it wakes by itself, in time for a mark.
    pub(crate) has_alarm: bool,
    /// When what was written and not synced has to be.
    pub(crate) sync_due: Option<Timestamp>,
    pub(crate) is_closed: bool,
}

impl Queue {
    pub(crate) fn new(log: Weak<Shared>) -> Self {
        Self {
            waiting: Vec::new(),
            completer: Completer::new(log),
            bytes: 0,
            is_urgent: false,
            is_idle: false,
            has_alarm: false,
            sync_due: None,
            is_closed: false,
        }
    }
}

impl Shared {
    /// Puts something into the queue. What is lazy waits for company, or for its time.
    pub(crate) fn enqueue(&self, work: Work, span: usize, is_lazy: bool) -> Ticket {
        if let Some(error) = self.failure() {
            return Ticket::failed(error);
        }
        let mut queue = lock(&self.queue);
        if queue.is_closed {
            return Ticket::failed(LogError::Closed);
        }
        if queue.bytes.saturating_add(span) > self.options.max_queued_bytes && queue.bytes > 0 {
            return Ticket::failed(LogError::Overloaded { queued: queue.bytes });
        }
        let ticket = queue.completer.ticket(queue.waiting.len());
        let was_empty = queue.waiting.is_empty();
        queue.waiting.push(Pending { work, span });
        queue.bytes += span;
        let becomes_urgent = !is_lazy && !queue.is_urgent;
        queue.is_urgent |= !is_lazy;
        let wakes = queue.is_idle && (becomes_urgent || was_empty);
        if wakes {
            queue.is_idle = false;
        }
        drop(queue);
        if wakes {
            self.queue_changed.notify_all();
        }
        ticket
    }

    /// Takes all that waits, with the tickets of it.
    pub(crate) fn take_queue(&self) -> (Vec<Pending>, Completer) {
        let mut queue = lock(&self.queue);
        queue.bytes = 0;
        queue.is_urgent = false;
        let room = Vec::with_capacity(queue.waiting.len().min(4096));
        let waiting = std::mem::replace(&mut queue.waiting, room);
        let next = Completer::new(self.me.clone());
        (waiting, std::mem::replace(&mut queue.completer, next))
    }

    /// Remembers what was found damaged, once.
    pub(crate) fn note_damage(&self, found: Vec<Damage>) {
        let mut known = lock(&self.damage);
        for damage in found {
            if known.len() < MOST_DAMAGE && !known.contains(&damage) {
                known.push(damage);
            }
        }
    }

    /// Why the log takes no more appends.
    pub(crate) fn failure(&self) -> Option<LogError> {
        self.failure.get().cloned().or_else(|| {
            // A sync of the folder is never tried twice either.
            let what = self.folder.failure()?;
            Some(LogError::Failed { what: Arc::from(what) })
        })
    }

    /// As [`Shared::failure`], and tells those who wait.
    pub(crate) fn find_failure(&self) -> Option<LogError> {
        let is_new = self.failure.get().is_none();
        let what = self.folder.failure().filter(|_| is_new);
        what.map(|what| self.fail(what.to_owned())).or_else(|| self.failure())
    }

    /// The log takes no more appends from now on, and says why.
    pub(crate) fn fail(&self, what: String) -> LogError {
        let error = self.failure.get_or_init(|| LogError::Failed { what: Arc::from(what) }).clone();
        self.end_watches(&error);
        error
    }

    pub(crate) fn end_watches(&self, error: &LogError) {
        for watch in lock(&self.watches).iter() {
            watch.end(error);
        }
    }
}
