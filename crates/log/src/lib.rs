//! An embedded, durable, partitioned event log.
//!
//! One journal holds the record batches of all partitions, in Kafka's format of version 2, the
//! offsets that groups commit, and the topics. [`Log::append`] queues; one commit writes all that
//! waits, pays one sync for it, and completes the tickets: an ack means that it is on the disk, and
//! only what is on the disk is ever read. `FORMAT.md` describes every byte.
//!
//! This crate knows no protocol and no asynchronous runtime: [`Ticket`] and [`Watch`] work with
//! any, and with none. A log is a state machine that [`Log::commit_step`] steps; a [`Committer`]
//! does so on threads of its own.
//!
//! ```
//! use dhara_log::batch::BatchBuilder;
//! use dhara_log::{Append, Committer, Log, Options, TopicPartition};
//! # let dir = std::env::temp_dir().join(format!("dhara-log-doctest-{}", std::process::id()));
//! # let disk = std::sync::Arc::new(dhara_world::disk::RealDisk);
//! let log = Log::open(disk, &dir, Options::default())?;
//! let committer = Committer::start(&log)?;
//! log.create_topic("orders", 4)?;
//!
//! let mut batch = BatchBuilder::new();
//! batch.push(0, Some(b"order_789"), Some(b"{}"), [])?;
//! let orders = TopicPartition::new("orders", 0);
//! let appended = log.append(Append::batch(orders.clone(), batch.finish())).wait()?;
//!
//! let fetched = log.read(&orders, appended.base_offset(), 1 << 20)?;
//! assert_eq!(fetched.batches.len(), 1);
//! committer.stop()?;
//! # std::fs::remove_dir_all(dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batch;
mod buffers;
mod change;
mod codec;
mod commit;
mod committer;
mod config;
mod error;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod groups;
mod house;
pub mod inspect;
mod journal;
mod keys;
mod log;
mod look;
mod merge;
mod names;
mod notes;
mod open;
mod options;
mod partition;
mod prepare;
mod producers;
mod read;
mod recovery;
mod retain;
#[cfg(feature = "sabotage")]
pub mod sabotage;
#[cfg(not(feature = "sabotage"))]
mod sabotage;
mod segment;
mod settle;
mod settled;
mod shared;
mod space;
mod state;
mod stats;
mod sync;
mod tail;
mod ticket;
mod times;
mod topics;
mod torn;
mod walk;
mod watch;

pub use batch::RecordBatch;
pub use change::NewTopic;
pub use committer::Committer;
pub use config::{SyncPolicy, TopicConfig};
pub use error::LogError;
pub use groups::{Committed, GroupOffset};
pub use log::Log;
pub use notes::Note;
pub use options::{Append, Condition, Options};
pub use partition::TopicPartition;
pub use read::{Bounds, Fetched};
pub use recovery::{Damage, OpenReport};
pub use stats::Stats;
pub use ticket::{Appended, Ticket};
pub use topics::{Growth, MAX_PARTITIONS, TopicInfo};
pub use torn::Cut;
pub use watch::Watch;
