//! Giving space back: of what was trimmed, of deleted topics, and of files of which nothing is left.

use std::collections::HashSet;
use std::sync::Arc;

use crate::LogError;
use crate::partition::Partition;
use crate::settled::{Class, Held, Settled};
use crate::shared::Shared;
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, lock, read};

/// A partition that begins later than it did.
#[derive(Clone, Debug)]
pub(crate) struct Trimmed {
    pub(crate) partition: Arc<Partition>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Shared {
    /// Gives back what lies in settled files below the earliest offsets, which are durable by now.
    pub(crate) fn give_back(&self, trims: &[Trimmed]) -> Result<(), LogError> {
        let _settling = self.begin_settling()?;
        let settled = Arc::clone(&read(&self.settled));
        for trimmed in trims {
            for class in [Class::Plain, Class::Compact] {
                self.give_back_in(&settled, class, trimmed)?;
            }
        }
        self.drop_dead(&settled)
    }

    fn give_back_in(
        &self,
        settled: &Settled,
        class: Class,
        trimmed: &Trimmed,
    ) -> Result<(), LogError> {
        let id = trimmed.partition.id;
        let Some((first, _)) = self.file_of(settled, class, id, trimmed.from)? else {
            return Ok(());
        };
        let files = settled.files(class);
        let first = files.iter().position(|held| std::ptr::eq(held.as_ref(), first)).unwrap_or(0);
        for held in files.iter().skip(first) {
            let index = self.index_of(settled, held)?;
            let run = index.run(id);
            let is_past = run.as_ref().is_some_and(|run| run.base >= trimmed.to);
            let blocks = index
                .blocks(id)
                .filter(|block| block.next > trimmed.from && block.next <= trimmed.to);
            let range = blocks.fold(None, |range: Option<(u64, u64)>, block| {
                Some((range.map_or(block.position, |(from, _)| from), block.end()))
            });
            if let (Some(run), Some((from, to))) = (run, range) {
                held.set_dead(id, to.saturating_sub(run.position));
                self.punch(held, from, to)?;
            }
            if is_past || index.end_of(id) >= trimmed.to {
                break;
            }
        }
        Ok(())
    }

    /// Only one such work is done at a time, and none when the folder is another's.
    pub(crate) fn begin_settling(&self) -> Result<MutexGuard<'_, ()>, LogError> {
        let guard = lock(&self.settling);
        self.check_holds_folder()?;
        Ok(guard)
    }

    /// An error where the folder may be another's by now.
    pub(crate) fn check_holds_folder(&self) -> Result<(), LogError> {
        if lock(&self.lock).is_some() { Ok(()) } else { Err(LogError::Closed) }
    }

    fn punch(&self, held: &Held, from: u64, to: u64) -> Result<(), LogError> {
        let file = self.folder.settled(held.file.number)?;
        match file.punch(from, to.saturating_sub(from)) {
            // The space comes back when the file is written anew.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                self.knows_holes.store(false, Ordering::Relaxed);
                Ok(())
            }
            punched => punched.map_err(|error| {
                LogError::io("giving space back in", &self.folder.path(&held.file.name()), error)
            }),
        }
    }

    /// Removes the files of which nothing is alive. The last of a class stays nevertheless: the next
    /// one takes its ends over.
    fn drop_dead(&self, settled: &Settled) -> Result<(), LogError> {
        let mut dead = Vec::new();
        for class in [Class::Plain, Class::Compact] {
            if let Some((_, before)) = settled.files(class).split_last() {
                dead.extend(before.iter().filter(|held| held.alive() == 0).cloned());
            }
        }
        if dead.is_empty() {
            return Ok(());
        }
        let alive = dead
            .iter()
            .fold(settled.clone(), |left, held| left.replaced(std::slice::from_ref(held), None));
        self.install_settled(alive, None)?;
        dead.iter().try_for_each(|held| self.remove_settled(held))
    }

    /// Removes a settled file that no state names any more.
    pub(crate) fn remove_settled(&self, held: &Held) -> Result<(), LogError> {
        self.folder.remove(&held.file.name())?;
        self.folder.forget(crate::segment::FileKind::Settled, held.file.number);
        lock(&self.indexes).forget(held.file.number);
        Ok(())
    }

    /// Gives back what deleted topics held; `false` where there is none.
    pub(crate) fn bury_step(&self) -> Result<bool, LogError> {
        let ids: HashSet<u32> = lock(&self.house).deleted.drain(..).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        let _settling = self.begin_settling()?;
        let settled = Arc::clone(&read(&self.settled));
        for held in settled.all() {
            let index = self.index_of(&settled, held)?;
            for run in index.runs().filter(|run| ids.contains(&run.partition)) {
                held.set_dead(run.partition, run.bytes);
                self.punch(held, run.position, run.position + run.bytes)?;
            }
        }
        self.drop_dead(&settled)?;
        Ok(true)
    }

    /// After an opening: looks through all settled files for what is dead, one at a time; `false`
    /// when all were looked through.
    pub(crate) fn sweep_step(&self) -> Result<bool, LogError> {
        let Some(number) = lock(&self.house).unswept.pop() else { return Ok(false) };
        let _settling = self.begin_settling()?;
        let settled = Arc::clone(&read(&self.settled));
        let Some(held) = settled.all().find(|held| held.file.number == number) else {
            return Ok(true);
        };
        let index = self.index_of(&settled, held)?;
        for run in index.runs() {
            let partition = read(&self.topics).by_id(run.partition).cloned();
            let earliest = partition.map_or(u64::MAX, |partition| partition.shown().earliest);
            let dead = index.blocks(run.partition).take_while(|block| block.next <= earliest);
            if let Some(last) = dead.last() {
                held.set_dead(run.partition, last.end().saturating_sub(run.position));
                self.punch(held, run.position, last.end())?;
            }
        }
        if lock(&self.house).unswept.is_empty() {
            self.drop_dead(&settled)?;
        }
        Ok(true)
    }
}
