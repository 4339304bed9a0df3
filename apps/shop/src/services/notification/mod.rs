//! Sends mail to customers.

mod letter;
mod mailbox;
mod smtp;

use std::path::Path;
use std::sync::Arc;

use dhara::store::Store;
use dhara::world::World;
use dhara::{HandlerExt, Meta, Retry, Service, State};
use tokio::sync::watch;

use crate::events::NotificationRequested;
use letter::Letter;
pub(crate) use letter::MailError;
use mailbox::Mailbox;
use smtp::Smtp;

pub(crate) const NAME: &str = "notification";

/// How many mails are on their way at a time: they are synced in groups, so many wait together.
const LANES: usize = 256;

/// Where mails go; clones are the same one.
#[derive(Clone)]
pub(crate) enum Mailer {
    /// Files in a folder.
    Mailbox(Mailbox),
    /// A mail server.
    Smtp(Arc<Smtp>),
}

impl Mailer {
    /// Mails go to the server at `smtp`; without one, to files in `dir`.
    pub(crate) fn open(world: &World, dir: &Path, smtp: Option<&str>) -> Result<Self, MailError> {
        match smtp {
            Some(url) => Ok(Self::Smtp(Arc::new(Smtp::open(world, dir, url)?))),
            None => Ok(Self::Mailbox(Mailbox::open(world, dir)?)),
        }
    }

    /// How many mails were delivered, in this run and all before it.
    pub(crate) async fn delivered(&self) -> Result<u64, MailError> {
        match self {
            Self::Mailbox(mailbox) => mailbox.delivered().await,
            Self::Smtp(smtp) => smtp.delivered().await,
        }
    }
}

/// Sends for one run of the service; clones are the same one.
#[derive(Clone)]
pub(crate) struct Postman {
    mailer: Mailer,
    ending: Arc<watch::Sender<bool>>,
}

impl Postman {
    pub(crate) fn new(mailer: Mailer) -> Self {
        Self { mailer, ending: Arc::default() }
    }

    /// Lets everything that waits for the mail server go: the service is being stopped.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        match &self.mailer {
            Mailer::Mailbox(mailbox) => mailbox.put(letter).await,
            Mailer::Smtp(smtp) => smtp.send(letter, self.ending.subscribe()).await,
        }
    }
}

/// The service, ready to start.
pub(crate) fn service(world: &World, store: &Arc<dyn Store>, postman: Postman) -> Service<Postman> {
    let service = Service::new(NAME).world(world).store(store.clone()).state(postman).lanes(LANES);
    service.on(send.retry(Retry::forever()))
}

async fn send(
    request: NotificationRequested,
    meta: Meta,
    State(postman): State<Postman>,
) -> Result<(), MailError> {
    let letter = Letter::write(&request, &meta.event_id.to_string(), meta.timestamp)?;
    postman.send(letter).await
}
