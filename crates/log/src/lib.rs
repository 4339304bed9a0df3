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
mod codec;
mod commit;
mod committer;
mod error;
mod frame;
mod groups;
mod housekeep;
mod index;
mod journal;
mod log;
mod open;
mod read;
mod rebuild;
mod recovery;
mod segment;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the log reads settled files once it writes them")
)]
mod settled;
mod shared;
mod state;
mod sync;
mod tail;
mod ticket;
mod topics;
mod watch;

pub use batch::RecordBatch;
pub use committer::Committer;
pub use error::LogError;
pub use groups::{Committed, GroupOffset};
pub use log::{Append, Condition, Log, Options};
pub use read::{Bounds, Fetched};
pub use recovery::{Cut, Damage, OpenReport};
pub use ticket::{Appended, Ticket};
pub use topics::{MAX_PARTITIONS, TopicInfo, TopicPartition};
pub use watch::Watch;
