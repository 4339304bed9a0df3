//! Batches as producers compress them.

use std::io::{Read, Write};

use bytes::Bytes;

/// Each way in which the records of a batch reach the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    SnappyRaw,
    SnappyXerial,
    Lz4,
    Lz4Linked,
    Zstd,
}

pub(crate) const CODECS: [Codec; 7] = [
    Codec::None,
    Codec::Gzip,
    Codec::SnappyRaw,
    Codec::SnappyXerial,
    Codec::Lz4,
    Codec::Lz4Linked,
    Codec::Zstd,
];

impl Codec {
    /// Its number in a batch's attributes.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::SnappyRaw | Self::SnappyXerial => 2,
            Self::Lz4 | Self::Lz4Linked => 3,
            Self::Zstd => 4,
        }
    }

    pub(crate) fn compress(self, records: &[u8]) -> Vec<u8> {
        match self {
            Self::None => records.to_vec(),
            Self::Gzip => {
                let mut out = Vec::new();
                let level = flate2::Compression::default();
                flate2::bufread::GzEncoder::new(records, level).read_to_end(&mut out).unwrap();
                out
            }
            Self::SnappyRaw => snap::raw::Encoder::new().compress_vec(records).unwrap(),
            Self::SnappyXerial => xerial(records, 1 << 15),
            Self::Lz4 => lz4(records, lz4_flex::frame::BlockMode::Independent),
            Self::Lz4Linked => lz4(records, lz4_flex::frame::BlockMode::Linked),
            Self::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                ruzstd::encoding::compress_to_vec(records, level)
            }
        }
    }

    /// `batch`, which is not compressed, as a producer with this codec sends it.
    pub(crate) fn batch(self, batch: &Bytes) -> Bytes {
        packed(batch, self.number(), &self.compress(batch.get(61..).unwrap()))
    }
}

/// The header of `batch` before other records, with codec, length and checksum that fit them.
pub(crate) fn packed(batch: &Bytes, codec: u8, records: &[u8]) -> Bytes {
    let mut out = batch.get(..61).unwrap().to_vec();
    out.extend_from_slice(records);
    let attributes = out.get(22).unwrap() & !7 | codec;
    set(&mut out, 22, &[attributes]);
    sealed(out)
}

/// The batch with the length and the checksum that its bytes have.
pub(crate) fn sealed(mut batch: Vec<u8>) -> Bytes {
    let length = (batch.len() - 12) as u32;
    set(&mut batch, 8, &length.to_be_bytes());
    let crc = crc32c::crc32c(batch.get(21..).unwrap());
    set(&mut batch, 17, &crc.to_be_bytes());
    batch.into()
}

pub(crate) fn set(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch.get_mut(at..at + bytes.len()).unwrap().copy_from_slice(bytes);
}

/// The stream of `snappy-java`: magic, two versions, then blocks with their lengths before them.
pub(crate) fn xerial(records: &[u8], block: usize) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in records.chunks(block) {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&block);
    }
    out
}

fn lz4(records: &[u8], mode: lz4_flex::frame::BlockMode) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().block_mode(mode);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records).unwrap();
    encoder.finish().unwrap()
}
