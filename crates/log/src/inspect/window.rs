//! Reads a long file piece by piece.

use std::path::PathBuf;
use std::sync::Arc;

use dhara_world::disk::File;

use crate::LogError;
use crate::codec::size;
use crate::frame::{HEADER, Header};
use crate::segment::{Folder, read_full};

const WINDOW: u64 = 1 << 20;

/// A file that is read, for the most part, from front to back.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn File>,
    path: PathBuf,
    length: u64,
    bytes: Vec<u8>,
    at: u64,
}

impl Window {
    pub(super) fn of(folder: &Folder, name: &str) -> Result<Self, LogError> {
        let path = folder.path(name);
        let file = folder.existing(name)?;
        let length = file.len().map_err(|error| LogError::io("measuring", &path, error))?;
        Ok(Self { file, path, length, bytes: Vec::new(), at: 0 })
    }

    /// The length of the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The `length` bytes at `position`, which are fewer where the file ends before.
    pub(super) fn get(&mut self, position: u64, length: usize) -> Result<&[u8], LogError> {
        let wanted = (length as u64).min(self.length.saturating_sub(position));
        let has = self.at.saturating_add(self.bytes.len() as u64);
        if position < self.at || position.saturating_add(wanted) > has {
            let most = wanted.max(WINDOW).min(self.length.saturating_sub(position));
            self.bytes.resize(size(most), 0);
            let read = read_full(self.file.as_ref(), &mut self.bytes, position);
            let read = read.map_err(|error| LogError::io("reading", &self.path, error))?;
            self.bytes.truncate(read);
            self.at = position;
        }
        let from = size(position - self.at).min(self.bytes.len());
        let to = from.saturating_add(size(wanted)).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// The good header at `position` of a frame that lies before `end`.
    pub(super) fn header(
        &mut self,
        position: u64,
        end: u64,
        salt: u64,
    ) -> Result<Option<Header>, LogError> {
        let header = Header::parse(self.get(position, HEADER)?, salt);
        let fits = |header: &Header| position.saturating_add(header.span() as u64) <= end;
        Ok(header.filter(fits))
    }

    /// Whether the body of the frame at `position` is what was written.
    pub(super) fn body_is_good(
        &mut self,
        header: &Header,
        position: u64,
    ) -> Result<bool, LogError> {
        let mut at = position.saturating_add(HEADER as u64);
        let mut left = u64::from(header.length);
        let mut crc = 0;
        while left > 0 {
            let part = self.get(at, size(left.min(WINDOW)))?;
            if part.is_empty() {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, part);
            at += part.len() as u64;
            left -= part.len() as u64;
        }
        Ok(crc == header.body_crc)
    }

    /// Whether the bytes from `from` to `to` are all zero.
    pub(super) fn is_zero(&mut self, from: u64, to: u64) -> Result<bool, LogError> {
        let mut at = from;
        while at < to {
            let part = self.get(at, size((to - at).min(WINDOW)))?;
            if part.is_empty() || part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }
}
