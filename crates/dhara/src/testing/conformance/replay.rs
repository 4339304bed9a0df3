//! Going back to what was read.

use super::kit::{Kit, ensure, needs, numbers, orders_partition, publish_numbers};
use super::{Checked, Outcome};

pub(super) async fn a_new_group_begins_with_the_earliest_message(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, replay);
    publish_numbers(&broker, Some("k"), 0..10).await?;
    let mut old = kit.group(&broker, "old").await?;
    let got = old.take(10).await?;
    old.ack(got).await?;
    let mut new = kit.group(&broker, "new").await?;
    let got = numbers(&new.take(10).await?);
    ensure!(got == (0..10).collect::<Vec<_>>(), "the new group got {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn seeking_back_gives_the_messages_again(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, replay);
    publish_numbers(&broker, Some("k"), 0..10).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(10).await?;
    let first = got.first().map_or(0, |it| it.offset);
    reader.ack(got).await?;
    reader.subscription.seek(&orders_partition(0), first + 4)?;
    let got = numbers(&reader.take(6).await?);
    ensure!(got == [4, 5, 6, 7, 8, 9], "after the seek came {got:?}");
    reader.is_quiet().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn seeking_forward_leaves_messages_out(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, replay);
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(1).await?;
    let begin = reader.assigned.values().map(|it| it.offset).max().unwrap_or(0);
    reader.subscription.seek(&orders_partition(0), begin + 3)?;
    publish_numbers(&broker, Some("k"), 0..5).await?;
    let got = numbers(&reader.take(2).await?);
    ensure!(got == [3, 4], "after the seek came {got:?}");
    let not_mine = reader.subscription.seek(&orders_partition(9), 0);
    ensure!(not_mine.is_err(), "a partition that it does not have was sought");
    Ok(Outcome::Passed)
}

pub(super) async fn receipts_from_before_a_seek_are_void(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, replay);
    publish_numbers(&broker, Some("k"), 0..3).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let old = reader.take(3).await?;
    let first = old.first().map_or(0, |it| it.offset);
    reader.subscription.seek(&orders_partition(0), first)?;
    reader.ack(old).await?;
    let again = reader.take(3).await?;
    ensure!(numbers(&again) == [0, 1, 2], "after the seek came {:?}", numbers(&again));
    reader.close().await?;
    let mut next = kit.group(&broker, "g").await?;
    let got = numbers(&next.take(3).await?);
    ensure!(got == [0, 1, 2], "void receipts acked something: the next member got {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn seeking_at_the_assignment_decides_where_deliveries_begin(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, replay);
    publish_numbers(&broker, Some("k"), 0..8).await?;
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(1).await?;
    let begin = reader.assigned.values().map(|it| it.offset).max().unwrap_or(0);
    reader.subscription.seek(&orders_partition(0), begin + 5)?;
    let got = numbers(&reader.take(3).await?);
    ensure!(got == [5, 6, 7], "deliveries began with {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn everything_acked_is_there_after_a_restart(kit: Kit) -> Checked {
    let mut broker = kit.open_with(3).await?;
    needs!(broker, durable);
    for round in 0..3_u64 {
        for n in 0..10 {
            publish_numbers(&broker, Some("k"), round * 10 + n..round * 10 + n + 1).await?;
        }
        broker = kit.reopen(broker).await?;
    }
    let mut reader = kit.group(&broker, "late").await?;
    let got = numbers(&reader.take(30).await?);
    ensure!(got == (0..30).collect::<Vec<_>>(), "after the restarts: {got:?}");
    reader.has_partitions(3).await?;
    reader.is_quiet().await?;
    Ok(Outcome::Passed)
}
