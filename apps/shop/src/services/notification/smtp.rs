//! Mails over SMTP.

use std::path::Path;
use std::time::Duration;

use dhara::world::{World, timeout};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::{Semaphore, watch};

use super::letter::{Letter, MailError};
use crate::ledger::{Ledger, LedgerError};

/// How long the server may take over one mail.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How long mails that are on their way may still take when the service is to stop.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How many mails are on their way at a time, each over a connection of its own: one that was left
/// in the middle of a conversation is of no use to the next.
const CONNECTIONS: usize = 16;

/// Every mail that a server has taken, so that it is counted once and not sent again.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS sent (event_id TEXT NOT NULL PRIMARY KEY)";

/// A mail server.
pub(crate) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    places: Semaphore,
    sent: Ledger,
    world: World,
    url: String,
}

impl Smtp {
    pub(super) fn open(world: &World, dir: &Path, url: &str) -> Result<Self, MailError> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| MailError::Unsendable(explain(url, &error)))?
            .timeout(Some(TIME_LIMIT))
            .build();
        let sent = Ledger::open(world, &dir.join("smtp.db"), SCHEMA).map_err(unavailable)?;
        let places = Semaphore::new(CONNECTIONS);
        Ok(Self { transport, places, sent, world: world.clone(), url: without_password(url) })
    }

    /// Sends a mail unless it was sent before. A crash right after the server took it sends it
    /// again: SMTP knows no idempotency. When `ending` becomes true, nothing waits long for the
    /// server any more.
    pub(super) async fn send(
        &self,
        letter: Letter,
        mut ending: watch::Receiver<bool>,
    ) -> Result<(), MailError> {
        let stopping = || MailError::Unavailable("the notification service is stopping".to_owned());
        let _place = tokio::select! {
            biased;
            _ = ending.wait_for(|ending| *ending) => return Err(stopping()),
            place = self.places.acquire() => place.map_err(|_| stopping())?,
        };
        let known = "SELECT 1 FROM sent WHERE event_id = ?1";
        let id = letter.id.clone();
        let known = self.sent.write(move |tx| tx.prepare_cached(known)?.exists([id])).await;
        if known.map_err(unavailable)? {
            return Ok(());
        }
        let last_call = async {
            drop(ending.wait_for(|ending| *ending).await);
            self.world.sleep(LAST_CALL).await;
        };
        tokio::select! {
            taken = self.hand_over(&letter) => taken?,
            () = last_call => return Err(stopping()),
        }
        let insert = "INSERT OR IGNORE INTO sent VALUES (?1)";
        let written = self.sent.write(move |tx| tx.prepare_cached(insert)?.execute([letter.id]));
        written.await.map(drop).map_err(unavailable)
    }

    async fn hand_over(&self, letter: &Letter) -> Result<(), MailError> {
        let refused = |why: &dyn std::fmt::Display| {
            format!("the mail server {} did not take the mail: {why}", self.url)
        };
        let sending = self.transport.send_raw(&letter.envelope, &letter.bytes);
        match timeout(TIME_LIMIT, sending).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) if error.is_permanent() => Err(MailError::Unsendable(refused(&error))),
            Some(Err(error)) => Err(MailError::Unavailable(refused(&error))),
            None => {
                let why = format!("it did not answer within {} s", TIME_LIMIT.as_secs());
                Err(MailError::Unavailable(refused(&why)))
            }
        }
    }

    pub(super) async fn delivered(&self) -> Result<u64, MailError> {
        let count = "SELECT count(*) FROM sent";
        let count =
            self.sent.write(move |tx| tx.prepare_cached(count)?.query_row([], |r| r.get(0)));
        count.await.map_err(unavailable)
    }
}

fn unavailable(error: LedgerError) -> MailError {
    MailError::Unavailable(error.to_string())
}

fn explain(url: &str, error: &lettre::transport::smtp::Error) -> String {
    let url = without_password(url);
    format!(
        "--smtp {url:?} is no mail server's URL ({error}); write smtp://HOST:PORT or smtps://USER:PASSWORD@HOST"
    )
}

/// The URL as it may be shown.
pub(crate) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let (head, tail) = (url.get(..scheme + 3), url.get(at + 1..));
            format!("{}…@{}", head.unwrap_or(""), tail.unwrap_or(""))
        }
        _ => url.to_owned(),
    }
}
