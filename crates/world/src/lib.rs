//! What a simulation must own.
//!
//! A framework that calls the wall clock, a global random source or `thread::spawn` wherever it
//! likes can never be simulated. Everything of Dhara that needs the time, a random number, an id, a
//! task or the disk asks a [`World`] for it; a test hands in a world of its own.
//!
//! This crate is not an abstraction over runtimes: tasks are tokio's, and a simulated world runs
//! them on a runtime whose time is paused.
//!
//! ```
//! use dhara_world::World;
//!
//! let world = World::real();
//! let (first, second) = (world.uuid(), world.uuid());
//! assert!(first < second, "ids rise with the time");
//! ```

mod clock;
pub mod disk;
mod id;
mod random;
#[cfg(feature = "tasks")]
mod task;

use std::sync::Arc;

pub use clock::{Clock, Timestamp};
pub use disk::Disk;
pub use id::{Uuid, UuidSource};
pub use random::Random;
#[cfg(feature = "tasks")]
pub use task::{Instant, Task, TaskError, timeout};

/// The clock, randomness, ids, tasks and disk of one process, or of one simulation.
///
/// Cloning is cheap, and a clone is the same world.
#[derive(Clone, Debug)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    random: Random,
    uuids: UuidSource,
    disk: Arc<dyn Disk>,
}

impl World {
    /// The world outside: the system's clock, its entropy, its file system.
    pub fn real() -> Self {
        Self::new(Clock::system(), Random::from_entropy(), Arc::new(disk::RealDisk))
    }

    /// A world made of the given parts; everything random in it follows from `random`.
    pub fn new(clock: Clock, random: Random, disk: Arc<dyn Disk>) -> Self {
        let uuids = UuidSource::new(random.fork());
        Self { inner: Arc::new(Inner { clock, random, uuids, disk }) }
    }

    /// The clock of this world.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The time now, by this world's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The source of randomness of this world.
    pub fn random(&self) -> &Random {
        &self.inner.random
    }

    /// A new UUIDv7, greater than every one that this world gave before.
    pub fn uuid(&self) -> Uuid {
        self.inner.uuids.next(self.now())
    }

    /// A new UUIDv7 for a moment already read from the clock.
    pub fn uuid_at(&self, now: Timestamp) -> Uuid {
        self.inner.uuids.next(now)
    }

    /// The disk of this world.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }
}

impl Default for World {
    fn default() -> Self {
        Self::real()
    }
}
