//! Topics that go while others use them.

use dhara_log::{Append, Committer, GroupOffset, Log, LogError};
use dhara_world::disk::SimDisk;
use shuttle::thread;

use crate::world::{check, long, open, orders, put, record, reopen, try_put, words};

/// What users of a topic are told once it is gone.
fn is_gone(error: &LogError) -> bool {
    matches!(error, LogError::Unknown { .. })
}

#[test]
fn users_of_a_topic_that_is_deleted_are_told_so() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        for number in 0..4 {
            put(&log, &orders(), None, &long(&number.to_string()));
        }
        let user = |work: fn(&Log) -> Result<(), LogError>| {
            let log = log.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    if let Err(error) = work(&log) {
                        assert!(is_gone(&error), "{error}");
                    }
                }
            })
        };
        let users = [
            user(|log| try_put(log, &orders(), None, &long("late")).map(drop)),
            user(|log| log.read(&orders(), 0, 10_000).map(drop)),
            user(|log| log.settle()),
            user(|log| {
                let offsets = vec![GroupOffset::new("group", orders(), 1)];
                log.append(Append { offsets, ..Append::default() }).wait().map(drop)
            }),
        ];
        log.delete_topic("orders").unwrap();
        users.into_iter().for_each(|user| user.join().unwrap());
        committer.stop().unwrap();
        assert_eq!(log.groups(), []);
        assert_eq!(log.damage(), []);
        let log = reopen(&disk);
        assert_eq!(log.groups(), []);
        assert_eq!(log.topics(), []);
    });
}

#[test]
fn a_topic_that_is_made_again_has_nothing_of_the_old_one() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        let old = log.create_topic("orders", 1).unwrap().id;
        let appender = {
            let log = log.clone();
            thread::spawn(move || {
                (0..4).filter(|_| try_put(&log, &orders(), None, "value").is_ok()).count()
            })
        };
        let watch = log.watch(&[orders()]).unwrap();
        log.delete_topic("orders").unwrap();
        assert_eq!(watch.wait().unwrap(), [0]);
        let new = log.create_topic("orders", 1).unwrap().id;
        assert_ne!(old, new);
        let appended = appender.join().unwrap();
        log.append(Append::batch(orders(), record(None, "last"))).wait().unwrap();
        committer.stop().unwrap();
        let found = words(&log, &orders());
        assert!(found.len() <= appended + 1, "{found:?}");
        assert_eq!(found.last().unwrap(), "last");
        assert_eq!(words(&reopen(&disk), &orders()), found);
    });
}

#[test]
fn watchers_of_a_topic_that_is_deleted_hear_of_it() {
    check(|| {
        let log = open(&SimDisk::new());
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        let watcher = {
            let log = log.clone();
            thread::spawn(move || {
                let Ok(watch) = log.watch(&[orders()]) else { return };
                loop {
                    assert_eq!(watch.wait().unwrap(), [0]);
                    if let Err(error) = log.read(&orders(), 0, 1_000) {
                        assert!(is_gone(&error), "{error}");
                        return;
                    }
                }
            })
        };
        log.delete_topic("orders").unwrap();
        watcher.join().unwrap();
        committer.stop().unwrap();
    });
}
