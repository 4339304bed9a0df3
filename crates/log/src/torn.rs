//! The torn tail: what was begun after the journal's end, and was never acked. It is found without a
//! write, and cut by itself.

use std::path::PathBuf;

use crate::LogError;
use crate::frame::{ALIGN, Header};
use crate::journal::SENTINEL;
use crate::recovery::good_headers;
use crate::segment::{Folder, Segment, file_name, read_full};

/// Bytes at the journal's end that were not a whole commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub position: u64,
    /// How many bytes.
    pub length: u64,
    /// The file that keeps them.
    pub kept: PathBuf,
}

/// Where torn bytes lie that are to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// The number of the segment.
    pub(crate) segment: u64,
    pub(crate) position: u64,
    pub(crate) length: u64,
}

impl Torn {
    /// What lies in a segment with these bytes from `at` to `to`, but for the zeros at its end.
    pub(crate) fn of(segment: &Segment, bytes: &[u8], at: usize, to: usize) -> Option<Self> {
        let torn = bytes.get(at..to).unwrap_or_default();
        let used = torn.iter().rposition(|byte| *byte != 0)? + 1;
        Some(Self { segment: segment.number, position: at as u64, length: used as u64 })
    }

    pub(crate) fn file(&self, folder: &Folder) -> PathBuf {
        folder.path(&file_name(self.segment, "journal"))
    }

    /// The name of the file that keeps the bytes.
    pub(crate) fn kept(&self) -> String {
        format!("{:020}-{:012}.cut", self.segment, self.position)
    }

    /// Keeps the bytes in a file of their own, then makes them zeros.
    pub(crate) fn cut(&self, folder: &Folder) -> Result<Cut, LogError> {
        let path = self.file(folder);
        let failed = |error| LogError::io("cutting the torn tail of", &path, error);
        let file = folder.segment(self.segment)?;
        let mut bytes = vec![0; crate::codec::size(self.length)];
        let read = read_full(file.as_ref(), &mut bytes, self.position).map_err(failed)?;
        bytes.truncate(read);
        let kept = folder.keep_aside(&self.kept(), &bytes)?;
        bytes.fill(0);
        file.write_all_at(&bytes, self.position).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        let kept = folder.path(&kept);
        Ok(Cut { file: path, position: self.position, length: self.length, kept })
    }
}

/// Whether nothing was begun at the front of `bytes`: there are the zeros that follow each commit, or
/// a frame from an earlier use of the file.
pub(crate) fn is_untouched(bytes: &[u8], salt: u64, expected: u64) -> bool {
    let front = bytes.get(..SENTINEL).unwrap_or(bytes);
    front.iter().all(|byte| *byte == 0)
        || Header::parse(bytes, salt).is_some_and(|header| header.sequence < expected)
}

/// How many bytes of a torn commit are at the front of `bytes`, as far as one can tell: a whole frame
/// by its header, or what lies before the next good header, within a page.
pub(crate) fn torn_bytes(bytes: &[u8], salt: u64) -> usize {
    const PAGE: usize = 4096;
    let most = PAGE.min(bytes.len());
    match Header::parse(bytes, salt) {
        Some(header) => header.span().min(bytes.len()),
        None => good_headers(bytes, ALIGN, salt).next().map_or(most, |(at, _)| at.min(most)),
    }
}
