//! What the index answers.

use super::*;
use crate::settled::index::SettledIndex;

#[test]
fn every_offset_is_located() {
    let (disk, file) = settled(&pieces());
    let index = load_it(&disk, &file).index;
    let runs: Vec<Run> = index.runs().collect();
    for partition in runs.iter().map(|run| run.partition) {
        let frames: Vec<_> =
            pieces().into_iter().filter(|piece| piece.partition == partition).collect();
        let end = frames[frames.len() - 1].next();
        for offset in 0..end {
            // What a reader wants is the first frame that ends after the offset.
            let wanted = frames.iter().find(|frame| frame.next() > offset).unwrap();
            let found = index.locate(partition, offset, 1);
            let [block] = found[..] else { panic!("one block, not {found:?}") };
            assert!(block.offset <= wanted.base && wanted.next() <= block.next);
        }
        assert_eq!(index.locate(partition, end, 1 << 20), []);
        assert_eq!(index.end_of(partition), end);
    }
    assert_eq!(runs.len(), 3);
    assert_eq!(index.locate(3, 0, 1 << 20), []);
    assert_eq!((index.end_of(3), index.end_of(4)), (11, 0));
}

#[test]
fn located_blocks_follow_one_another_up_to_the_bound() {
    let (disk, file) = settled(&pieces());
    let index = load_it(&disk, &file).index;
    let all: Vec<_> = index.blocks(2).collect();
    assert!(all.len() > 5);
    assert!(all[..all.len() - 1].iter().all(|block| (BLOCK..BLOCK + 8_000).contains(&block.bytes)));
    for window in all.windows(2) {
        assert_eq!((window[0].end(), window[0].next), (window[1].position, window[1].offset));
    }
    assert_eq!(index.locate(2, 0, usize::MAX), all);
    let two = (all[0].bytes + all[1].bytes) as usize;
    assert_eq!(index.locate(2, 0, two), all[..2]);
    assert_eq!(index.locate(2, 0, two - 1), all[..1]);
    assert_eq!(index.locate(2, all[1].offset, 0), all[1..2]);
}

#[test]
fn the_first_block_that_is_late_enough_is_found() {
    let (disk, file) = settled(&pieces());
    let index = load_it(&disk, &file).index;
    for timestamp in 990..1_070 {
        let wanted = index.blocks(2).find(|block| block.max_timestamp >= timestamp);
        assert_eq!(index.first_after(2, timestamp), wanted);
        assert_eq!(wanted.is_some(), timestamp <= 1_059);
    }
    // Timestamps need not rise: the first block here has the greatest.
    assert_eq!(index.first_after(9, 4_000).unwrap().offset, 0);
    assert_eq!(index.first_after(8, 0), None);
}

#[test]
fn ends_rise_over_those_known_before() {
    let (disk, file) = settled(&few());
    let index = load_it(&disk, &file).index;
    assert_eq!(index.ends(), [(1, 10), (3, 11), (4, 1), (7, 21), (9, 0)]);
    let disk = SimDisk::new();
    let folder = folder(&disk);
    // A compaction may have dropped the last records: the ends that it was given stay.
    let ends = vec![(1, 50), (7, 2)];
    let mut writer = SettledWriter::create(&folder, 1, Class::Compact, SALT, ends).unwrap();
    for piece in few() {
        let (header, frame) = piece.frame();
        writer.push(&header, &frame, piece.timestamp).unwrap();
    }
    let file = writer.finish().unwrap();
    let index = load(&folder, &file, SALT, before).unwrap().index;
    assert_eq!(index.ends(), [(1, 50), (4, 1), (7, 21)]);
}

#[test]
fn an_index_of_a_hundred_thousand_partitions_stays_small() {
    const PARTITIONS: u32 = 100_000;
    let disk = SimDisk::new();
    let folder = folder(&disk);
    let mut writer =
        SettledWriter::create(&folder, NUMBER, Class::Plain, SALT, Vec::new()).unwrap();
    for partition in 0..PARTITIONS {
        let (header, frame) = piece(partition, 5, 2, 1, 1).frame();
        writer.push(&header, &frame, 1).unwrap();
    }
    let file = writer.finish().unwrap();
    assert_eq!(file.partitions, PARTITIONS);
    let loaded = load(&folder, &file, SALT, || Ok(Vec::new())).unwrap();
    assert!(!loaded.rebuilt);
    let each = PARTITIONS as usize;
    assert!(file.index_bytes() as usize <= 48 * each + 16);
    assert!(loaded.index.byte_len() <= 64 * each + 200);
    for partition in (0..PARTITIONS).step_by(997) {
        assert_eq!(loaded.index.locate(partition, 6, 1 << 20).len(), 1);
        assert_eq!(loaded.index.end_of(partition), 7);
    }
}

#[test]
fn an_index_decodes_only_when_it_agrees_with_itself() {
    let (disk, file) = settled(&few());
    let index = load_it(&disk, &file).index;
    let bytes = index.encode();
    assert_eq!(SettledIndex::decode(&bytes, file.frame_bytes).as_ref(), Some(&index));
    assert_eq!(SettledIndex::decode(&bytes, file.frame_bytes + 8), None);
    for length in 0..bytes.len() {
        assert_eq!(SettledIndex::decode(&bytes[..length], file.frame_bytes), None);
    }
    // Counts that claim more than is there take no memory, and nothing panics.
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = bytes.clone();
            bad[at] = value;
            SettledIndex::decode(&bad, file.frame_bytes);
        }
    }
}

#[test]
fn the_cache_keeps_what_was_used_lately_within_its_bound() {
    let (disk, file) = settled(&pieces());
    let index = Arc::new(load_it(&disk, &file).index);
    let mut cache = IndexCache::new(index.byte_len() * 3);
    for number in 1..=3 {
        cache.put(number, &index);
    }
    assert!(cache.get(1).is_some(), "the oldest is now the latest");
    cache.put(4, &index);
    let kept = |cache: &mut IndexCache| (1..=4).filter(|n| cache.get(*n).is_some()).collect();
    let found: Vec<u64> = kept(&mut cache);
    assert_eq!(found, [1, 3, 4]);
    cache.put(4, &index);
    cache.forget(3);
    cache.put(2, &index);
    let found: Vec<u64> = kept(&mut cache);
    assert_eq!(found, [1, 2, 4], "what was put twice counts once");
    let mut tight = IndexCache::new(1);
    tight.put(1, &index);
    assert!(tight.get(1).is_some(), "one always stays");
}
