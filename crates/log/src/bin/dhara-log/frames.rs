//! `frames`: the frames of all files, as they lie.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use dhara_log::inspect::{self, FrameInfo, Piece};
use dhara_world::disk::RealDisk;

use crate::{Failure, Outcome};

pub(crate) fn frames(dir: &Path, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut written = Ok(());
    inspect::frames(Arc::new(RealDisk), dir, |file, position, piece| {
        if written.is_ok() {
            written = put(file, position, &piece, out);
        }
        written.is_ok()
    })?;
    written?;
    Ok(Outcome::Good)
}

fn put(file: &str, position: u64, piece: &Piece, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{file} {position} ")?;
    match piece {
        Piece::Frame(frame) => put_frame(frame, out),
        Piece::Zeros { bytes } => writeln!(out, "{bytes} bytes of zeros"),
        Piece::Other { bytes } => writeln!(out, "{bytes} bytes that are no frame"),
        _ => writeln!(out),
    }
}

fn put_frame(frame: &FrameInfo, out: &mut dyn Write) -> std::io::Result<()> {
    let FrameInfo { kind, sequence, synced, base, epoch, rest, length, .. } = frame;
    write!(out, "{kind} sequence={sequence} synced={synced} epoch={epoch}")?;
    if frame.count > 0 || *kind == "trim" {
        write!(out, " partition={} base={base} count={}", frame.partition, frame.count)?;
    } else if *base > 0 {
        write!(out, " base={base}")?;
    }
    if *rest > 0 {
        write!(out, " rest={rest}")?;
    }
    write!(out, " length={length}")?;
    write!(out, "{}", if frame.is_good { "" } else { " BAD BODY" })?;
    writeln!(out, "{}", if frame.is_old { " (old)" } else { "" })
}
