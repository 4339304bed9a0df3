//! A log that does everything it can, with a model beside it that knows what comes of it.

use std::sync::Arc;
use std::time::Duration;

use dhara_log::{Log, OpenReport, Options, TopicPartition};

use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Random, Timestamp};

use super::check::difference;
use super::model::{Books, Facts, Model};

pub(crate) const DIR: &str = "/log";

/// Something that was done: in the journal's order, and there after a crash as a whole or not at all.
#[derive(Debug)]
pub(crate) struct Op {
    /// The moment before it was begun.
    pub(crate) started: usize,
    /// The state after it.
    pub(crate) after: Model,
    pub(crate) what: String,
}

/// A workload, and everything that it did.
pub(crate) struct Run {
    pub(crate) random: Random,
    pub(crate) disk: SimDisk,
    pub(crate) options: Options,
    log: Option<Log>,
    /// What was there before the first operation.
    pub(crate) before: Model,
    pub(crate) ops: Vec<Op>,
    /// From a moment on, so many operations are durable.
    pub(crate) durable: Vec<(usize, usize)>,
    /// From a moment on, this epoch is durable.
    pub(crate) epochs: Vec<(usize, u32)>,
    /// The state now.
    pub(crate) model: Model,
    pub(crate) books: Books,
}

/// Small files, so that everything happens often.
pub(crate) fn options(random: &Random) -> Options {
    let segment_bytes = (3 + random.below(6)) << 10;
    Options {
        first_segment_bytes: (3 << 10).min(segment_bytes),
        segment_bytes,
        settle_bytes: (2 + random.below(12)) << 10,
        max_unsettled_bytes: (8 + random.below(40)) << 10,
        tail_bytes: [0, 4 << 10, 1 << 20][random.below(3) as usize],
        index_cache_bytes: [0, 1 << 20][random.below(2) as usize],
        clock: Clock::manual(Timestamp::from_millis(1_000_000)),
        salt: Some(7),
        ..Options::default()
    }
}

impl Run {
    /// Begins on `disk`, which holds what the model and the books say.
    pub(crate) fn begin(
        random: Random,
        disk: SimDisk,
        options: Options,
        before: Model,
        books: Books,
    ) -> Self {
        let log = Log::open(Arc::new(disk.clone()), DIR, options.clone()).unwrap();
        assert_eq!(log.report().damage, []);
        let epochs = vec![(disk.moment(), log.epoch())];
        let model = before.clone();
        let (ops, durable) = (Vec::new(), vec![(0, 0)]);
        let run = Self {
            random,
            disk,
            options,
            log: Some(log),
            before,
            ops,
            durable,
            epochs,
            model,
            books,
        };
        run.compare();
        run
    }

    pub(crate) fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    pub(crate) fn now(&self) -> i64 {
        self.options.clock.now().as_millis() as i64
    }

    pub(crate) fn advance(&self, millis: u64) {
        let now = self.options.clock.now();
        self.options.clock.set(now.plus(Duration::from_millis(millis)));
    }

    /// Notes that what the model says now came of one operation more.
    pub(crate) fn push_op(&mut self, started: usize, what: impl Into<String>) {
        self.ops.push(Op { started, after: self.model.clone(), what: what.into() });
    }

    /// All that was done is durable now.
    pub(crate) fn all_durable(&mut self) {
        self.first_durable(self.ops.len());
    }

    pub(crate) fn first_durable(&mut self, count: usize) {
        self.durable.push((self.disk.moment(), count));
    }

    /// How many operations may have been done when the power failed at `moment`: at least, at most.
    pub(crate) fn bounds(&self, moment: usize) -> (usize, usize) {
        let durable = self.durable.iter().filter(|(from, _)| *from <= moment);
        let least = durable.map(|(_, count)| *count).max().unwrap_or(0);
        let most = self.ops.iter().take_while(|op| op.started < moment).count();
        (least, most.max(least))
    }

    pub(crate) fn state(&self, count: usize) -> &Model {
        match count.checked_sub(1) {
            Some(last) => &self.ops[last].after,
            None => &self.before,
        }
    }

    /// The highest epoch that was durable at `moment`.
    pub(crate) fn epoch(&self, moment: usize) -> u32 {
        let known = self.epochs.iter().filter(|(from, _)| *from <= moment);
        known.map(|(_, epoch)| *epoch).max().unwrap_or(0)
    }

    pub(crate) fn compare(&self) {
        let facts = Facts::of(self.log());
        if facts != self.model.facts {
            panic!("the log is not what it should be:{}", difference(&self.model.facts, &facts));
        }
    }

    /// Opens the log again, after it was closed or only dropped.
    pub(crate) fn reopen(&mut self, is_closed: bool) {
        if is_closed {
            self.log().close().unwrap();
            self.all_durable();
        }
        let disk = Arc::new(self.disk.clone());
        let epoch = self.log().epoch();
        // The lock goes with the last handle.
        drop(self.log.take());
        self.log = Some(Log::open(disk, DIR, self.options.clone()).unwrap());
        assert_eq!(self.log().report(), &OpenReport::default());
        assert!(self.log().epoch() > epoch, "the epoch {epoch} came twice");
        self.epochs.push((self.disk.moment(), self.log().epoch()));
        // What an opening has found may be read, and so it is durable.
        self.all_durable();
        self.compare();
    }

    /// A partition by its topic's name, or one of its other names.
    pub(crate) fn named(&self, name: &str, number: u32) -> TopicPartition {
        let aliases = &self.model.facts.topics[name].aliases;
        match aliases.get(self.random.below(aliases.len() as u64 + 2) as usize) {
            Some(alias) => TopicPartition::new(Arc::clone(alias), number),
            None => TopicPartition::new(name, number),
        }
    }
}
