//! Each rule by itself.

use super::known::MOST_SPAN;
use super::*;
use crate::batch::BatchBuilder;
use crate::codec::Cursor;
use crate::{LogError, RecordBatch, TopicPartition};

const PARTITION: u32 = 3;
const PRODUCER: i64 = 7;

fn batch(epoch: i16, first: i32, last: i32) -> Sequenced {
    Sequenced { producer: PRODUCER, epoch, first, last }
}

/// Producers in which the batches were noted one after another, an offset for each sequence.
fn with(batches: &[Sequenced]) -> Producers {
    let mut producers = Producers::new(DEFAULT_MOST);
    let mut base = 0;
    for batch in batches {
        let next = base + u64::from(batch.count());
        producers.note(PARTITION, batch, base, next, 0);
        base = next;
    }
    producers
}

/// As many batches of ten, from sequence `first` on.
fn tens(first: i32, count: i32) -> Vec<Sequenced> {
    (0..count).map(|n| batch(0, first + n * 10, first + n * 10 + 9)).collect()
}

fn encoded(producers: &Producers) -> Vec<u8> {
    let mut out = Vec::new();
    producers.encode(&mut out);
    out
}

fn kept(producers: &Producers) -> Vec<(u32, i64)> {
    producers.iter().map(|info| (info.partition, info.producer)).collect()
}

#[test]
fn an_unknown_producer_may_begin_with_any_sequence() {
    let producers = Producers::new(DEFAULT_MOST);
    for first in [0, 57, i32::MAX] {
        assert_eq!(producers.check(PARTITION, &batch(4, first, first)), Ok(Verdict::New));
    }
}

#[test]
fn a_batch_that_goes_on_is_new_and_a_gap_is_refused() {
    let producers = with(&tens(0, 2));
    assert_eq!(producers.check(PARTITION, &batch(0, 20, 20)), Ok(Verdict::New));
    let gap = Err(ProducerError::OutOfSequence { expected: 20, found: 21 });
    assert_eq!(producers.check(PARTITION, &batch(0, 21, 30)), gap);
    assert_eq!(producers.check(PARTITION + 1, &batch(0, 21, 30)), Ok(Verdict::New));
}

#[test]
fn each_of_the_last_five_batches_is_a_repeat_with_its_offsets() {
    let sent = tens(0, 7);
    let producers = with(&sent);
    for (n, batch) in sent.iter().enumerate().skip(2) {
        let base_offset = n as u64 * 10;
        let repeat = Verdict::Repeat { base_offset, next: base_offset + 10 };
        assert_eq!(producers.check(PARTITION, batch), Ok(repeat));
    }
}

#[test]
fn what_was_appended_before_the_last_five_is_stale() {
    let sent = tens(0, 7);
    let producers = with(&sent);
    for batch in [sent[0], sent[1], batch(0, 3, 17)] {
        let stale = ProducerError::Stale { expected: 70, found: batch.first };
        assert_eq!(producers.check(PARTITION, &batch), Err(stale));
    }
}

#[test]
fn a_batch_that_is_cut_otherwise_than_before_is_neither_repeat_nor_stale() {
    let producers = with(&tens(0, 7));
    for (first, last) in [(60, 68), (61, 69), (55, 64), (69, 70), (15, 24), (15, 69)] {
        let error = ProducerError::OutOfSequence { expected: 70, found: first };
        assert_eq!(producers.check(PARTITION, &batch(0, first, last)), Err(error));
    }
}

#[test]
fn what_may_have_been_lost_before_a_producer_became_known_is_not_called_stale() {
    let producers = with(&tens(1_000, 7));
    let surely = ProducerError::Stale { expected: 1_070, found: 1_000 };
    assert_eq!(producers.check(PARTITION, &batch(0, 1_000, 1_009)), Err(surely));
    let perhaps = ProducerError::OutOfSequence { expected: 1_070, found: 990 };
    assert_eq!(producers.check(PARTITION, &batch(0, 990, 999)), Err(perhaps));
}

#[test]
fn after_the_last_sequence_comes_the_first() {
    let sent = tens(i32::MAX - 19, 2);
    let mut producers = with(&sent);
    let across = batch(0, i32::MAX, 4);
    assert_eq!(across.count(), 6);
    assert_eq!(producers.check(PARTITION, &batch(0, 0, 9)), Ok(Verdict::New));
    producers.note(PARTITION, &batch(0, 0, 9), 20, 30, 0);
    assert_eq!(
        producers.check(PARTITION, &sent[1]),
        Ok(Verdict::Repeat { base_offset: 10, next: 20 })
    );
    let producers = with(&[batch(0, i32::MAX - 1, i32::MAX - 1), across]);
    assert_eq!(producers.check(PARTITION, &batch(0, 5, 5)), Ok(Verdict::New));
    let repeat = Verdict::Repeat { base_offset: 1, next: 7 };
    assert_eq!(producers.check(PARTITION, &across), Ok(repeat));
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_one_before() {
    let mut producers = with(&tens(0, 3));
    let not_zero = Err(ProducerError::OutOfSequence { expected: 0, found: 30 });
    assert_eq!(producers.check(PARTITION, &batch(1, 30, 39)), not_zero);
    assert_eq!(producers.check(PARTITION, &batch(1, 0, 9)), Ok(Verdict::New));
    producers.note(PARTITION, &batch(1, 0, 9), 30, 40, 0);
    let fenced = Err(ProducerError::Fenced { epoch: 0, current: 1 });
    assert_eq!(producers.check(PARTITION, &batch(0, 30, 39)), fenced);
    assert_eq!(producers.check(PARTITION, &batch(0, 0, 9)), fenced);
    let repeat = Verdict::Repeat { base_offset: 30, next: 40 };
    assert_eq!(producers.check(PARTITION, &batch(1, 0, 9)), Ok(repeat));
}

#[test]
fn two_billion_sequences_leave_room_to_tell_ahead_from_behind() {
    let half = i32::MAX / 2;
    let producers = with(&[batch(0, 0, half), batch(0, half + 1, i32::MAX), batch(0, 0, 5)]);
    assert_eq!(producers.iter().next().map(|info| info.last_sequence), Some(5));
    let ahead = Err(ProducerError::OutOfSequence { expected: 6, found: 7 });
    assert_eq!(producers.check(PARTITION, &batch(0, 7, 7)), ahead);
    let bytes = encoded(&producers);
    assert!(bytes.windows(4).any(|bytes| bytes == MOST_SPAN.to_le_bytes()));
}

#[test]
fn the_pair_without_a_new_batch_for_the_longest_gives_way() {
    let mut producers = Producers::new(2);
    let mut note = |partition, first, base| {
        producers.note(partition, &batch(0, first, first), base, base + 1, 9);
    };
    note(1, 0, 0);
    note(2, 0, 0);
    note(1, 1, 1);
    note(3, 0, 0);
    assert_eq!(kept(&producers), [(1, PRODUCER), (3, PRODUCER)]);
    assert_eq!(producers.check(2, &batch(0, 40, 40)), Ok(Verdict::New));
}

#[test]
fn a_replayed_batch_of_a_pair_that_gave_way_takes_nobodys_place() {
    let mut producers = Producers::new(1);
    producers.note(1, &batch(0, 0, 0), 0, 1, 0);
    producers.note(2, &batch(0, 0, 0), 0, 1, 0);
    producers.note(1, &batch(0, 0, 0), 0, 1, 0);
    assert_eq!(kept(&producers), [(2, PRODUCER)]);
    producers.note(1, &batch(0, 1, 1), 1, 2, 0);
    assert_eq!(kept(&producers), [(1, PRODUCER)]);
}

#[test]
fn a_partition_that_is_gone_takes_its_producers_along() {
    let mut producers = Producers::new(4);
    for partition in 1..=3 {
        for producer in [0, 5, i64::MAX] {
            let batch = Sequenced { producer, ..batch(0, 0, 0) };
            let base = producer.min(6).cast_unsigned();
            producers.note(partition, &batch, base, base + 1, 0);
        }
    }
    assert_eq!(kept(&producers).len(), 4);
    producers.forget_partition(3);
    assert_eq!(kept(&producers), [(2, i64::MAX)]);
    producers.forget_partition(2);
    producers.forget_partition(1);
    assert_eq!(encoded(&producers), [0; 8]);
}

#[test]
fn a_memory_of_none_forgets_at_once() {
    let mut producers = Producers::new(0);
    producers.note(1, &batch(0, 0, 0), 0, 1, 0);
    assert_eq!(kept(&producers), []);
}

#[test]
fn a_commit_sees_its_own_batches_and_shows_them_only_when_it_is_durable() {
    let mut producers = with(&tens(0, 1));
    let mut pending = Pending::over(&producers);
    let second = batch(0, 10, 19);
    pending.begin();
    assert_eq!(pending.check(PARTITION, &second), Ok(Verdict::New));
    pending.note(PARTITION, &second, 10, 20, 0);
    pending.begin();
    let repeat = Ok(Verdict::Repeat { base_offset: 10, next: 20 });
    assert_eq!(pending.check(PARTITION, &second), repeat);
    assert_eq!(producers.check(PARTITION, &second), Ok(Verdict::New));
    let notes = pending.into_notes();
    assert!(!notes.is_empty());
    producers.apply(notes);
    assert_eq!(producers.check(PARTITION, &second), repeat);
}

#[test]
fn an_append_that_is_refused_leaves_the_commit_as_it_was() {
    let mut producers = with(&tens(0, 1));
    let before = encoded(&producers);
    let mut pending = Pending::over(&producers);
    pending.begin();
    pending.note(PARTITION, &batch(0, 10, 19), 10, 20, 0);
    pending.begin();
    pending.note(PARTITION, &batch(0, 20, 29), 20, 30, 0);
    pending.note(PARTITION, &batch(0, 30, 39), 30, 40, 0);
    pending.note(PARTITION + 1, &batch(0, 0, 9), 0, 10, 0);
    pending.roll_back();
    let gap = Err(ProducerError::OutOfSequence { expected: 20, found: 30 });
    assert_eq!(pending.check(PARTITION, &batch(0, 30, 39)), gap);
    assert_eq!(pending.check(PARTITION + 1, &batch(0, 50, 59)), Ok(Verdict::New));
    assert_eq!(encoded(&producers), before);
    producers.apply(pending.into_notes());
    assert_eq!(encoded(&producers), encoded(&with(&tens(0, 2))));
}

#[test]
fn damaged_bytes_are_no_producers_and_take_no_memory() {
    let bytes = encoded(&with(&tens(0, 3)));
    let decode = |bytes: &[u8]| Producers::decode(&mut Cursor::new(bytes), 10);
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_none(), "{length} bytes");
    }
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode(&bytes)
    };
    assert!(decode(&bytes).is_some());
    let (count, producer, epoch, span, batches, first) = (0, 15, 25, 26, 30, 31);
    for (at, value) in
        [(count, 2), (producer, 0x80), (epoch, 0x80), (span, 1), (batches, 6), (first, 1)]
    {
        assert!(changed(at, value).is_none(), "{value} at byte {at}");
    }
    assert!(changed(batches, 0).is_none(), "a producer without batches");
    assert!(decode(&[0xff; 64]).is_none());
    let twice = [&[2, 0, 0, 0], &bytes[4..bytes.len() - 4], &bytes[4..]].concat();
    assert!(decode(&twice).is_none(), "one pair twice");
}

#[test]
fn a_smaller_memory_keeps_the_latest_of_what_a_larger_one_wrote() {
    let mut producers = Producers::new(10);
    for partition in [4, 2, 9, 1] {
        producers.note(partition, &batch(0, 0, 0), 0, 1, 0);
    }
    let fewer = Producers::decode(&mut Cursor::new(&encoded(&producers)), 2);
    assert_eq!(kept(&fewer.expect("a memory")), [(1, PRODUCER), (9, PRODUCER)]);
}

/// A batch of three records whose header names a producer.
fn record_batch(attributes: u16, producer: i64, epoch: i16, first: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    for _ in 0..3 {
        builder.push(0, None, Some(b"value"), []).expect("a small record");
    }
    let mut bytes = builder.finish().to_vec();
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[43..51].copy_from_slice(&producer.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&first.to_be_bytes());
    RecordBatch::parse_trusted(bytes.into()).expect("a batch")
}

#[test]
fn a_batch_says_who_made_it() {
    let read = record_batch(0x10, 7, 2, i32::MAX - 1);
    assert_eq!((read.producer_id(), read.producer_epoch()), (7, 2));
    assert_eq!((read.base_sequence(), read.last_sequence()), (i32::MAX - 1, 0));
    assert!(read.is_transactional() && !read.is_control());
    let expected = Sequenced { producer: 7, epoch: 2, first: i32::MAX - 1, last: 0 };
    assert_eq!(Sequenced::of(&read).expect("a place"), Some(expected));
    assert_eq!(expected.count(), 3);
}

#[test]
fn a_batch_of_nobody_and_a_marker_have_no_place_and_half_a_place_is_refused() {
    let plain = record_batch(0, -1, -1, -1);
    assert_eq!((plain.last_sequence(), plain.is_transactional()), (-1, false));
    assert_eq!(Sequenced::of(&plain).expect("none"), None);
    assert_eq!(Sequenced::of(&record_batch(0x30, 7, 2, -1)).expect("none"), None);
    for half in [record_batch(0, 7, 2, -1), record_batch(0, 7, -1, 0)] {
        assert!(matches!(Sequenced::of(&half), Err(LogError::Invalid { .. })));
    }
}

#[test]
fn a_refusal_says_what_to_whom_and_what_to_do() {
    let told = |error: ProducerError| error.of(TopicPartition::new("orders", 2), 7).to_string();
    let gap = told(ProducerError::OutOfSequence { expected: 5, found: 9 });
    assert!(gap.contains("orders") && gap.contains("send what is missing first"), "{gap}");
    let stale = told(ProducerError::Stale { expected: 50, found: 9 });
    assert!(stale.contains("do not send it again"), "{stale}");
    let fenced = told(ProducerError::Fenced { epoch: 1, current: 2 });
    assert!(fenced.contains("epoch 1 of producer 7 is over"), "{fenced}");
}

/// Run it with `cargo test --release -p dhara-log --lib -- --ignored --nocapture the_time_of`.
#[test]
#[ignore = "it measures, and asserts nothing of time"]
fn the_time_of_a_check_and_a_note() {
    const BATCHES: i64 = 2_000_000;
    for (pairs, in_a_commit) in [(1, 1), (1, 100), (10, 10), (1_000, 1_000), (10_000, 1_000)] {
        let mut producers = Producers::new(DEFAULT_MOST);
        let next_of = |n: i64| {
            let base = n / pairs;
            let first = i32::try_from(base).expect("a sequence");
            let batch = Sequenced { producer: n % pairs, epoch: 0, first, last: first };
            (batch, base.cast_unsigned())
        };
        let start = std::time::Instant::now();
        for n in 0..BATCHES {
            let (batch, base) = next_of(n);
            assert_eq!(producers.check(PARTITION, &batch), Ok(Verdict::New));
            producers.note(PARTITION, &batch, base, base + 1, base);
        }
        let alone = start.elapsed().as_nanos() / 2_000_000;
        let start = std::time::Instant::now();
        for commit in 0..BATCHES / in_a_commit {
            let mut pending = Pending::over(&producers);
            for n in 0..in_a_commit {
                let (batch, base) = next_of(BATCHES + commit * in_a_commit + n);
                pending.begin();
                assert_eq!(pending.check(PARTITION, &batch), Ok(Verdict::New));
                pending.note(PARTITION, &batch, base, base + 1, base);
            }
            let notes = pending.into_notes();
            producers.apply(notes);
        }
        let committed = start.elapsed().as_nanos() / 2_000_000;
        println!("{pairs} pairs: {alone} ns; in commits of {in_a_commit}: {committed} ns a batch");
    }
}

#[test]
#[ignore = "it measures, and asserts nothing of time"]
fn the_time_of_a_full_state() {
    let mut producers = Producers::new(DEFAULT_MOST);
    for producer in (0..).take(DEFAULT_MOST) {
        for first in 0..5 {
            let batch = Sequenced { producer, epoch: 0, first, last: first };
            let base = first.cast_unsigned().into();
            producers.note(PARTITION, &batch, base, base + 1, 0);
        }
    }
    let start = std::time::Instant::now();
    let bytes = encoded(&producers);
    let to_encode = start.elapsed();
    let start = std::time::Instant::now();
    let read = Producers::decode(&mut Cursor::new(&bytes), DEFAULT_MOST).expect("a memory");
    let (length, to_decode) = (bytes.len(), start.elapsed());
    println!("{} pairs: {length} bytes, {to_encode:?}, back {to_decode:?}", read.iter().count());
}
