//! Offsets that should be somewhere and are nowhere: their frames, or the file with them, are gone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::verify::Finding;
use crate::partition::Partition;
use crate::segment::file_name;
use crate::settle::segment_at;
use crate::settled::Class;
use crate::shared::Shared;
use crate::sync::read;
use crate::{Damage, LogError};

/// The offset that comes next in each partition, by its id.
type Next = HashMap<u32, u64>;

impl Shared {
    /// The offsets of all partitions that no file holds. In a topic that is compacted, or was, they
    /// are told where they should be in the journal; elsewhere nobody can tell.
    pub(super) fn verify_gaps(&self) -> Result<Vec<Finding>, LogError> {
        let settled = Arc::clone(&read(&self.settled));
        let partitions = read(&self.topics).partitions();
        let mut next: Next = HashMap::new();
        for partition in &partitions {
            next.insert(partition.id, partition.shown().earliest);
        }
        let mut found = Vec::new();
        for held in settled.files(Class::Compact) {
            for run in self.index_of(&settled, held)?.runs() {
                next.remove(&run.partition);
            }
        }
        for partition in partitions.iter().filter(|partition| partition.is_compacted()) {
            next.remove(&partition.id);
        }
        for held in settled.files(Class::Plain) {
            let path = self.folder.path(&held.file.name());
            for run in self.index_of(&settled, held)?.runs() {
                let Some(next) = next.get_mut(&run.partition) else { continue };
                if run.base > *next {
                    found.extend(self.gap(run.partition, (*next, run.base), &path, run.position));
                }
                *next = run.end.max(*next);
            }
        }
        for partition in &partitions {
            let from = match next.get(&partition.id) {
                Some(next) => *next,
                None => self.settled_end(&settled, partition.id)?.max(partition.shown().earliest),
            };
            self.verify_journal_gaps(partition, from, &mut found);
        }
        Ok(found)
    }

    fn verify_journal_gaps(&self, partition: &Partition, mut next: u64, found: &mut Vec<Finding>) {
        let segments = Arc::clone(&read(&self.segments));
        let (stretches, end) = {
            let shown = partition.shown();
            (shown.stretches.clone(), shown.end)
        };
        let place = |position: u64| {
            let segment = segment_at(&segments, position).or(segments.last());
            let number = segment.map_or(0, |segment| segment.number);
            let start = segment.map_or(0, |segment| segment.start);
            (self.folder.path(&file_name(number, "journal")), position.saturating_sub(start))
        };
        for stretch in &stretches {
            if stretch.offset > next {
                let (path, at) = place(stretch.position);
                found.extend(self.gap(partition.id, (next, stretch.offset), &path, at));
            }
            next = stretch.next.max(next);
        }
        if end > next {
            let last = stretches.back().map_or(0, |last| last.end());
            let (path, at) = place(last);
            found.extend(self.gap(partition.id, (next, end), &path, at));
        }
    }

    fn gap(
        &self,
        partition: u32,
        (from, to): (u64, u64),
        path: &Path,
        position: u64,
    ) -> Option<Finding> {
        let name = read(&self.topics).by_id(partition)?.name.clone();
        let what = format!("{name}, offsets {from} to below {to}: missing before this place");
        let damage = Damage { file: path.to_owned(), position, length: 0, what };
        Some(Finding::damage(damage, None))
    }
}
