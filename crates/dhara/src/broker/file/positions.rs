//! Keeps the positions of groups.

use std::sync::{Arc, Mutex, PoisonError};

use dhara_log::{Append, GroupOffset, Log};
use tokio::sync::Notify;

use super::super::TopicPartition;
use super::super::group::{Changed, Groups};
use super::partition::FilePartition;
use crate::world::{Task, World};

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
        let task = world.spawn(async move {
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
                if log.append(Append::lazy_offsets(offsets)).await.is_err() {
                    return;
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

/// Positions as the log takes them.
pub(super) fn offsets(positions: Vec<(Arc<str>, TopicPartition, u64)>) -> Vec<GroupOffset> {
    let offset = |(group, TopicPartition { topic, partition }, at)| {
        GroupOffset::new(group, dhara_log::TopicPartition::new(topic.as_str(), partition), at)
    };
    positions.into_iter().map(offset).collect()
}
