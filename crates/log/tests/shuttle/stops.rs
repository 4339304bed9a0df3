//! A log that stops while others use it.

use dhara_log::{Committer, LogError};
use dhara_world::disk::SimDisk;
use shuttle::thread;

use crate::world::{check, long, open, orders, put, reopen, try_put, words};

#[test]
fn what_was_acked_before_the_end_is_there_after_it() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        log.create_topic("orders", 1).unwrap();
        let append = |name: &'static str| {
            let log = log.clone();
            thread::spawn(move || {
                let mut acked = Vec::new();
                for number in 0..4 {
                    match try_put(&log, &orders(), None, &long(&format!("{name}{number}"))) {
                        Ok(offset) => acked.push((offset, format!("{name}{number}"))),
                        Err(LogError::Closed) => {}
                        Err(error) => unreachable!("{error}"),
                    }
                }
                acked
            })
        };
        let appenders = [append("a"), append("b")];
        let closer = {
            let log = log.clone();
            thread::spawn(move || log.close().unwrap())
        };
        committer.stop().unwrap();
        closer.join().unwrap();
        let mut acked: Vec<_> = appenders.map(|it| it.join().unwrap()).concat();
        acked.sort_unstable();
        let acked: Vec<_> = acked.into_iter().map(|(_, word)| word).collect();
        assert_eq!(words(&log, &orders()), acked);
        assert_eq!(words(&reopen(&disk), &orders()), acked);
    });
}

#[test]
fn a_closed_log_leaves_its_folder_alone() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        log.create_topic("orders", 1).unwrap();
        for number in 0..6 {
            put(&log, &orders(), None, &long(&number.to_string()));
        }
        // Full files are settled by now, and some are of no use.
        log.settle().unwrap();
        let user = {
            let log = log.clone();
            thread::spawn(move || {
                // Whatever it is that comes too late.
                (0..4).for_each(|_| drop(log.housekeep_step()));
                drop(log.settle());
                drop(log.trim(&[(orders(), 2)]));
                log.mark_step();
            })
        };
        log.close().unwrap();
        let moment = disk.moment();
        let next = reopen(&disk);
        let opened = disk.moment();
        user.join().unwrap();
        assert_eq!(disk.moment(), opened, "{:?}", disk.history().ops().get(moment..));
        next.close().unwrap();
    });
}

#[test]
fn topics_can_be_made_while_the_log_stops() {
    check(|| {
        let disk = SimDisk::new();
        let log = open(&disk);
        let committer = Committer::start(&log).unwrap();
        let make = |name: &'static str| {
            let log = log.clone();
            thread::spawn(move || log.create_topic(name, 2).map(|info| info.name))
        };
        let makers = [make("a"), make("a"), make("b")];
        thread::yield_now();
        committer.stop().unwrap();
        let mut made: Vec<_> =
            makers.map(|it| it.join().unwrap()).into_iter().filter_map(Result::ok).collect();
        made.sort_unstable();
        made.dedup();
        let found: Vec<_> = reopen(&disk).topics().into_iter().map(|info| info.name).collect();
        assert_eq!(found, made);
    });
}
