//! Merging settled files: what is dead goes for good, and topics that ask for it are compacted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::LogError;
use crate::batch::{RecordBatch, Retained};
use crate::frame::{self, HEADER, Header};
use crate::keys::{KeyOffsets, hash_key};
use crate::partition::{Partition, Stretch};
use crate::sabotage::Sabotage;
use crate::settle::timestamp_of;
use crate::settled::{Class, Held, Settled, SettledFile, SettledIndex, SettledWriter};
use crate::shared::Shared;
use crate::sync::atomic::Ordering;
use crate::sync::{lock, read};
use crate::walk::{Met, Walk};

/// What lies together is read together, up to this many bytes.
const PIECE: u64 = 1 << 20;
/// So many small files are worth being made one.
const MANY: usize = 8;
/// Never is it looked for more to remove.
const NEVER: i64 = i64::MAX;

/// Files that lie one after another in their class, with their indexes.
struct Inputs {
    files: Vec<(Arc<Held>, Arc<SettledIndex>)>,
    class: Class,
    /// Whether nothing of the class is older.
    has_oldest: bool,
}

/// How a partition is compacted.
struct Compaction {
    /// The newest offset of each key, as far as they fitted into memory.
    newest: KeyOffsets,
    /// Tombstones whose time is before this go; none where older records may lie below.
    tombstones_before: i64,
    /// How long a tombstone is kept, in milliseconds.
    delay: i64,
    /// When the next tombstone is due.
    again_at: i64,
}

impl Shared {
    /// Merges settled files where that is worth it; `false` where it is not.
    pub(crate) fn merge_step(&self) -> Result<bool, LogError> {
        let _settling = self.begin_settling()?;
        let settled = Arc::clone(&read(&self.settled));
        let now = i64::try_from(self.options.clock.now().as_millis()).unwrap_or(i64::MAX);
        let chosen = match self.choose_compact(&settled, now)? {
            None => self.choose_plain(&settled)?,
            chosen => chosen,
        };
        let Some(chosen) = chosen else { return Ok(false) };
        self.merge(&settled, chosen, now)?;
        Ok(true)
    }

    /// Neighbours of which most is dead, or many that are small.
    fn choose_plain<'a>(&self, settled: &'a Settled) -> Result<Option<&'a [Arc<Held>]>, LogError> {
        let files = settled.files(Class::Plain);
        let most = self.options.settle_bytes;
        let knows_holes = self.knows_holes.load(Ordering::Relaxed);
        for from in 0..files.len() {
            let rest = files.get(from..).unwrap_or_default();
            let (mut alive, mut dead, mut count) = (0, 0, 0);
            let mut before: Option<&Arc<Held>> = None;
            for held in rest.iter().take(MANY) {
                let fits = alive + held.alive() <= most;
                if !fits || before.map_or(Ok(false), |it| self.lie_apart(settled, it, held))? {
                    break;
                }
                alive += held.alive();
                dead += held.dead();
                count += 1;
                before = Some(held);
            }
            let is_worth_it = match count {
                0 => false,
                1 => dead > 0 && dead >= 3 * alive && !knows_holes,
                count => dead > alive || count == MANY,
            };
            if is_worth_it {
                return Ok(rest.get(..count));
            }
        }
        Ok(None)
    }

    /// The files to be compacted together: the newest one that never was, with those before it that
    /// are not much larger, so that a record is written again only so often; or the oldest, where
    /// tombstones in it are due.
    fn choose_compact<'a>(
        &self,
        settled: &'a Settled,
        now: i64,
    ) -> Result<Option<&'a [Arc<Held>]>, LogError> {
        let files = settled.files(Class::Compact);
        let (Some(oldest), Some(newest)) = (files.first(), files.last()) else { return Ok(None) };
        if newest.again_at() != i64::MIN {
            return Ok((oldest.again_at() <= now).then(|| files.get(..1)).flatten());
        }
        let (mut from, mut bytes, mut after) = (files.len() - 1, newest.alive(), newest);
        while let Some(before) = from.checked_sub(1).and_then(|at| files.get(at)) {
            let is_large =
                before.again_at() != i64::MIN && before.alive() > bytes.saturating_mul(2);
            if is_large || self.lie_apart(settled, before, after)? {
                break;
            }
            bytes += before.alive();
            after = before;
            from -= 1;
        }
        Ok(files.get(from..))
    }

    /// Whether the other class holds records of some partition between those that these neighbours
    /// of one class hold: its topic began to be compacted, or ended. All of a partition's records in
    /// a file have to follow one another, lest a reader of the file misses those of the other class.
    fn lie_apart(&self, settled: &Settled, before: &Held, after: &Held) -> Result<bool, LogError> {
        let other = other_than(before.file.class);
        let Some(last) = settled.files(other).last() else { return Ok(false) };
        let ends = self.index_of(settled, last)?;
        let (before, after) = (self.index_of(settled, before)?, self.index_of(settled, after)?);
        for run in after.runs() {
            let end = before.end_of(run.partition);
            if end == 0 || ends.end_of(run.partition) <= end {
                continue;
            }
            if self.first_in(settled, other, run.partition, end)?.is_some_and(|it| it < run.base) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The offset of the first records of a partition, from `offset` on, in the files of a class.
    fn first_in(
        &self,
        settled: &Settled,
        class: Class,
        partition: u32,
        offset: u64,
    ) -> Result<Option<u64>, LogError> {
        let found = self.blocks_from(settled, class, partition, offset, 0)?;
        let first = found.and_then(|(_, blocks)| blocks.first().copied());
        Ok(first.map(|block| block.offset.max(offset)))
    }

    fn merge(&self, settled: &Settled, chosen: &[Arc<Held>], now: i64) -> Result<(), LogError> {
        let Some(first) = chosen.first() else { return Ok(()) };
        let class = first.file.class;
        let all = settled.files(class);
        let has_oldest = all.first().is_some_and(|oldest| Arc::ptr_eq(oldest, first));
        let is_last = all.last().zip(chosen.last()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
        let with_index = |held: &Arc<Held>| Ok((Arc::clone(held), self.index_of(settled, held)?));
        let files = chosen.iter().map(with_index).collect::<Result<Vec<_>, LogError>>()?;
        let inputs = Inputs { files, class, has_oldest };
        let (file, again_at) = self.write_merged(settled, &inputs, is_last, now)?;
        let new = file.map(|file| {
            let held = Held::new(file);
            held.set_again_at(again_at);
            held
        });
        // More may have been settled meanwhile.
        let settled = read(&self.settled).replaced(chosen, new);
        self.install_settled(settled, file.as_ref())?;
        self.recount(&inputs);
        chosen.iter().try_for_each(|held| self.remove_settled(held))
    }

    /// What was left out does not count for retention by bytes any more: what a compaction removed,
    /// and what was dead beside something alive.
    fn recount(&self, inputs: &Inputs) {
        let topics = read(&self.topics);
        for (_, index) in &inputs.files {
            for run in index.runs() {
                topics.by_id(run.partition).into_iter().for_each(|it| it.shown().bytes = None);
            }
        }
    }

    /// Writes the file that takes the place of others; none where nothing is left for it. Gives also
    /// when a compaction would find more to remove.
    fn write_merged(
        &self,
        settled: &Settled,
        inputs: &Inputs,
        is_last: bool,
        now: i64,
    ) -> Result<(Option<SettledFile>, i64), LogError> {
        let Some((_, last)) = inputs.files.last() else { return Ok((None, NEVER)) };
        let ends = last.ends().to_vec();
        let number = self.next_settled();
        let mut writer =
            SettledWriter::create(&self.folder, number, inputs.class, self.salt, ends)?;
        let compact = match inputs.class {
            Class::Plain => HashSet::new(),
            Class::Compact => self.compact_partitions(),
        };
        let ids: BTreeSet<u32> = inputs
            .files
            .iter()
            .flat_map(|(_, index)| index.runs())
            .map(|run| run.partition)
            .collect();
        let mut again_at = NEVER;
        for id in ids {
            // A partition that is not there any more was deleted with its topic.
            let Some(partition) = read(&self.topics).by_id(id).cloned() else { continue };
            let mut compaction = match compact.contains(&id) {
                true => Some(self.compaction(settled, inputs, &partition, now)?),
                false => None,
            };
            self.merge_partition(inputs, &partition, compaction.as_mut(), &mut writer)?;
            again_at = compaction.map_or(again_at, |done| again_at.min(done.again_at));
        }
        // The last file of a class carries its ends on.
        let is_needed = is_last || writer.frame_bytes() > 0;
        Ok((is_needed.then(|| writer.finish()).transpose()?, again_at))
    }

    /// Learns which record of each key of a partition is the newest.
    fn compaction(
        &self,
        settled: &Settled,
        inputs: &Inputs,
        partition: &Partition,
        now: i64,
    ) -> Result<Compaction, LogError> {
        let config = {
            let topics = read(&self.topics);
            topics.topic(&partition.name.topic).map(|topic| Arc::clone(&topic.record.config))
        };
        let delay = config.map_or(i64::MAX, |config| {
            i64::try_from(config.tombstone_delay.as_millis()).unwrap_or(i64::MAX)
        });
        let mut newest = KeyOffsets::new(self.options.max_key_bytes);
        let mut knows_all = true;
        self.each_frame(inputs, partition, |met, _| {
            if let Met::Batch { frame, header } = met
                && let Ok(batch) = batch_of(&header, &frame)
                && !batch.is_control()
            {
                // What cannot be decoded stays, and nobody knows whose records are in it.
                knows_all &= note_newest(&mut newest, self.salt, &batch).is_ok();
            }
            Ok(())
        })?;
        // Records from before the topic was compacted lie in plain files.
        let earliest = partition.shown().earliest;
        let is_oldest = knows_all
            && inputs.has_oldest
            && self.first_in(settled, Class::Plain, partition.id, earliest)?.is_none();
        let tombstones_before = if is_oldest { now.saturating_sub(delay) } else { i64::MIN };
        Ok(Compaction { newest, tombstones_before, delay, again_at: NEVER })
    }

    fn merge_partition(
        &self,
        inputs: &Inputs,
        partition: &Partition,
        mut compaction: Option<&mut Compaction>,
        writer: &mut SettledWriter,
    ) -> Result<(), LogError> {
        let salt = self.salt;
        self.each_frame(inputs, partition, |met, latest| match met {
            Met::Lost { from, to, sequence, .. } => {
                self.push_lost(writer, partition.id, from, to, sequence, latest)
            }
            Met::Batch { header, frame } => {
                let batch = batch_of(&header, &frame)?;
                let time = timestamp_of(&frame, latest);
                let retained = match &mut compaction {
                    // What cannot be decoded stays.
                    Some(compaction) => {
                        compaction.retain(&batch, salt, time).unwrap_or(Retained::All)
                    }
                    None => Retained::All,
                };
                match retained {
                    Retained::All => writer.push(&header, &frame, time),
                    Retained::None => Ok(()),
                    Retained::Some(bytes) => {
                        let (header, frame) = framed(&header, &bytes, salt);
                        writer.push(&header, &frame, time)
                    }
                }
            }
        })
    }

    /// A merge takes as long as its files are large. Who closes the log need not wait for it, as it
    /// can be done again; and the journal is settled meanwhile, lest appends wait for it.
    fn let_others_go_on(&self) -> Result<(), LogError> {
        if lock(&self.house).is_closed {
            return Err(LogError::Closed);
        }
        if self.sealed_bytes() >= self.options.settle_bytes {
            self.settle_held(false)?;
        }
        Ok(())
    }

    /// Gives all frames of a partition that somebody may read, in order, with the greatest timestamp of
    /// the frames round each.
    fn each_frame(
        &self,
        inputs: &Inputs,
        partition: &Partition,
        mut give: impl FnMut(Met, i64) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let earliest = partition.shown().earliest;
        for (held, index) in &inputs.files {
            let blocks: Vec<_> =
                index.blocks(partition.id).filter(|block| block.next > earliest).collect();
            let mut rest = blocks.as_slice();
            while let Some(first) = rest.first() {
                let fits = |block: &&Stretch| {
                    block.end() - first.position <= PIECE || block.position == first.position
                };
                let count = rest.iter().take_while(fits).count();
                let (run, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                let last = run.last().unwrap_or(first);
                let latest = run.iter().map(|block| block.max_timestamp).max().unwrap_or(i64::MIN);
                self.let_others_go_on()?;
                let bytes = self.read_settled(&held.file, first.position, last.end())?;
                let is_whole = bytes.len() as u64 == last.end() - first.position;
                let has_gaps = inputs.class == Class::Compact && is_whole;
                let walk = Walk::new(&bytes, self.salt, partition.id, first.offset, last.next);
                let mut walk = walk.with_gaps(has_gaps);
                while let Some(met) = walk.next() {
                    match met {
                        Met::Batch { header, .. } if header.next() <= earliest => {}
                        Met::Lost { to, .. } if to <= earliest => {}
                        met => give(met, latest)?,
                    }
                }
                rest = after;
            }
        }
        Ok(())
    }
}

impl Compaction {
    /// What stays of a batch.
    fn retain(&mut self, batch: &RecordBatch, salt: u64, time: i64) -> Result<Retained, LogError> {
        batch.retain(|record| {
            let Some(key) = &record.key else { return true };
            let newest = self.newest.get(hash_key(salt, key));
            let is_bad = Sabotage::NewestDropped.is_on() && newest == Some(record.offset);
            if newest.is_some_and(|newest| newest > record.offset) || is_bad {
                return false;
            }
            // Of a key that did not fit older records stay, which a tombstone has to hide.
            if record.value.is_some() || newest != Some(record.offset) {
                return true;
            }
            let stays = time >= self.tombstones_before;
            if stays && self.tombstones_before != i64::MIN {
                self.again_at =
                    self.again_at.min(time.saturating_add(self.delay).saturating_add(1));
            }
            stays
        })
    }
}

/// Notes which record of each key is the newest, for as many keys as fit.
fn note_newest(newest: &mut KeyOffsets, salt: u64, batch: &RecordBatch) -> Result<(), LogError> {
    for record in batch.records()? {
        let record = record?;
        if let Some(key) = &record.key {
            // All records of a key that does not fit stay.
            newest.insert(hash_key(salt, key), record.offset).ok();
        }
    }
    Ok(())
}

fn other_than(class: Class) -> Class {
    match class {
        Class::Plain => Class::Compact,
        Class::Compact => Class::Plain,
    }
}

fn batch_of(header: &Header, frame: &Bytes) -> Result<RecordBatch, LogError> {
    let end = (HEADER + header.length as usize).min(frame.len());
    RecordBatch::parse_trusted(frame.slice(HEADER.min(end)..end))
}

/// A frame like another, with another batch in it.
fn framed(header: &Header, batch: &[u8], salt: u64) -> (Header, Bytes) {
    let mut frame = BytesMut::new();
    frame::push(&mut frame, *header, &[batch], salt);
    let length = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    (Header { length, ..*header }, frame.freeze())
}
