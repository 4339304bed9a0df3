//! How far a group is, in numbers.

use super::kit::{Kit, ensure, needs, number, orders, publish_numbers};
use super::{Checked, Outcome};
use crate::broker::Progress;

fn lag(rows: &[Progress]) -> u64 {
    rows.iter().map(Progress::lag).sum()
}

pub(super) async fn progress_counts_what_was_acked(kit: Kit) -> Checked {
    let broker = kit.open_with(3).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..10).await?;
    let rows = broker.progress("g", &[orders()]).await?;
    ensure!(rows.len() == 3, "there is not a row for each partition: {rows:?}");
    ensure!(lag(&rows) == 10, "before anything is read the lag is {}", lag(&rows));
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(10).await?;
    let rows = broker.progress("g", &[orders()]).await?;
    ensure!(lag(&rows) == 10, "what is in hand is no progress: the lag is {}", lag(&rows));
    // 4 is still open, so that what lies above it does not count.
    let (done, open): (Vec<_>, Vec<_>) = got.into_iter().partition(|it| number(it) != 4);
    reader.ack(done).await?;
    let rows = broker.progress("g", &[orders()]).await?;
    ensure!(lag(&rows) == 6, "with four done in a row the lag is {}", lag(&rows));
    reader.ack(open).await?;
    let rows = broker.progress("g", &[orders()]).await?;
    ensure!(lag(&rows) == 0, "with all done the lag is {}", lag(&rows));
    Ok(Outcome::Passed)
}

pub(super) async fn progress_of_an_unknown_group_has_no_position(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    publish_numbers(&broker, Some("k"), 0..4).await?;
    let rows = broker.progress("nobody", &[orders()]).await?;
    ensure!(rows.iter().all(|row| row.committed.is_none()), "it has positions: {rows:?}");
    let unknown = broker.progress("nobody", &["nothing".into()]).await?;
    ensure!(unknown.is_empty(), "an unknown topic has rows: {unknown:?}");
    Ok(Outcome::Passed)
}
