//! Members, groups, and readers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::kit::{
    Kit, Reader, declare, ensure, message, message_to, needs, number, orders, publish_numbers,
    sorted,
};
use super::{Checked, Failure, Outcome};
use crate::broker::{Batch, Broker, Delivery, Message, Signal, Start, Subscribe, Topic};

pub(super) async fn two_groups_both_get_everything(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    let mut first = kit.group(&broker, "first").await?;
    let mut second = kit.group(&broker, "second").await?;
    first.has_partitions(2).await?;
    second.has_partitions(2).await?;
    publish_numbers(&broker, Some("k"), 0..20).await?;
    for reader in [&mut first, &mut second] {
        let got = reader.take(20).await?;
        ensure!(sorted(&got) == (0..20).collect::<Vec<_>>(), "a group got {:?}", sorted(&got));
        reader.ack(got).await?;
    }
    Ok(Outcome::Passed)
}

/// Takes in signals of both until each has its number of partitions.
async fn settle(
    one: &mut Reader,
    count_one: usize,
    two: &mut Reader,
    count_two: usize,
) -> Result<(), Failure> {
    one.has_partitions(count_one).await?;
    two.has_partitions(count_two).await
}

pub(super) async fn two_members_share_the_partitions(kit: Kit) -> Checked {
    let broker = kit.open_with(6).await?;
    needs!(broker, redelivers);
    let mut one = kit.group(&broker, "g").await?;
    one.has_partitions(6).await?;
    let mut two = kit.group(&broker, "g").await?;
    settle(&mut one, 3, &mut two, 3).await?;
    let shared = one.assigned.keys().any(|partition| two.assigned.contains_key(partition));
    ensure!(!shared, "both have {:?} and {:?}", one.assigned.keys(), two.assigned.keys());
    let batch: Vec<Message> = (0..120).map(|n| message(Some(&format!("key-{n}")), n)).collect();
    broker.publish(Batch::Many(batch)).await?;
    let of = |reader: &Reader| {
        let mine: BTreeSet<u32> = reader.assigned.keys().map(|it| it.partition).collect();
        let place = |n: u64| crate::broker::partition_of(format!("key-{n}").as_bytes(), 6);
        (0..120).filter(|n| mine.contains(&place(*n))).collect::<Vec<u64>>()
    };
    for reader in [&mut one, &mut two] {
        let mine = of(reader);
        let got = reader.take(mine.len()).await?;
        ensure!(sorted(&got) == mine, "a member got {:?} instead of {mine:?}", sorted(&got));
    }
    one.is_quiet().await?;
    two.is_quiet().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn members_share_two_topics(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    declare(&broker, "payments", 2).await?;
    needs!(broker, redelivers);
    let both = [orders(), Topic::new("payments")];
    let mut wide = kit.join(&broker, Subscribe::group("g", both)).await?;
    wide.has_partitions(4).await?;
    // It reads one of the two topics only, and gets partitions of that one only.
    let mut narrow = kit.group(&broker, "g").await?;
    while narrow.assigned.is_empty() {
        wide.step().await?;
        if wide.assigned.len() < 4 {
            narrow.step().await?;
        }
    }
    let only_orders = narrow.assigned.keys().all(|it| it.topic == orders());
    ensure!(only_orders, "it was given {:?}", narrow.assigned.keys());
    broker.publish(message_to("payments", Some("k"), 1).into()).await?;
    let got = wide.take(1).await?;
    ensure!(got.iter().all(|it| it.topic.as_str() == "payments"), "{got:?}");
    Ok(Outcome::Passed)
}

/// What several members saw between them.
#[derive(Debug, Default)]
struct Ledger {
    /// Which member has a number in hand.
    held: BTreeMap<u64, &'static str>,
    acked: BTreeSet<u64>,
    last_of_key: BTreeMap<Vec<u8>, u64>,
    wrong: Vec<String>,
}

impl Ledger {
    fn given(&mut self, member: &'static str, delivery: &Delivery) {
        let n = number(delivery);
        if let Some(other) = self.held.insert(n, member) {
            self.wrong.push(format!("{n} was given to {member} while {other} had it"));
        }
        if self.acked.contains(&n) {
            self.wrong.push(format!("{n} was given to {member} after it was acked"));
        }
    }

    fn done(&mut self, delivery: &Delivery) {
        let n = number(delivery);
        let key = delivery.key.clone().unwrap_or_default().to_vec();
        if let Some(last) = self.last_of_key.insert(key, n).filter(|last| *last >= n) {
            self.wrong.push(format!("{n} was handled after {last} of the same key"));
        }
        self.held.remove(&n);
        self.acked.insert(n);
    }

    fn dropped(&mut self, member: &'static str) {
        self.held.retain(|_, holder| *holder != member);
    }
}

type Shared = Arc<Mutex<Ledger>>;

fn on<R>(ledger: &Shared, work: impl FnOnce(&mut Ledger) -> R) -> R {
    work(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Handles deliveries one at a time until `until` are acked by all together, or `most` by this one;
/// what it has in hand then is left there.
async fn work(
    mut reader: Reader,
    member: &'static str,
    ledger: Shared,
    until: usize,
    most: usize,
) -> Result<(), Failure> {
    let mut handled = 0;
    'all: loop {
        let signal = match crate::world::timeout(Duration::from_millis(20), reader.signal()).await {
            Some(signal) => signal?,
            None if on(&ledger, |it| it.acked.len() >= until) => break,
            None => continue,
        };
        match signal {
            Signal::Deliveries(deliveries) => {
                on(&ledger, |it| deliveries.iter().for_each(|one| it.given(member, one)));
                for delivery in deliveries {
                    tokio::task::yield_now().await;
                    if handled == most {
                        break 'all;
                    }
                    handled += 1;
                    on(&ledger, |it| it.done(&delivery));
                    reader.ack(vec![delivery]).await?;
                }
            }
            Signal::Revoked(partitions) => reader.subscription.release(&partitions).await?,
            Signal::Closed => break,
            _ => {}
        }
    }
    on(&ledger, |it| it.dropped(member));
    reader.close().await
}

async fn publish_slowly(broker: Arc<dyn Broker>, count: u64) -> Result<(), Failure> {
    for n in 0..count {
        broker.publish(message(Some(&format!("key-{}", n % 12)), n).into()).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn joined(task: crate::world::Task<Result<(), Failure>>) -> Result<(), Failure> {
    task.await.map_err(|error| Failure::new(error.to_string()))?
}

fn ensure_clean(ledger: &Shared, count: u64) -> Checked {
    on(ledger, |it| {
        ensure!(it.wrong.is_empty(), "{}", it.wrong.join("; "));
        let missing: Vec<u64> = (0..count).filter(|n| !it.acked.contains(n)).collect();
        ensure!(missing.is_empty(), "never handled: {missing:?}");
        Ok(Outcome::Passed)
    })
}

pub(super) async fn a_member_that_joins_takes_over_without_gap_or_overlap(kit: Kit) -> Checked {
    const COUNT: u64 = 300;
    let broker = kit.open_with(6).await?;
    needs!(broker, redelivers);
    let (world, ledger) = (kit.world(), Shared::default());
    let all = usize::try_from(COUNT).unwrap_or(usize::MAX);
    let one = kit.join(&broker, Subscribe { max_in_hand: 8, ..Subscribe::group("g", [orders()]) });
    let one = world.spawn(work(one.await?, "one", ledger.clone(), all, usize::MAX));
    let publisher = world.spawn(publish_slowly(broker.clone(), COUNT));
    let a_quarter = async {
        while on(&ledger, |it| it.acked.len() < all / 4) {
            world.sleep(Duration::from_millis(1)).await;
        }
    };
    kit.within("the first member to handle a quarter", a_quarter).await?;
    let two = kit.group(&broker, "g").await?;
    let two = world.spawn(work(two, "two", ledger.clone(), all, usize::MAX));
    for task in [publisher, one, two] {
        kit.within("members and publisher to end", joined(task)).await??;
    }
    ensure_clean(&ledger, COUNT)
}

pub(super) async fn a_member_that_leaves_hands_on_what_it_had(kit: Kit) -> Checked {
    const COUNT: u64 = 300;
    let broker = kit.open_with(6).await?;
    needs!(broker, redelivers);
    let (world, ledger) = (kit.world(), Shared::default());
    let all = usize::try_from(COUNT).unwrap_or(usize::MAX);
    let stays = kit.group(&broker, "g").await?;
    let leaves = kit.group(&broker, "g").await?;
    let tasks = [
        world.spawn(work(stays, "stays", ledger.clone(), all, usize::MAX)),
        world.spawn(work(leaves, "leaves", ledger.clone(), all, 40)),
        world.spawn(publish_slowly(broker.clone(), COUNT)),
    ];
    for task in tasks {
        kit.within("members and publisher to end", joined(task)).await??;
    }
    ensure_clean(&ledger, COUNT)
}

pub(super) async fn a_partition_is_not_handed_on_before_it_is_released(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    needs!(broker, redelivers);
    let mut one = kit.group(&broker, "g").await?;
    one.has_partitions(2).await?;
    let batch: Vec<Message> = (0..40).map(|n| message(Some(&format!("key-{n}")), n)).collect();
    broker.publish(Batch::Many(batch)).await?;
    let in_hand = one.take(40).await?;
    let mut two = kit.group(&broker, "g").await?;
    let revoked = match one.signal().await? {
        Signal::Revoked(partitions) => partitions,
        other => return Err(Failure::new(format!("expected a revocation, got {other:?}"))),
    };
    ensure!(revoked.len() == 1, "of two partitions {} were revoked", revoked.len());
    two.is_quiet().await?;
    ensure!(two.assigned.is_empty(), "it has {:?} before the release", two.assigned.keys());
    // What is in hand can be acked until the release, and is not given to the heir then.
    let (acked, left): (Vec<_>, Vec<_>) =
        in_hand.into_iter().partition(|it| number(it).is_multiple_of(2));
    one.ack(acked).await?;
    one.subscription.release(&revoked).await?;
    two.has_partitions(1).await?;
    let inherits = |it: &&Delivery| two.assigned.keys().any(|mine| mine.partition == it.partition);
    let expected: Vec<u64> = left.iter().filter(inherits).map(number).collect();
    let got = two.take(expected.len()).await?;
    let got = super::kit::numbers(&got);
    ensure!(got == expected, "the heir got {got:?} instead of {expected:?}");
    two.is_quiet().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn readers_alone_each_get_everything(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    needs!(broker, replay);
    publish_numbers(&broker, Some("k"), 0..5).await?;
    for _ in 0..2 {
        let request = Subscribe::alone([orders()], Start::Earliest);
        let mut reader = kit.join(&broker, request).await?;
        let got = reader.take(5).await?;
        ensure!(sorted(&got) == [0, 1, 2, 3, 4], "a reader alone got {:?}", sorted(&got));
        reader.ack(got).await?;
        reader.close().await?;
    }
    Ok(Outcome::Passed)
}

pub(super) async fn an_alone_reader_from_the_latest_sees_only_what_is_new(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    publish_numbers(&broker, Some("k"), 0..5).await?;
    let mut reader = kit.join(&broker, Subscribe::alone([orders()], Start::Latest)).await?;
    publish_numbers(&broker, Some("k"), 5..8).await?;
    let got = reader.take(3).await?;
    ensure!(sorted(&got) == [5, 6, 7], "it got {:?}", sorted(&got));
    Ok(Outcome::Passed)
}

pub(super) async fn a_group_that_began_at_the_latest_misses_nothing_after(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..5).await?;
    let latest = Subscribe { start: Start::Latest, ..Subscribe::group("g", [orders()]) };
    let reader = kit.join(&broker, latest.clone()).await?;
    reader.close().await?;
    publish_numbers(&broker, Some("k"), 5..8).await?;
    let mut reader = kit.join(&broker, latest).await?;
    let got = reader.take(3).await?;
    ensure!(sorted(&got) == [5, 6, 7], "the group got {:?}", sorted(&got));
    Ok(Outcome::Passed)
}
