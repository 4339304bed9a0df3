//! Mails over SMTP.

use std::path::Path;
use std::time::Duration;

use dhara::world::World;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::letter::{Letter, MailError};
use crate::ledger::{Ledger, LedgerError};

const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Every mail that a server has taken, so that it is counted once and not sent again.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS sent (event_id TEXT NOT NULL PRIMARY KEY)";

/// A mail server.
#[derive(Clone)]
pub(crate) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    sent: Ledger,
    url: String,
}

impl Smtp {
    pub(super) fn open(world: &World, dir: &Path, url: &str) -> Result<Self, MailError> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| MailError::Unsendable(explain(url, &error)))?
            .timeout(Some(TIME_LIMIT))
            .build();
        let sent = Ledger::open(world, &dir.join("smtp.db"), SCHEMA).map_err(unavailable)?;
        Ok(Self { transport, sent, url: without_password(url) })
    }

    /// Sends a mail unless it was sent before. A crash right after the server took it sends it
    /// again: SMTP knows no idempotency.
    pub(super) async fn send(&self, letter: Letter) -> Result<(), MailError> {
        let known = "SELECT 1 FROM sent WHERE event_id = ?1";
        let id = letter.id.clone();
        let known = self.sent.write(move |tx| tx.prepare_cached(known)?.exists([id])).await;
        if known.map_err(unavailable)? {
            return Ok(());
        }
        let taken = self.transport.send_raw(&letter.envelope, &letter.bytes).await;
        taken.map_err(|error| {
            let what = format!("the mail server {} did not take the mail: {error}", self.url);
            match error.is_permanent() {
                true => MailError::Unsendable(what),
                false => MailError::Unavailable(what),
            }
        })?;
        let insert = "INSERT OR IGNORE INTO sent VALUES (?1)";
        let written = self.sent.write(move |tx| tx.prepare_cached(insert)?.execute([letter.id]));
        written.await.map(drop).map_err(unavailable)
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
