//! Verifies settled files: headers, index, and every frame that somebody may read.

use std::path::PathBuf;
use std::sync::Arc;

use super::repair::{LostRange, Mend};
use super::verify::{Finding, FindingKind};
use super::window::Window;
use crate::frame::{ALIGN, HEADER, Header, Kind};
use crate::partition::Stretch;
use crate::settled::{self, Class, Held, Settled, SettledFile, SettledIndex};
use crate::shared::Shared;
use crate::sync::read;
use crate::{Damage, LogError};

/// One settled file that is read from end to end.
struct Reading<'a> {
    shared: &'a Shared,
    file: SettledFile,
    path: PathBuf,
    window: Window,
    found: Vec<Finding>,
}

/// A block of one partition.
#[derive(Clone, Copy)]
struct Block {
    partition: u32,
    stretch: Stretch,
}

impl Shared {
    pub(super) fn verify_settled(&self) -> Result<Vec<Finding>, LogError> {
        let settled = Arc::clone(&read(&self.settled));
        let mut found = Vec::new();
        for held in settled.all() {
            found.extend(self.verify_file(&settled, held)?);
        }
        Ok(found)
    }

    fn verify_file(&self, settled: &Settled, held: &Held) -> Result<Vec<Finding>, LogError> {
        let file = held.file;
        let ends_before = || self.ends_before(settled, &file);
        let loaded = settled::load(&self.folder, &file, self.salt, ends_before)?;
        let window = Window::of(&self.folder, &file.name())?;
        let path = self.folder.path(&file.name());
        let mut reading = Reading { shared: self, file, path, window, found: Vec::new() };
        reading.check_all(&loaded.index)?;
        let by_frames = reading.found;
        let is_new = |damage: &Damage| {
            !by_frames.iter().any(|finding| {
                let end = finding.position.saturating_add(finding.length);
                (finding.position..end).contains(&damage.position)
            })
        };
        let of_index = match loaded.damage.iter().any(|it| it.position == file.frames_end()) {
            true => Some(self.mend_of_index(settled, &file)?),
            false => None,
        };
        let is_rewritten = matches!(of_index, Some(Mend::SettledFile(_)));
        let others = loaded.damage.into_iter().filter(is_new).map(|damage| {
            let mend = match damage.position {
                // A file that is written again gets a header with it.
                position if position < settled::HEADER && !is_rewritten => {
                    Some(Mend::SettledHeader(file))
                }
                position if position < settled::HEADER => of_index.clone(),
                position if position == file.frames_end() => of_index.clone(),
                _ => None,
            };
            Finding::damage(damage, mend)
        });
        let mut found: Vec<_> = others.collect();
        found.extend(by_frames);
        Ok(found)
    }

    /// How the damaged index of a file is made again.
    fn mend_of_index(&self, settled: &Settled, file: &SettledFile) -> Result<Mend, LogError> {
        let ends = self.ends_before(settled, file)?;
        Ok(match settled::reindexed(&self.folder, file, self.salt, ends)? {
            Some(_) => Mend::SettledIndex(*file),
            None => Mend::SettledFile(*file),
        })
    }

    /// The ends of the settled file of the same class before this one.
    pub(super) fn ends_before(
        &self,
        settled: &Settled,
        file: &SettledFile,
    ) -> Result<Vec<(u32, u64)>, LogError> {
        match settled.before(file) {
            Some(before) => Ok(self.index_of(settled, before)?.ends().to_vec()),
            None => Ok(Vec::new()),
        }
    }
}

impl Reading<'_> {
    fn check_all(&mut self, index: &SettledIndex) -> Result<(), LogError> {
        for run in index.runs() {
            let earliest = self.shared.earliest_of(run.partition);
            for stretch in index.blocks(run.partition) {
                // What nobody can read any more may be a hole by now.
                if stretch.next > earliest {
                    self.check_block(Block { partition: run.partition, stretch })?;
                }
            }
        }
        Ok(())
    }

    fn check_block(&mut self, block: Block) -> Result<(), LogError> {
        let (mut at, mut offset) = (block.stretch.position, block.stretch.offset);
        while at < block.stretch.end() {
            let Some(header) = self.frame_at(&block, at, offset)? else {
                let next_at = self.next_frame(&block, at, offset)?;
                let header = self.frame_at(&block, next_at, offset)?;
                let to = header.map_or(block.stretch.next, |header| header.base);
                self.note_gap(&block, at, next_at, (offset, to));
                (at, offset) = (next_at, to);
                continue;
            };
            if header.base > offset && self.file.class == Class::Plain {
                self.note(&block, at, 0, (offset, header.base), "frames are missing before", None);
            }
            self.check_frame(&block, &header, at)?;
            at += header.span() as u64;
            offset = header.next();
        }
        Ok(())
    }

    fn check_frame(&mut self, block: &Block, header: &Header, at: u64) -> Result<(), LogError> {
        let (span, offsets) = (header.span() as u64, (header.base, header.next()));
        let is_good = self.window.body_is_good(header, at)?;
        if header.kind == Kind::Lost {
            let what = "found damaged before, and marked as lost";
            self.note(block, at, span, offsets, what, None);
            if let Some(last) = self.found.last_mut() {
                last.kind = FindingKind::Lost;
            }
        } else if !is_good {
            let mend = self.lost(block, at, span, offsets, header.sequence);
            self.note(block, at, span, offsets, "a frame whose body is damaged", mend);
        }
        Ok(())
    }

    /// The frame at this place, where it is one that may come next in the block.
    fn frame_at(
        &mut self,
        block: &Block,
        at: u64,
        offset: u64,
    ) -> Result<Option<Header>, LogError> {
        let header = self.window.header(at, block.stretch.end(), self.shared.salt)?;
        Ok(header.filter(|header| {
            matches!(header.kind, Kind::Batch | Kind::Lost)
                && header.partition == block.partition
                && header.base >= offset
                && header.next() <= block.stretch.next
        }))
    }

    fn next_frame(&mut self, block: &Block, from: u64, offset: u64) -> Result<u64, LogError> {
        let mut at = from + ALIGN as u64;
        while at < block.stretch.end() && self.frame_at(block, at, offset)?.is_none() {
            at += ALIGN as u64;
        }
        Ok(at.min(block.stretch.end()))
    }

    fn note_gap(&mut self, block: &Block, at: u64, to: u64, offsets: (u64, u64)) {
        let mend = self.lost(block, at, to - at, offsets, 0);
        self.note(block, at, to - at, offsets, "bytes that are no frame", mend);
    }

    /// Marks the offsets as lost where the bytes have room for a frame that says so.
    fn lost(
        &self,
        block: &Block,
        position: u64,
        bytes: u64,
        (base, next): (u64, u64),
        sequence: u64,
    ) -> Option<Mend> {
        let count = u32::try_from(next.checked_sub(base)?).ok().filter(|count| *count > 0)?;
        let body = bytes.checked_sub(HEADER as u64)?;
        let length = u32::try_from(body).ok()?;
        let partition = block.partition;
        let header =
            Header { base, partition, count, sequence, length, ..Header::plain(Kind::Lost) };
        Some(Mend::Lost(LostRange { file: self.file, position, header }))
    }

    fn note(
        &mut self,
        block: &Block,
        position: u64,
        length: u64,
        (from, to): (u64, u64),
        what: &str,
        mend: Option<Mend>,
    ) {
        let topics = read(&self.shared.topics);
        let name = topics.by_id(block.partition).map(|partition| partition.name.to_string());
        let name = name.unwrap_or_else(|| format!("partition id {}", block.partition));
        let what = format!("{name}, offsets {from} to below {to}: {what}");
        let damage = Damage { file: self.path.clone(), position, length, what };
        self.found.push(Finding::damage(damage, mend));
    }
}
