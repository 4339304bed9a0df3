//! Settled files on a simulated disk.

mod damage;
mod index;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use dhara_world::disk::SimDisk;

use super::*;
use crate::batch::BatchBuilder;
use crate::frame::{self, Header, Kind};

const SALT: u64 = 77;
const NUMBER: u64 = 4;

/// A frame as a test wants it.
#[derive(Clone, Copy, Debug)]
struct Piece {
    partition: u32,
    base: u64,
    count: u32,
    /// About how long the batch is.
    bytes: usize,
    timestamp: i64,
}

impl Piece {
    fn next(&self) -> u64 {
        self.base + u64::from(self.count)
    }

    fn frame(&self) -> (Header, Vec<u8>) {
        let mut builder = BatchBuilder::new();
        let value = vec![self.partition as u8; self.bytes];
        builder.push(self.timestamp, None, Some(&value), []).unwrap();
        let header = Header {
            sequence: u64::from(self.partition) << 32 | self.base,
            base: self.base,
            partition: self.partition,
            count: self.count,
            ..Header::plain(Kind::Batch)
        };
        let (batch, mut out) = (builder.finish(), BytesMut::new());
        frame::push(&mut out, header, &[&batch], SALT);
        // One that nobody could have read is to be refused by its writer nevertheless.
        let unread = Header { length: batch.len() as u32, ..header };
        (Header::parse(&out, SALT).unwrap_or(unread), out.to_vec())
    }
}

fn piece(partition: u32, base: u64, count: u32, bytes: usize, timestamp: i64) -> Piece {
    Piece { partition, base, count, bytes, timestamp }
}

/// Three partitions: one of many blocks, one of a single frame, one with gaps between its offsets.
fn pieces() -> Vec<Piece> {
    let mut pieces = Vec::new();
    for number in 0..60 {
        pieces.push(piece(2, 100 + number * 3, 3, 5_000, 1_000 + number as i64));
    }
    pieces.push(piece(5, 0, 1, 10, 7));
    for number in 0..40 {
        pieces.push(piece(9, number * 10, 2, 2_000, 5_000 - number as i64));
    }
    pieces
}

/// A few small frames of a few partitions.
fn few() -> Vec<Piece> {
    vec![
        piece(1, 3, 2, 20, 50),
        piece(1, 5, 1, 400, 40),
        piece(1, 6, 4, 90, 70),
        piece(4, 0, 1, 1, 60),
        piece(7, 8, 8, 33, 80),
        piece(7, 20, 1, 700, 90),
    ]
}

const BEFORE: [(u32, u64); 3] = [(1, 3), (3, 11), (9, 0)];

fn before() -> Result<Vec<(u32, u64)>, LogError> {
    Ok(BEFORE.to_vec())
}

fn folder(disk: &SimDisk) -> Folder {
    Folder::new(Arc::new(disk.clone()), PathBuf::from("/log"))
}

fn write(folder: &Folder, pieces: &[Piece]) -> Result<SettledFile, LogError> {
    let mut writer = SettledWriter::create(folder, NUMBER, Class::Compact, SALT, BEFORE.to_vec())?;
    for piece in pieces {
        let (header, frame) = piece.frame();
        writer.push(&header, &frame, piece.timestamp)?;
    }
    writer.finish()
}

/// A folder with a settled file of these frames.
fn settled(pieces: &[Piece]) -> (SimDisk, SettledFile) {
    let disk = SimDisk::new();
    let file = write(&folder(&disk), pieces).unwrap();
    (disk, file)
}

fn load_it(disk: &SimDisk, file: &SettledFile) -> Loaded {
    load(&folder(disk), file, SALT, before).unwrap()
}

fn path() -> PathBuf {
    Path::new("/log").join(format!("{NUMBER:020}.settled"))
}

fn bytes_of(disk: &SimDisk) -> Vec<u8> {
    disk.contents().remove(&path()).unwrap()
}

fn disk_of(bytes: Vec<u8>) -> SimDisk {
    SimDisk::holding(BTreeMap::from([(path(), bytes)]))
}

/// The settled file of these bytes, as it is loaded after its index was made bad.
fn rebuilt(mut bytes: Vec<u8>, file: &SettledFile) -> Loaded {
    bytes[file.frames_end() as usize] ^= 1;
    let loaded = load_it(&disk_of(bytes), file);
    assert!(loaded.rebuilt);
    loaded
}

/// The frames with good checksums in a stretch of the file, up to the first that is none.
fn frames_in(bytes: &[u8], stretch: &Stretch) -> Vec<Header> {
    let (mut at, mut found) = (stretch.position as usize, Vec::new());
    while at < stretch.end() as usize {
        let Some(header) = Header::parse(&bytes[at..], SALT) else { break };
        let body = &bytes[at + frame::HEADER..][..header.length as usize];
        if !header.matches(body) {
            break;
        }
        at += header.span();
        found.push(header);
    }
    found
}
