//! What is known of a settled file before it is opened, and the header that says the same.

use bytes::BufMut;

use super::Class;
use crate::LogError;
use crate::codec::{Cursor, seal_version};
use crate::recovery::Damage;
use crate::segment::{Folder, file_name, read_full};

/// Bytes of a settled file before its first frame.
pub(crate) const HEADER: u64 = 1024;
/// The header stands twice, in two sectors.
const COPY: usize = 512;
const FIELDS: usize = 64;
const MAGIC: &[u8; 8] = b"DHARASTL";
/// The version of the format of settled files.
const VERSION: u32 = 2;

/// A settled file, as the state file lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SettledFile {
    /// Settled files are numbered by themselves, whatever segments they were made of.
    pub(crate) number: u64,
    pub(crate) class: Class,
    /// How many partitions have frames in it.
    pub(crate) partitions: u32,
    /// The bytes of all frames; the index follows them.
    pub(crate) frame_bytes: u64,
    /// The length of the file.
    pub(crate) length: u64,
    /// The checksum of the index, begun with the log's salt and the file's number.
    pub(crate) index_crc: u32,
}

impl SettledFile {
    pub(crate) fn name(&self) -> String {
        file_name(self.number, "settled")
    }

    /// Where the frames end, and the index begins.
    pub(crate) fn frames_end(&self) -> u64 {
        HEADER.saturating_add(self.frame_bytes)
    }

    /// The length of the index.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.length.saturating_sub(self.frames_end())
    }

    #[cfg(test)]
    /// The bytes of one that is encoded.
    pub(crate) const ENCODED: usize = 36;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.number);
        out.put_u8(self.class as u8);
        out.put_bytes(0, 3);
        out.put_u32_le(self.partitions);
        out.put_u64_le(self.frame_bytes);
        out.put_u64_le(self.length);
        out.put_u32_le(self.index_crc);
    }

    /// `None` where the bytes end too soon or contradict themselves.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let number = cursor.u64()?;
        let class = Class::of(cursor.u8()?)?;
        if cursor.take(3)? != [0; 3] {
            return None;
        }
        let partitions = cursor.u32()?;
        let (frame_bytes, length) = (cursor.u64()?, cursor.u64()?);
        let index_crc = cursor.u32()?;
        let has_room = HEADER.checked_add(frame_bytes).is_some_and(|end| end <= length);
        (has_room && frame_bytes.is_multiple_of(8)).then_some(Self {
            number,
            class,
            partitions,
            frame_bytes,
            length,
            index_crc,
        })
    }

    /// The first bytes of the file, up to its first frame.
    pub(crate) fn header(&self, salt: u64) -> Vec<u8> {
        let mut rest = Vec::with_capacity(FIELDS);
        rest.put_u64_le(salt);
        self.encode(&mut rest);
        rest.resize(FIELDS - 16, 0);
        let mut out = seal_version(MAGIC, VERSION, &rest);
        out.resize(COPY, 0);
        out.extend_from_within(..);
        out
    }
}

/// What one copy of the header says.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    Good { salt: u64, file: SettledFile },
    Foreign { version: u32 },
    Bad,
}

/// Reads one copy of the header. The checksum does not cover the version, so that a foreign one is
/// believed only where no other copy is good.
fn parse_copy(bytes: &[u8]) -> Copy {
    let parse = || {
        let mut cursor = Cursor::new(bytes);
        let is_ours = cursor.take(8)? == MAGIC.as_slice();
        let (version, crc) = (cursor.u32()?, cursor.u32()?);
        let rest = bytes.get(16..FIELDS)?;
        if !is_ours || crc32c::crc32c(rest) != crc {
            return None;
        }
        if version != VERSION {
            return Some(Copy::Foreign { version });
        }
        let mut cursor = Cursor::new(rest);
        Some(Copy::Good { salt: cursor.u64()?, file: SettledFile::decode(&mut cursor)? })
    };
    parse().unwrap_or(Copy::Bad)
}

fn copies(folder: &Folder, number: u64) -> Result<[Copy; 2], LogError> {
    let file = folder.settled(number)?;
    let mut bytes = vec![0; crate::codec::size(HEADER)];
    let got = read_full(file.as_ref(), &mut bytes, 0).map_err(|error| {
        LogError::io("reading", &folder.path(&file_name(number, "settled")), error)
    })?;
    bytes.truncate(got);
    let copy = |at: usize| parse_copy(bytes.get(at..).unwrap_or_default());
    Ok([copy(0), copy(COPY)])
}

/// The salt of the log that a settled file belongs to, by the bytes of its header.
pub(crate) fn salt_in(bytes: &[u8]) -> Option<u64> {
    let salt = |at: usize| match parse_copy(bytes.get(at..)?) {
        Copy::Good { salt, .. } => Some(salt),
        _ => None,
    };
    salt(0).or_else(|| salt(COPY))
}

#[cfg(test)]
/// The settled file with this number as its own header describes it, for when no state file does;
/// `Ok(None)` where both copies are damaged, or are those of another file or log.
pub(crate) fn read_header(
    folder: &Folder,
    number: u64,
    log: u64,
) -> Result<Option<SettledFile>, LogError> {
    let copies = copies(folder, number)?;
    for copy in &copies {
        if let Copy::Good { salt, file } = copy
            && *salt == log
            && file.number == number
        {
            return Ok(Some(*file));
        }
    }
    for copy in copies {
        if let Copy::Foreign { version } = copy {
            return Err(LogError::Unreadable {
                what: format!(
                    "{}: its format is version {version}, this program knows version {VERSION}; \
                     open it with the program that wrote it, or a later one",
                    folder.path(&file_name(number, "settled")).display()
                ),
            });
        }
    }
    Ok(None)
}

/// The copies of the header that do not say what `file` does.
pub(super) fn check_header(
    folder: &Folder,
    file: &SettledFile,
    salt: u64,
) -> Result<Vec<Damage>, LogError> {
    let good = Copy::Good { salt, file: *file };
    let copies = copies(folder, file.number)?;
    let bad = [0, COPY as u64].into_iter().zip(copies).filter(|(_, copy)| *copy != good);
    let damage = |(position, _)| Damage {
        file: folder.path(&file.name()),
        position,
        length: FIELDS as u64,
        what: "a copy of a settled file's header; nothing is lost by it".to_owned(),
    };
    Ok(bad.map(damage).collect())
}
