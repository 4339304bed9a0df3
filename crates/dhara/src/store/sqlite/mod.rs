//! The embedded store: a SQLite file for each service.
//!
//! Every commit is durable before it is answered (write-ahead log, `synchronous = FULL`). A place
//! has one writer, which commits in groups, and readers beside it. One process at a time has a
//! place: a second one gets a clear error when it opens it.

mod checkpoint;
mod error;
mod outbox;
mod place;
mod readers;
mod schema;
mod session;
mod statement;
mod tx;
mod writer;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, watch};

use self::place::SqlitePlace;
use super::{ServiceStore, Store, StoreCapabilities, StoreError};
use crate::answer::Answer;
use crate::world::World;

/// A folder with a file `NAME.db` for each service.
#[derive(Debug)]
pub struct SqliteStore {
    world: World,
    dir: PathBuf,
    places: Mutex<HashMap<String, Opened>>,
    /// The folder goes when the store goes, and nothing in it need survive a power cut.
    temporary: bool,
}

#[derive(Debug)]
struct Opened {
    place: Weak<SqlitePlace>,
    ended: watch::Receiver<()>,
}

impl SqliteStore {
    /// The store in the folder `dir`, which is made when the first place is opened.
    pub fn new(dir: impl Into<PathBuf>, world: &World) -> Self {
        let places = Mutex::default();
        Self { world: world.clone(), dir: dir.into(), places, temporary: false }
    }

    /// A store for tests, in a folder of its own that is removed with it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where the system's folder for such files cannot be written.
    pub fn temporary(world: &World) -> Result<Self, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // The number of the process, not an id of the world: worlds of one seed give the same ids.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("dhara-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| unavailable("make", &dir, error))?;
        let mut store = Self::new(dir, world);
        store.temporary = true;
        Ok(store)
    }

    async fn open_place(&self, service: &str) -> Result<Arc<dyn ServiceStore>, StoreError> {
        if !is_name(service) {
            let what = format!(
                "{service:?} cannot name a service's file: letters, digits, '-', '_' and '.' can, \
                 at most 100, and no '.' first"
            );
            return Err(StoreError::Refused { what });
        }
        let mut places = self.places.lock().await;
        if let Some(opened) = places.get_mut(service) {
            if let Some(place) = opened.place.upgrade().filter(|place| !place.is_closed()) {
                return Ok(place);
            }
            // The earlier one is closing; only when its writer has gone is the file free.
            drop(opened.ended.changed().await);
        }
        let place = Arc::new(self.start(service).await?);
        let opened = Opened { place: Arc::downgrade(&place), ended: place.ended() };
        places.insert(service.to_owned(), opened);
        Ok(place)
    }

    async fn start(&self, service: &str) -> Result<SqlitePlace, StoreError> {
        let disk = self.world.disk();
        disk.create_dir_all(&self.dir).map_err(|error| unavailable("make", &self.dir, error))?;
        let lock = self.dir.join(format!("{service}.lock"));
        let held = disk.lock(&lock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let what = format!(
                    "the store of {service:?} in {} is open elsewhere: another process has it, or \
                     another store of this process; stop that one, or use another folder",
                    self.dir.display()
                );
                StoreError::Unavailable { what, source: None }
            }
            _ => unavailable("lock", &lock, error),
        })?;
        let path = self.dir.join(format!("{service}.db"));
        let place = SqlitePlace::open(&self.world, &path, service, held, !self.temporary).await?;
        disk.sync_dir(&self.dir).map_err(|error| unavailable("sync", &self.dir, error))?;
        Ok(place)
    }
}

impl Store for SqliteStore {
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities { durable: !self.temporary, shared: false }
    }

    fn open<'a>(
        &'a self,
        service: &'a str,
    ) -> Answer<'a, Result<Arc<dyn ServiceStore>, StoreError>> {
        Answer::later(self.open_place(service))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if self.temporary {
            // What stays behind is in the folder for temporary files.
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

fn is_name(service: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=100).contains(&service.len()) && !service.starts_with('.') && service.bytes().all(allowed)
}

fn unavailable(attempt: &str, path: &Path, error: io::Error) -> StoreError {
    let what = format!("cannot {attempt} {}", path.display());
    StoreError::Unavailable { what, source: Some(error.into()) }
}
