//! Puts the shop together: broker, store, bank, services, HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use dhara::broker::Broker;
use dhara::store::{ServiceStore, Store};
use dhara::world::{Task, World};
use dhara::{BoxFuture, Running, service::StartError};
use tokio::net::TcpListener;

use crate::bank::BankProcess;
use crate::config::Config;
use crate::console::Console;
use crate::live::Live;
use crate::proof::{Auditor, Sources};
use crate::receipts::Receipts;
use crate::sabotage::Sabotage;
use crate::services::analytics::http::AnalyticsApi;
use crate::services::notification::{Mailer, Postman};
use crate::services::order::http::OrderApi;
use crate::services::payment::{Cashier, Gateway};
use crate::services::{analytics, inventory, notification, order, payment};
use crate::supervisor::{LetGo, Services, Slot, Start};
use crate::{door, guard, page};

const SERVICES: [&str; 5] =
    [order::NAME, payment::NAME, inventory::NAME, notification::NAME, analytics::NAME];

/// A shop that is put together, and not yet open.
pub(crate) struct App {
    world: World,
    broker: Arc<dyn Broker>,
    services: Services,
    bank: BankProcess,
    /// Ends when the bank's process has.
    banking: Task<()>,
    live: Live,
    router: Router,
    listener: TcpListener,
    /// How many connections there is room for.
    room: usize,
}

/// The parts that the services are made of.
struct Parts {
    world: World,
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    stores: Vec<(&'static str, Arc<dyn ServiceStore>)>,
    bank: BankProcess,
    mailer: Mailer,
    sabotage: Sabotage,
}

impl App {
    /// Opens everything, and starts the bank and the services.
    ///
    /// # Errors
    ///
    /// One line that says what could not be opened, and why.
    pub(crate) async fn open(config: &Config, world: &World) -> Result<Self, String> {
        let data = &config.data;
        let unwritable = |error: &dyn std::fmt::Display| {
            format!("the data folder {} cannot be used: {error}", data.display())
        };
        let room = door::room();
        // The port is taken first: a shop that runs already is the commonest reason to fail.
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
        world.disk().create_dir_all(data).map_err(|e| unwritable(&e))?;
        let mailer = Mailer::open(world, data, config.smtp.as_deref());
        let mailer = mailer.map_err(|e| e.to_string())?;
        let opened = dhara::broker::open(&config.broker, world).await;
        let broker = opened.map_err(|e| format!("--broker {}: {e}", config.broker))?;
        let opened = dhara::store::open(&config.store, world).await;
        let store = opened.map_err(|e| format!("--store {}: {e}", config.store))?;
        let mut stores = Vec::new();
        for name in SERVICES {
            let place = store.open(name).await;
            stores.push((name, place.map_err(|e| format!("--store {}: {e}", config.store))?));
        }
        let receipts = Receipts::open(world, data).map_err(|e| unwritable(&e))?;
        let (bank, banking) = BankProcess::start(world, data.join("bank"));
        let sabotage = Sabotage::from_environment();
        let parts = Parts {
            world: world.clone(),
            broker: broker.clone(),
            store,
            stores: stores.clone(),
            bank: bank.clone(),
            mailer: mailer.clone(),
            sabotage,
        };
        let services = parts.services()?;
        services.start_all().await.map_err(|e| format!("a service did not start: {e}"))?;
        let sources = Sources {
            world: world.clone(),
            broker: broker.clone(),
            stores,
            receipts: receipts.clone(),
            bank: bank.clone(),
            mailer,
        };
        let auditor = Auditor::open(sources, data).map_err(|e| unwritable(&e))?;
        let live = Live::start(world, broker.clone(), room / 2);
        let console = Console::new(world, config, services.clone(), bank.clone());
        console.clone().show_on(&live);
        let router = parts
            .routes(&services, receipts)?
            .merge(auditor.routes())
            .merge(live.routes())
            .merge(console.routes(parts.stores.clone()))
            .merge(page::routes());
        let router = guard::protect(router);
        let world = world.clone();
        Ok(Self { world, broker, services, bank, banking, live, router, listener, room })
    }

    /// Where it listens; the port is another one than asked for where 0 was asked for.
    pub(crate) fn address(&self) -> Result<SocketAddr, String> {
        self.listener.local_addr().map_err(|error| format!("the shop has no address: {error}"))
    }

    /// Serves until `stop` is done, then stops everything gracefully.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), String> {
        let stop = async {
            stop.await;
            self.live.end();
        };
        door::serve(&self.world, self.listener, self.router, self.room, stop).await;
        self.services.stop_all().await;
        self.bank.end();
        let ended = self.banking.await;
        let closed = self.broker.close().await;
        if let Err(error) = closed {
            tracing::warn!(%error, "the broker did not close cleanly");
        }
        ended.map_err(|error| format!("the bank's keeper ended badly: {error}"))
    }
}

impl Parts {
    fn place(&self, name: &'static str) -> Result<Arc<dyn ServiceStore>, String> {
        let place = self.stores.iter().find(|(known, _)| *known == name);
        place.map(|(_, place)| place.clone()).ok_or_else(|| format!("no store for {name}"))
    }

    fn slot(&self, name: &'static str, start: Start, let_go: LetGo) -> Result<Arc<Slot>, String> {
        let (world, broker) = (&self.world, self.broker.clone());
        Ok(Slot::new(name, world, broker, self.place(name)?, start, let_go))
    }

    fn services(&self) -> Result<Services, String> {
        let (world, store, broker) = (self.world.clone(), self.store.clone(), self.broker.clone());
        let order = starter(move || {
            let (service, broker) = (order::service(&world, &store), broker.clone());
            Box::pin(async move { service.start(&broker).await })
        });
        let (payment, let_go) = self.payment();
        let (world, store, broker) = (self.world.clone(), self.store.clone(), self.broker.clone());
        let sabotage = self.sabotage;
        let inventory = starter(move || {
            let service = inventory::service(&world, &store, sabotage);
            let broker = broker.clone();
            Box::pin(async move { service.start(&broker).await })
        });
        let (notification, stop_mails) = self.notification();
        let (world, store, broker) = (self.world.clone(), self.store.clone(), self.broker.clone());
        let analytics = starter(move || {
            let (service, broker) = (analytics::service(&world, &store), broker.clone());
            Box::pin(async move { service.start(&broker).await })
        });
        let nothing = || -> LetGo { Box::new(|| ()) };
        Ok(Services::new([
            self.slot(order::NAME, order, nothing())?,
            self.slot(payment::NAME, payment, let_go)?,
            self.slot(inventory::NAME, inventory, nothing())?,
            self.slot(notification::NAME, notification, stop_mails)?,
            self.slot(analytics::NAME, analytics, nothing())?,
        ]))
    }

    /// Each start of payment has a gateway of its own, which is ended before the service stops: a
    /// handler that waits for the bank would hold it up.
    fn payment(&self) -> (Start, LetGo) {
        let (world, store, broker) = (self.world.clone(), self.store.clone(), self.broker.clone());
        let (address, sabotage) = (self.bank.address(), self.sabotage);
        let current: Arc<std::sync::Mutex<Option<Gateway>>> = Arc::default();
        let last = current.clone();
        let start = starter(move || {
            let gateway = Gateway::new(&world, address.clone());
            *lock(&last) = Some(gateway.clone());
            let service = payment::service(&world, &store, Cashier { gateway, sabotage });
            let broker = broker.clone();
            Box::pin(async move { service.start(&broker).await })
        });
        let let_go: LetGo = Box::new(move || {
            if let Some(gateway) = lock(&current).take() {
                gateway.end();
            }
        });
        (start, let_go)
    }

    /// Each start of notification has a postman of its own, which is ended before the service stops:
    /// a handler that waits for the mail server would hold it up.
    fn notification(&self) -> (Start, LetGo) {
        let (world, store, broker) = (self.world.clone(), self.store.clone(), self.broker.clone());
        let mailer = self.mailer.clone();
        let current: Arc<std::sync::Mutex<Option<Postman>>> = Arc::default();
        let last = current.clone();
        let start = starter(move || {
            let postman = Postman::new(mailer.clone());
            *lock(&last) = Some(postman.clone());
            let service = notification::service(&world, &store, postman);
            let broker = broker.clone();
            Box::pin(async move { service.start(&broker).await })
        });
        let let_go: LetGo = Box::new(move || {
            if let Some(postman) = lock(&current).take() {
                postman.end();
            }
        });
        (start, let_go)
    }

    fn routes(&self, services: &Services, receipts: Receipts) -> Result<Router, String> {
        let slot = |name| services.get(name).cloned().ok_or_else(|| format!("no place for {name}"));
        let orders = order::http::routes(OrderApi {
            world: self.world.clone(),
            slot: slot(order::NAME)?,
            store: self.place(order::NAME)?,
            receipts,
        });
        let metrics = analytics::http::routes(AnalyticsApi {
            slot: slot(analytics::NAME)?,
            store: self.place(analytics::NAME)?,
        });
        let stock = inventory::http::routes(self.place(inventory::NAME)?);
        Ok(orders.merge(metrics).merge(stock))
    }
}

fn starter(
    start: impl Fn() -> BoxFuture<'static, Result<Running, StartError>> + Send + Sync + 'static,
) -> Start {
    Box::new(start)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
