//! Topics that are acked before they are synced, and how soon they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhara_log::{
    Append, Committer, Log, NewTopic, Options, SyncPolicy, TopicConfig, TopicPartition,
};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Timestamp};
use support::{append, batch, read_from};

fn open(clock: Clock, mark_delay: Duration) -> Log {
    let options = Options { first_segment_bytes: 1 << 20, clock, mark_delay, ..Options::default() };
    let log = Log::open(Arc::new(SimDisk::new()), Path::new("/log"), options).unwrap();
    for (name, sync) in [
        ("every", SyncPolicy::EveryAck),
        ("interval", SyncPolicy::Interval(Duration::from_millis(20))),
        ("os", SyncPolicy::Os),
    ] {
        let config = TopicConfig { sync, ..TopicConfig::default() };
        log.new_topic(NewTopic { config, ..NewTopic::new(name, 1) }).unwrap();
    }
    log
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

fn manual() -> Clock {
    Clock::manual(Timestamp::from_millis(1_000_000))
}

#[test]
fn weaker_topics_are_acked_without_a_sync_and_named_in_the_statistics() {
    let log = open(manual(), Duration::from_secs(1));
    let weaker = log.stats().weaker;
    let named: Vec<_> = weaker.iter().map(|(name, sync)| (name.as_ref(), *sync)).collect();
    let interval = SyncPolicy::Interval(Duration::from_millis(20));
    assert_eq!(named, [("interval", interval), ("os", SyncPolicy::Os)]);
    let before = log.stats().syncs;
    for name in ["interval", "os"] {
        append(&log, &at(name), &["value"]).unwrap();
        assert_eq!(read_from(&log, &at(name), 0).len(), 1);
    }
    assert_eq!(log.stats().syncs, before);
    log.sync_step();
    assert_eq!(log.stats().syncs, before + 1);
    log.sync_step();
    assert_eq!(log.stats().syncs, before + 1, "there is nothing to sync");
    append(&log, &at("os"), &["value"]).unwrap();
    append(&log, &at("every"), &["value"]).unwrap();
    assert_eq!(log.stats().syncs, before + 2, "one sync is for both");
    log.sync_step();
    assert_eq!(log.stats().syncs, before + 2);
    log.configure_topic("os", TopicConfig::default()).unwrap();
    let before = log.stats().syncs;
    append(&log, &at("os"), &["value"]).unwrap();
    assert_eq!(log.stats().syncs, before + 1);
}

#[test]
fn a_commit_after_the_interval_syncs_what_the_ones_before_it_did_not() {
    let clock = manual();
    let log = open(clock.clone(), Duration::from_secs(1));
    let before = log.stats().syncs;
    for millis in 0..100 {
        append(&log, &at("interval"), &["value"]).unwrap();
        clock.set(clock.now().plus(Duration::from_millis(1)));
        let expected = millis / 21;
        let synced = log.stats().syncs - before;
        assert!(synced.abs_diff(expected) <= 1, "{synced} syncs after {millis} ms");
    }
    assert!(log.stats().syncs - before >= 4);
}

#[test]
fn the_committer_syncs_within_the_interval_though_appends_never_pause() {
    let log = open(Clock::system(), Duration::from_secs(60));
    let committer = Committer::start(&log).unwrap();
    let before = log.stats().syncs;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(400) {
        log.append(Append::batch(at("interval"), batch(&["value"]))).wait().unwrap();
    }
    let busy = log.stats().syncs - before;
    assert!(busy >= 5, "{busy} syncs in 400 ms");
    // Nothing follows the last of them.
    log.sync_step();
    let seen = log.stats().syncs;
    log.append(Append::batch(at("interval"), batch(&["last"]))).wait().unwrap();
    let begun = Instant::now();
    while log.stats().syncs == seen && begun.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "it was never synced");
    committer.stop().unwrap();
}
