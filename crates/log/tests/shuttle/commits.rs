//! Appends that race with one another.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use dhara_log::{Append, Committer, Condition, LogError, NewTopic, Note, SyncPolicy, TopicConfig};
use dhara_world::disk::SimDisk;
use dhara_world::disk::sim::Op;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::world::{check, open, orders, put, read_on, record, reopen, sequenced, words};

#[test]
fn of_appends_with_the_same_condition_one_is_made() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        let conditions: [fn(Option<u64>) -> Condition; 3] = [
            |_| Condition::NextOffset(orders(), 0),
            |_| Condition::Note("owner of 1".into(), None),
            |last| Condition::LastOfKey { partition: orders(), key: "k".into(), last },
        ];
        for (round, condition) in conditions.into_iter().enumerate() {
            if round == 2 {
                put(&log, &orders(), Some("k"), "known");
            }
            let before = log.bounds(&orders()).unwrap().end;
            let last = (round == 2).then(|| before - 1);
            let race = |name: &'static str| {
                let log = log.clone();
                thread::spawn(move || {
                    let batch = record(Some("k"), name);
                    let mut append = Append::batch(orders(), batch).only_if(condition(last));
                    let note = format!("owner of {round}").into();
                    append.notes.push(Note { name: note, value: Some(name.into()) });
                    log.append(append).wait().map(|appended| appended.base_offset())
                })
            };
            let racers = [race("a"), race("b"), race("c")];
            let results = racers.map(|racer| racer.join().unwrap());
            let winners: Vec<_> = results.iter().filter_map(|it| it.as_ref().ok()).collect();
            assert_eq!(winners, [&before], "{results:?}");
            for loser in results.iter().filter_map(|it| it.as_ref().err()) {
                assert!(
                    matches!(
                        loser,
                        LogError::Conflict { .. }
                            | LogError::NoteChanged { .. }
                            | LogError::KeyConflict { .. }
                    ),
                    "{loser}"
                );
            }
            assert_eq!(log.bounds(&orders()).unwrap().end, before + 1);
        }
        committer.stop().unwrap();
    });
}

#[test]
fn repeats_of_an_idempotent_producer_that_race_are_appended_once() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        let send = || {
            let log = log.clone();
            thread::spawn(move || {
                [0, 1].map(|sequence| {
                    let batch = sequenced(&format!("value{sequence}"), 9, sequence);
                    let appended = log.append(Append::batch(orders(), batch)).wait().unwrap();
                    (appended.base_offset(), appended.is_repeat())
                })
            })
        };
        let senders = [send(), send(), send()];
        let results = senders.map(|sender| sender.join().unwrap());
        for sequence in 0..2 {
            let of = results.iter().map(|of| of.get(sequence).unwrap());
            assert!(of.clone().all(|(offset, _)| *offset == sequence as u64), "{results:?}");
            assert_eq!(of.filter(|(_, is_repeat)| !is_repeat).count(), 1, "{results:?}");
        }
        committer.stop().unwrap();
        assert_eq!(words(&log, &orders()), ["value0", "value1"]);
        assert_eq!(words(&reopen(&disk), &orders()), ["value0", "value1"]);
    });
}

/// Wakes a thread that waits for it.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

#[test]
fn a_ticket_wakes_whoever_polled_it_last() {
    check(|| {
        let log = open(&SimDisk::new());
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        let mut ticket = Box::pin(log.append(Append::batch(orders(), record(None, "first"))));
        let other = {
            let log = log.clone();
            thread::spawn(move || {
                shuttle::future::block_on(async move {
                    let mut append = Append::batch(orders(), record(None, "second"));
                    append.lazy = true;
                    log.append(append).await.unwrap();
                })
            })
        };
        let nobody = Waker::noop();
        if ticket.as_mut().poll(&mut Context::from_waker(nobody)).is_pending() {
            thread::spawn(move || {
                let bell = Arc::new(Bell::default());
                let waker = Waker::from(Arc::clone(&bell));
                let mut ticket = pin!(ticket);
                loop {
                    match ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
                        Poll::Ready(result) => return drop(result.unwrap()),
                        Poll::Pending => bell.wait(),
                    }
                }
            })
            .join()
            .unwrap();
        }
        other.join().unwrap();
        committer.stop().unwrap();
        assert_eq!(words(&log, &orders()).len(), 2);
    });
}

#[test]
fn what_somebody_else_committed_is_synced_in_time_as_well() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let sync = SyncPolicy::Interval(std::time::Duration::from_millis(1));
        let config = TopicConfig { sync, ..TopicConfig::default() };
        log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
        let committer = Committer::start(&log).unwrap();
        // The committer falls asleep meanwhile, or not.
        (0..20).for_each(|_| thread::yield_now());
        put(&log, &orders(), None, "value");
        // The time passes at some moment; were nothing synced then, this would never end.
        let is_synced = || {
            let history = disk.history();
            let write = |op: &Op| matches!(op, Op::Write { .. });
            let sync = |op: &Op| matches!(op, Op::Sync { .. });
            let last = |which: &dyn Fn(&Op) -> bool| history.ops().iter().rposition(which);
            last(&write) < last(&sync)
        };
        while !is_synced() {
            thread::yield_now();
        }
        committer.stop().unwrap();
    });
}

#[test]
fn a_watch_tells_of_every_append_until_it_ends() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        let watch = log.watch(&[orders()]).unwrap();
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let (mut found, mut next) = (Vec::new(), 0);
                loop {
                    match watch.wait() {
                        Ok(advanced) => assert_eq!(advanced, [0]),
                        Err(LogError::Closed) => return found,
                        Err(error) => unreachable!("{error}"),
                    }
                    let (more, end) = read_on(&log, &orders(), next).unwrap();
                    found.extend(more);
                    next = end;
                }
            })
        };
        let append = |name: &'static str| {
            let log = log.clone();
            thread::spawn(move || {
                let tickets = [0, 1, 2].map(|number| {
                    let batch = record(None, &format!("{name}{number}"));
                    let mut append = Append::batch(orders(), batch);
                    append.lazy = number == 1;
                    log.append(append)
                });
                tickets.map(|ticket| ticket.wait().map(|appended| appended.base_offset()))
            })
        };
        let appenders = [append("a"), append("b")];
        committer.stop().unwrap();
        let results = appenders.map(|appender| appender.join().unwrap());
        let acked: Vec<u64> = results.iter().flatten().filter_map(|it| it.clone().ok()).collect();
        for refused in results.iter().flatten().filter_map(|it| it.as_ref().err()) {
            assert!(matches!(refused, LogError::Closed), "{refused}");
        }
        let found = reader.join().unwrap();
        assert_eq!(found.len(), acked.len());
        assert_eq!(log.bounds(&orders()).unwrap().end, acked.len() as u64);
        assert_eq!(words(&reopen(&disk), &orders()).len(), acked.len());
    });
}
