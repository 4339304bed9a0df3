//! Keeps the positions of groups.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dhara_log::{Append, GroupOffset, Log, LogError};
use tokio::sync::Notify;

use super::super::TopicPartition;
use super::super::group::{Changed, Groups};
use super::partition::FilePartition;
use crate::world::{Task, World};

/// How soon positions are tried again that the log could not take.
const AGAIN: Duration = Duration::from_millis(100);

/// Writes positions down, one append at a time: those that change while it is on its way go
/// together with the next, so that however fast acks come, a commit carries one row a partition.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    changed: Arc<Notify>,
    task: Mutex<Option<Task<()>>>,
}

impl Keeper {
    /// To be called when there are positions to be taken.
    pub(super) fn changed(&self) -> Changed {
        let changed = self.changed.clone();
        Arc::new(move || changed.notify_one())
    }

    pub(super) fn start(&self, world: &World, log: &Log, groups: &Arc<Groups<FilePartition>>) {
        let (changed, log, groups) = (self.changed.clone(), log.clone(), Arc::downgrade(groups));
        let task = world.spawn({
            let world = world.clone();
            async move {
                loop {
                    changed.notified().await;
                    let Some(groups) = groups.upgrade() else { return };
                    let offsets = offsets(groups.take_positions());
                    drop(groups);
                    if offsets.is_empty() {
                        continue;
                    }
                    // A log that takes no more appends says so to those who publish. What was acked
                    // since is delivered again after the next opening.
                    if keep(&world, &log, offsets).await.is_err() {
                        return;
                    }
                }
            }
        });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Ends the task, and gives it to be waited for: when it has ended, what it took is appended.
    pub(super) fn stop(&self) -> Option<Task<()>> {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task.inspect(Task::abort)
    }
}

/// Writes positions down. While the log cannot take them it is tried again; those of topics that were
/// deleted meanwhile are left out.
async fn keep(world: &World, log: &Log, mut offsets: Vec<GroupOffset>) -> Result<(), LogError> {
    while !offsets.is_empty() {
        match log.append(Append::lazy_offsets(offsets.clone())).await {
            Ok(_) => return Ok(()),
            Err(LogError::Unknown { partition }) => {
                offsets.retain(|offset| offset.partition.topic != partition.topic);
            }
            Err(LogError::Overloaded { .. } | LogError::Full { .. }) => world.sleep(AGAIN).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Positions as the log takes them.
pub(super) fn offsets(positions: Vec<(Arc<str>, TopicPartition, u64)>) -> Vec<GroupOffset> {
    let offset = |(group, TopicPartition { topic, partition }, at)| {
        GroupOffset::new(group, dhara_log::TopicPartition::new(topic.as_str(), partition), at)
    };
    positions.into_iter().map(offset).collect()
}
