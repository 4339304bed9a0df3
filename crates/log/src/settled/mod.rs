//! Settled files: what sealed journal segments held, sorted so that each partition reads in long
//! runs. A settled file is written once; nothing of it changes but that dead ranges become holes.

mod cache;
mod file;
mod index;
mod rewrite;
mod scan;
mod set;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use cache::IndexCache;
pub(crate) use file::{HEADER, SettledFile, salt_in};
pub(crate) use index::SettledIndex;
#[cfg(feature = "fuzzing")]
pub(crate) use index::index_crc;
pub(crate) use rewrite::{reindexed, rewritten};
pub(crate) use set::{Held, Settled};
pub(crate) use writer::SettledWriter;

#[cfg(test)]
use file::read_header;
#[cfg(test)]
use index::{BLOCK, Run};
#[cfg(test)]
use scan::{Found, Frames, NO_TIMESTAMP};

use crate::LogError;
pub(crate) use crate::partition::Stretch;
use crate::recovery::Damage;
use crate::segment::Folder;

/// Which topics a settled file holds: those of the two classes never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Every record stays until it expires.
    Plain = 0,
    /// Only the latest record of each key stays.
    Compact = 1,
}

impl Class {
    pub(crate) fn of(byte: u8) -> Option<Self> {
        [Self::Plain, Self::Compact].into_iter().find(|class| *class as u8 == byte)
    }
}

/// The index of a settled file, and what was found bad on the way to it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) index: SettledIndex,
    /// Whether the index in the file is bad, so that this one was made from the frames.
    #[cfg(test)]
    pub(crate) rebuilt: bool,
    /// What is not as it was written. Frames are looked at only where the index was rebuilt.
    pub(crate) damage: Vec<Damage>,
}

/// Reads the index of `file`, or makes it again from the frames where it is damaged or cut off.
///
/// `ends_before` gives the ends of the settled file of the same class before this one; it is asked
/// only where the index has to be rebuilt.
pub(crate) fn load(
    folder: &Folder,
    file: &SettledFile,
    salt: u64,
    ends_before: impl FnOnce() -> Result<Vec<(u32, u64)>, LogError>,
) -> Result<Loaded, LogError> {
    let mut damage = file::check_header(folder, file, salt)?;
    if let Some(index) = index::read(folder, file, salt)? {
        return Ok(Loaded {
            index,
            #[cfg(test)]
            rebuilt: false,
            damage,
        });
    }
    damage.push(Damage {
        file: folder.path(&file.name()),
        position: file.frames_end(),
        length: file.index_bytes(),
        what: "the index of a settled file; it was made again from the frames".to_owned(),
    });
    let index = scan::rebuild(folder, file, salt, ends_before()?, &mut damage)?;
    Ok(Loaded {
        index,
        #[cfg(test)]
        rebuilt: true,
        damage,
    })
}
