//! What is written, and what is left when that fails.

use dhara_world::Random;
use dhara_world::disk::Disk;
use dhara_world::disk::sim::{Fault, Op};

use super::*;
use crate::codec::Cursor;
use crate::segment::FileKind;

#[test]
fn what_was_pushed_is_found_frame_by_frame() {
    let (disk, file) = settled(&pieces());
    let bytes = bytes_of(&disk);
    assert_eq!(bytes.len() as u64, file.length);
    assert_eq!((file.number, file.class, file.partitions), (NUMBER, Class::Compact, 3));
    assert_eq!(disk.contents().len(), 1, "the temporary name is gone");
    let loaded = load_it(&disk, &file);
    assert!(!loaded.rebuilt && loaded.damage.is_empty());
    for run in loaded.index.runs() {
        let wanted: Vec<_> =
            pieces().into_iter().filter(|piece| piece.partition == run.partition).collect();
        let found: Vec<_> = loaded
            .index
            .blocks(run.partition)
            .flat_map(|block| frames_in(&bytes, &block))
            .map(|header| (header.partition, header.base, header.count))
            .collect();
        let wanted_frames: Vec<_> =
            wanted.iter().map(|piece| (piece.partition, piece.base, piece.count)).collect();
        assert_eq!(found, wanted_frames);
        assert_eq!(loaded.index.run(run.partition), Some(run));
        assert_eq!((run.base, run.end), (wanted[0].base, wanted[wanted.len() - 1].next()));
        assert_eq!(Some(run.max_timestamp), wanted.iter().map(|piece| piece.timestamp).max());
        let bytes: u64 =
            loaded.index.blocks(run.partition).map(|block| u64::from(block.bytes)).sum();
        assert_eq!(bytes, run.bytes);
    }
    let all: u64 = loaded.index.runs().map(|run| run.bytes).sum();
    assert_eq!(all, file.frame_bytes);
}

#[test]
fn frames_are_scanned_in_the_order_they_were_pushed() {
    let (disk, file) = settled(&pieces());
    let mut frames = Frames::of(&folder(&disk), &file, SALT).unwrap();
    let mut expected = HEADER;
    for piece in pieces() {
        let (wanted, bytes) = piece.frame();
        let found = frames.next().unwrap();
        let max_timestamp = piece.timestamp;
        let frame =
            Found::Frame { header: wanted, position: expected, max_timestamp, is_good: true };
        assert_eq!(found, Some(frame));
        expected += bytes.len() as u64;
    }
    assert_eq!(frames.next().unwrap(), None);
    assert_eq!(expected, file.frames_end());
}

#[test]
fn a_frame_longer_than_the_window_is_written_and_scanned_whole() {
    let long = [piece(1, 0, 1, 3 << 20, 9), piece(1, 1, 1, 10, 8)];
    let (disk, file) = settled(&long);
    let bytes = bytes_of(&disk);
    assert_eq!(frames_in(&bytes, &load_it(&disk, &file).index.locate(1, 0, 1)[0]).len(), 1);
    let loaded = rebuilt(bytes, &file);
    assert_eq!(loaded.index.first_after(1, 9).unwrap().offset, 0);
    assert_eq!(loaded.damage.len(), 1);
}

#[test]
fn a_file_without_frames_tells_the_ends_before_it() {
    let (disk, file) = settled(&[]);
    let loaded = load_it(&disk, &file);
    assert_eq!((loaded.index.ends(), loaded.index.runs().count()), (&BEFORE[..], 0));
    assert_eq!(rebuilt(bytes_of(&disk), &file).index, loaded.index);
}

#[test]
fn what_the_state_file_lists_comes_back() {
    let (disk, file) = settled(&few());
    let mut out = Vec::new();
    file.encode(&mut out);
    assert_eq!(out.len(), SettledFile::ENCODED);
    assert_eq!(SettledFile::decode(&mut Cursor::new(&out)), Some(file));
    for length in 0..out.len() {
        assert_eq!(SettledFile::decode(&mut Cursor::new(&out[..length])), None);
    }
    assert_eq!(read_header(&folder(&disk), NUMBER, SALT).unwrap(), Some(file));
    assert_eq!(read_header(&folder(&disk), NUMBER, SALT + 1).unwrap(), None, "of another log");
    assert!(read_header(&folder(&disk), NUMBER + 1, SALT).is_err(), "there is no such file");
}

#[test]
fn frames_out_of_order_are_refused_and_the_others_stay() {
    let disk = SimDisk::new();
    let folder = folder(&disk);
    let mut writer =
        SettledWriter::create(&folder, NUMBER, Class::Plain, SALT, Vec::new()).unwrap();
    let mut push = |piece: Piece, cut: usize| {
        let (header, frame) = piece.frame();
        writer.push(&header, &frame[cut..], piece.timestamp)
    };
    push(piece(3, 10, 5, 9, 1), 0).unwrap();
    for (bad, cut) in [
        (piece(3, 14, 1, 9, 1), 0),
        (piece(2, 50, 1, 9, 1), 0),
        (piece(3, 15, 0, 9, 1), 0),
        (piece(3, u64::MAX, 1, 9, 1), 0),
        (piece(3, 15, 1, 9, 1), 8),
    ] {
        let error = push(bad, cut).unwrap_err();
        assert!(matches!(error, LogError::Invalid { .. }), "{error}");
    }
    push(piece(3, 15, 1, 9, 1), 0).unwrap();
    let file = writer.finish().unwrap();
    let index = load(&folder, &file, SALT, || Ok(Vec::new())).unwrap().index;
    assert_eq!(index.ends(), [(3, 16)]);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let disk = SimDisk::new();
    let folder = folder(&disk);
    let writer = SettledWriter::create(&folder, NUMBER, Class::Plain, SALT, Vec::new()).unwrap();
    assert_eq!((disk.contents().len(), writer.frame_bytes()), (1, 0));
    drop(writer);
    assert!(disk.contents().is_empty());
}

#[test]
fn whichever_call_fails_there_is_no_file_of_that_name() {
    let disk = SimDisk::new();
    write(&folder(&disk), &pieces()).unwrap();
    let calls = disk.calls();
    assert!(calls >= 6, "create, empty, write, header, sync, rename, folder");
    for after in 0..calls {
        for error in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
            let disk = SimDisk::new();
            disk.set_fault(Some(Fault { after, error, lasting: false }));
            write(&folder(&disk), &pieces()).unwrap_err();
            assert!(disk.contents().is_empty(), "call {after}");
            disk.set_fault(None);
            let file = write(&folder(&disk), &pieces()).unwrap();
            assert!(!load_it(&disk, &file).rebuilt);
        }
    }
}

#[test]
fn a_write_that_failed_is_not_tried_again() {
    let disk = SimDisk::new();
    let folder = folder(&disk);
    let mut writer =
        SettledWriter::create(&folder, NUMBER, Class::Plain, SALT, Vec::new()).unwrap();
    disk.set_fault(Some(Fault { after: 0, error: std::io::ErrorKind::Other, lasting: false }));
    let (header, frame) = piece(1, 0, 1, 2 << 20, 1).frame();
    writer.push(&header, &frame, 1).unwrap_err();
    assert!(matches!(writer.finish(), Err(LogError::Io { .. })));
    assert!(disk.contents().is_empty());
}

#[test]
fn after_a_crash_at_any_point_the_name_stands_for_the_whole_file() {
    let disk = SimDisk::new();
    let file = write(&folder(&disk), &few()).unwrap();
    let whole = bytes_of(&disk);
    let random = Random::from_seed(3);
    let last = disk.moment();
    disk.history().each_moment(|moment, image| {
        for _ in 0..40 {
            let found = image.crash(&random).remove(&path());
            assert!(found.as_ref().is_none_or(|bytes| *bytes == whole), "moment {moment}");
            assert!(found.is_some() || moment < last, "it was finished");
        }
    });
    assert_eq!(file.length, whole.len() as u64);
}

#[test]
fn a_long_file_is_synced_on_the_way() {
    let disk = SimDisk::new();
    let long: Vec<_> = (0..20).map(|base| piece(1, base, 1, 1 << 20, 1)).collect();
    write(&folder(&disk), &long).unwrap();
    let (mut dirty, mut most, mut longest, mut syncs) = (0, 0, 0, 0);
    for op in disk.history().ops() {
        match op {
            Op::Write { bytes, .. } => {
                dirty += bytes.len();
                longest = longest.max(bytes.len());
            }
            Op::Sync { .. } => {
                syncs += 1;
                dirty = 0;
            }
            _ => {}
        }
        most = most.max(dirty);
    }
    assert!((8 << 20..9 << 20).contains(&most) && longest == 1 << 20 && syncs == 3);
}

#[test]
fn a_handle_is_kept_until_its_file_is_forgotten() {
    let (disk, file) = settled(&few());
    let folder = folder(&disk);
    assert!(!load(&folder, &file, SALT, before).unwrap().rebuilt);
    disk.remove(&path()).unwrap();
    folder.settled(NUMBER).unwrap();
    folder.forget(FileKind::Journal, NUMBER);
    folder.settled(NUMBER).unwrap();
    folder.forget(FileKind::Settled, NUMBER);
    folder.settled(NUMBER).unwrap_err();
}
