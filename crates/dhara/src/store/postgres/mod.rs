//! The store at scale: a PostgreSQL schema for each service.
//!
//! Several processes may have the place of one service open. Each has one connection that writes,
//! commits in groups and hears of what others committed, and up to four that read.
//!
//! It needs PostgreSQL 13 or later, reached directly or through a pooler that gives each client a
//! session of its own.

mod address;
mod changes;
mod error;
mod guard;
mod link;
mod place;
mod readers;
mod schema;
mod session;
mod statement;
mod tls;
mod tx;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, watch};

pub use tokio_postgres;

pub use self::tx::Connection;

use self::address::Address;
use self::link::Dialler;
use self::place::PostgresPlace;
use self::tls::Tls;
use super::{ServiceStore, Store, StoreCapabilities, StoreError};
use crate::answer::Answer;
use crate::world::World;

/// A PostgreSQL database with a schema for each service, called like the service.
pub struct PostgresStore {
    world: World,
    address: Arc<Address>,
    tls: Tls,
    places: Mutex<HashMap<String, Opened>>,
}

#[derive(Debug)]
struct Opened {
    place: Weak<PostgresPlace>,
    ended: watch::Receiver<()>,
}

impl PostgresStore {
    /// The store at `url`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`. Nothing is
    /// connected until a place is opened.
    ///
    /// `sslmode` is `prefer` where it is not given: encrypted where the server can, whoever it is.
    /// With `sslmode=require`, or with `sslrootcert=FILE`, the server's certificate is checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] where the URL is none, or names certificates that cannot be read.
    pub fn new(url: &str, world: &World) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let tls = Tls::new(&address.trust)?;
        let places = Mutex::default();
        Ok(Self { world: world.clone(), address: Arc::new(address), tls, places })
    }

    async fn open_place(&self, service: &str) -> Result<Arc<dyn ServiceStore>, StoreError> {
        if !is_name(service) {
            let what = format!(
                "{service:?} cannot name a service's schema: letters, digits, '-', '_' and '.' can, \
                 at most 63, no '.' first, and neither \"public\" nor what begins with \"pg_\""
            );
            return Err(StoreError::Refused { what });
        }
        let mut places = self.places.lock().await;
        if let Some(opened) = places.get_mut(service) {
            if let Some(place) = opened.place.upgrade().filter(|place| !place.is_closed()) {
                return Ok(place);
            }
            // What was submitted to the earlier one is committed before this one begins.
            drop(opened.ended.changed().await);
        }
        let dialler = Dialler {
            world: self.world.clone(),
            address: Arc::clone(&self.address),
            tls: self.tls.clone(),
            service: service.into(),
        };
        let place = Arc::new(PostgresPlace::open(dialler).await?);
        let opened = Opened { place: Arc::downgrade(&place), ended: place.ended() };
        places.insert(service.to_owned(), opened);
        Ok(place)
    }
}

impl Store for PostgresStore {
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities { durable: true, shared: true }
    }

    fn open<'a>(
        &'a self,
        service: &'a str,
    ) -> Answer<'a, Result<Arc<dyn ServiceStore>, StoreError>> {
        Answer::later(self.open_place(service))
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresStore({:?})", self.address)
    }
}

fn is_name(service: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let taken = ["public", "information_schema"].contains(&service) || service.starts_with("pg_");
    (1..=63).contains(&service.len())
        && !service.starts_with('.')
        && !taken
        && service.bytes().all(allowed)
}
