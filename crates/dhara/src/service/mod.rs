//! Services: plain async functions over typed events.

mod arrived;
mod commit;
mod core;
mod endpoint;
mod extract;
mod failure;
mod handler;
mod intake;
mod item;
mod lane;
mod letters;
mod parked;
mod publisher;
mod relay;
mod retry;
mod running;
mod start;
mod track;
mod writer;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use endpoint::{Endpoint, Typed, spec_of};
pub use extract::{Context, FromContext, FromState, Meta, State};
pub use failure::{Failure, FailureKind, HandlerError};
pub use handler::{Arguments, Configured, Handler, HandlerExt, Options, Outcome};
pub use publisher::{PublishError, Published, Publisher};
pub use retry::Retry;
pub use running::{NotCaughtUp, Running, STOP_LIMIT, ServiceState, Status, StatusError};
pub use start::StartError;
pub use writer::{WriteError, Writer, Written};

use crate::store::Store;
use crate::world::World;

/// How many deliveries a service handles at a time, of different keys.
const LANES: usize = 32;

/// A service: handlers over typed events, under a name that is its consumer group.
///
/// ```no_run
/// # use dhara::{Event, Service, State};
/// # #[derive(serde::Serialize, serde::Deserialize, Event)] #[event(topic = "orders")]
/// # struct OrderCreated { order_id: String }
/// # #[derive(Clone)] struct Mailer;
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// # let world = dhara::world::World::real();
/// async fn greet(order: OrderCreated, State(mailer): State<Mailer>) { /* ... */ }
///
/// let broker = dhara::broker::open("file:data", &world).await?;
/// Service::new("greeter").state(Mailer).on(greet).run(&broker).await?;
/// # Ok(()) }
/// ```
pub struct Service<S = ()> {
    name: Arc<str>,
    state: S,
    world: World,
    store: Option<Arc<dyn Store>>,
    setup: Vec<String>,
    endpoints: Vec<Box<dyn Endpoint>>,
    lanes: usize,
    max_in_hand: usize,
    max_bytes: usize,
}

impl Service {
    /// A service called `name`, with no handlers yet.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            state: (),
            world: World::real(),
            store: None,
            setup: Vec::new(),
            endpoints: Vec::new(),
            lanes: LANES,
            max_in_hand: 4096,
            max_bytes: 16 << 20,
        }
    }

    /// Gives the service a state, which its handlers take with [`State`]. Handlers are added after.
    pub fn state<S: Clone + Send + Sync + 'static>(self, state: S) -> Service<S> {
        Service {
            name: self.name,
            state,
            world: self.world,
            store: self.store,
            setup: self.setup,
            endpoints: self.endpoints,
            lanes: self.lanes,
            max_in_hand: self.max_in_hand,
            max_bytes: self.max_bytes,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Service<S> {
    /// Adds a handler. Several may handle one event: each is remembered and retried by itself.
    #[must_use]
    pub fn on<A, H>(mut self, handler: H) -> Self
    where
        H: Handler<A, Output: Outcome>,
        A: Arguments<S> + 'static,
    {
        self.endpoints.push(Box::new(Typed {
            spec: spec_of::<S, H, A>(&self.name, &handler),
            state: self.state.clone(),
            handler,
            arguments: PhantomData,
        }));
        self
    }

    /// Keeps the service's data in its own place of `store`: every event then has one effect,
    /// however often it is delivered.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// A statement to be run in the service's own store each time it starts, before deliveries:
    /// `CREATE TABLE IF NOT EXISTS ...`.
    #[must_use]
    pub fn setup(mut self, sql: impl Into<String>) -> Self {
        self.setup.push(sql.into());
        self
    }

    /// The world whose clock, randomness and tasks the service uses, instead of the real one.
    #[must_use]
    pub fn world(mut self, world: &World) -> Self {
        self.world = world.clone();
        self
    }

    /// How many deliveries of different keys are handled at a time; 32 unless set.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes.max(1);
        self
    }

    /// How many deliveries, and how many bytes of them, are in hand at most: 4,096 and 16 MiB
    /// unless set. The broker keeps the others.
    #[must_use]
    pub fn max_in_hand(mut self, deliveries: usize, bytes: usize) -> Self {
        (self.max_in_hand, self.max_bytes) = (deliveries.max(1), bytes.max(1));
        self
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.endpoints.iter().map(|endpoint| endpoint.spec().name.clone());
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("handlers", &handlers.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
