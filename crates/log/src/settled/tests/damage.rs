//! What is found, and what is read on, when bits flip or bytes are missing.

use super::*;
use crate::segment::FileKind;

#[test]
fn an_index_that_is_rebuilt_is_the_one_that_was_written() {
    for pieces in [pieces(), few()] {
        let (disk, file) = settled(&pieces);
        let original = load_it(&disk, &file).index;
        let bytes = bytes_of(&disk);
        for at in (file.frames_end()..file.length).map(|at| at as usize) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let loaded = load_it(&disk_of(bad), &file);
            assert!(loaded.rebuilt);
            assert_eq!(loaded.index, original, "byte {at}");
            let [damage] = &loaded.damage[..] else { panic!("{:?}", loaded.damage) };
            assert_eq!((damage.position, damage.length), (file.frames_end(), file.index_bytes()));
        }
    }
}

#[test]
fn every_flipped_bit_of_header_and_index_is_reported_or_harmless() {
    let (disk, file) = settled(&few());
    let original = load_it(&disk, &file).index;
    let bytes = bytes_of(&disk);
    for at in (0..HEADER).chain(file.frames_end()..file.length).map(|at| at as usize) {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let disk = disk_of(bad);
            let loaded = load_it(&disk, &file);
            assert_eq!(loaded.index, original, "byte {at} bit {bit}");
            let is_used = at % 512 < 64 || at >= 1024;
            assert_eq!(loaded.damage.len(), usize::from(is_used), "byte {at} bit {bit}");
            assert_eq!(loaded.rebuilt, at >= 1024);
            assert_eq!(read_header(&folder(&disk), NUMBER, SALT).unwrap(), Some(file));
        }
    }
}

#[test]
fn a_header_of_a_later_version_is_refused_when_both_copies_say_so() {
    let (disk, file) = settled(&few());
    let mut bytes = bytes_of(&disk);
    bytes[8] = 3;
    assert_eq!(load_it(&disk_of(bytes.clone()), &file).damage.len(), 1);
    bytes[512 + 8] = 3;
    let error = read_header(&folder(&disk_of(bytes)), NUMBER, SALT).unwrap_err();
    assert!(error.to_string().contains("version 3"), "{error}");
}

#[test]
fn a_file_of_any_length_serves_only_what_is_there() {
    let pieces = few();
    let (disk, file) = settled(&pieces);
    let bytes = bytes_of(&disk);
    for length in 0..bytes.len() {
        let cut = bytes[..length].to_vec();
        let loaded = load_it(&disk_of(cut.clone()), &file);
        assert!(loaded.rebuilt);
        let missing = loaded.damage.iter().any(|damage| damage.position < file.frames_end());
        assert_eq!(missing, (length as u64) < file.frames_end(), "length {length}");
        let mut at = HEADER as usize;
        for piece in &pieces {
            let end = at + piece.frame().1.len();
            let found = loaded.index.locate(piece.partition, piece.base, usize::MAX);
            let holds = found.first().is_some_and(|block| block.offset <= piece.base);
            assert_eq!(holds, end <= length, "length {length}, offset {}", piece.base);
            assert!(found.iter().all(|block| block.end() <= length as u64));
            at = end;
        }
        assert_eq!(loaded.index.end_of(3), 11);
    }
}

#[test]
fn a_file_that_is_longer_than_it_was_is_read_as_it_was() {
    let (disk, file) = settled(&few());
    let original = load_it(&disk, &file).index;
    let mut bytes = bytes_of(&disk);
    bytes.extend_from_slice(&[9; 100]);
    assert_eq!(load_it(&disk_of(bytes), &file).index, original);
}

#[test]
fn a_bad_frame_inside_a_run_stays_where_its_reader_finds_it() {
    let pieces = pieces();
    let (disk, file) = settled(&pieces);
    let original = load_it(&disk, &file).index;
    let bytes = bytes_of(&disk);
    let mut at = HEADER as usize;
    for (number, bad) in pieces.iter().enumerate() {
        let mut damaged = bytes.clone();
        damaged[at + 20] ^= 4;
        at += bad.frame().1.len();
        let neighbours = [number.wrapping_sub(1), number + 1].map(|number| pieces.get(number));
        let is_inside = neighbours.iter().all(|n| n.is_some_and(|n| n.partition == bad.partition));
        let loaded = rebuilt(damaged.clone(), &file);
        assert_eq!(loaded.damage.len(), 2, "the index and the frame");
        for piece in &pieces {
            let found = loaded.index.locate(piece.partition, piece.base, 1);
            let headers = found.first().map(|block| frames_in(&damaged, block)).unwrap_or_default();
            let is_read = headers.iter().any(|header| header.base == piece.base);
            // Those behind the bad one in its block are found by whoever looks on after it.
            let block = found.first();
            let is_behind = block.is_some_and(|block| {
                piece.partition == bad.partition
                    && block.offset <= bad.base
                    && (bad.base..block.next).contains(&piece.base)
            });
            let is_lost = piece.base == bad.base && piece.partition == bad.partition;
            assert!(is_read || is_behind || is_lost, "{bad:?} {piece:?}");
        }
        if is_inside {
            let runs = loaded.index.runs().map(|run| (run.partition, run.base, run.end, run.bytes));
            let wanted = original.runs().map(|run| (run.partition, run.base, run.end, run.bytes));
            assert!(runs.eq(wanted), "{bad:?}");
            assert!(loaded.index.locate(bad.partition, bad.base, 1)[0].offset <= bad.base);
        }
    }
}

#[test]
fn a_frame_with_a_bad_body_stays_in_a_rebuilt_index_without_its_timestamp() {
    let (disk, file) = settled(&few());
    let mut bytes = bytes_of(&disk);
    let at = bytes_of(&disk).len() - file.index_bytes() as usize - 20;
    bytes[at] ^= 1;
    let mut frames = Frames::of(&folder(&disk_of(bytes.clone())), &file, SALT).unwrap();
    let mut bad = Vec::new();
    while let Some(found) = frames.next().unwrap() {
        if let Found::Frame { header, max_timestamp, is_good: false, .. } = found {
            bad.push((header.base, max_timestamp));
        }
    }
    assert_eq!(bad, [(20, NO_TIMESTAMP)]);
    let loaded = rebuilt(bytes, &file);
    assert_eq!(loaded.index.run(7).map(|run| (run.end, run.max_timestamp)), Some((21, 80)));
    assert_eq!(loaded.damage.len(), 1, "a body is found bad by who reads it");
}

#[test]
fn what_was_given_back_is_no_damage() {
    let (disk, file) = settled(&pieces());
    let folder = folder(&disk);
    let original = load(&folder, &file, SALT, before).unwrap().index;
    let (first, last) = (original.run(2).unwrap(), original.run(9).unwrap());
    let handle = folder.settled(NUMBER).unwrap();
    handle.punch(first.position, first.bytes).unwrap();
    let dead: u64 = original.blocks(9).take(1).map(|block| u64::from(block.bytes)).sum();
    handle.punch(last.position, dead).unwrap();
    folder.forget(FileKind::Settled, NUMBER);
    assert_eq!(load_it(&disk, &file).index, original, "the index is not touched");
    let loaded = rebuilt(bytes_of(&disk), &file);
    assert_eq!(loaded.damage.len(), 1, "{:?}", loaded.damage);
    assert_eq!((loaded.index.run(2), loaded.index.run(5)), (None, original.run(5)));
    let kept: Vec<_> = original.blocks(9).skip(1).collect();
    assert_eq!(loaded.index.blocks(9).collect::<Vec<_>>(), kept);
}

#[test]
fn a_file_of_another_log_or_number_tells_nothing() {
    let (disk, file) = settled(&few());
    let loaded = load(&folder(&disk), &file, SALT + 1, || Ok(Vec::new())).unwrap();
    assert!(loaded.rebuilt);
    assert_eq!(loaded.index.runs().count(), 0);
    assert_eq!(loaded.damage.len(), 4, "two headers, the index, and all frames");
}
