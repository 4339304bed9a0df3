//! One connection to the server, with the task that drives it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Statement};

use super::super::StoreError;
use super::address::Address;
use super::error;
use super::tls::Tls;
use crate::world::World;

/// How many prepared statements a connection keeps. Beyond it all are forgotten and begun anew:
/// a service that makes its SQL from values comes here, and no other.
const MOST_STATEMENTS: usize = 500;
/// The oldest server whose transactions have ids of 64 bits.
const OLDEST_VERSION: i32 = 130_000;

/// How to connect for one service.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) world: World,
    pub(super) address: Arc<Address>,
    pub(super) tls: Tls,
    /// The service, which is also its schema.
    pub(super) service: Arc<str>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
}

/// Called with each notification: the process of the server that sent it.
pub(super) type Listener = Arc<dyn Fn(i32) + Send + Sync>;

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    /// The server's process, and when it began: its id may be another's later.
    pub(super) process: i32,
    pub(super) began: String,
    statements: Mutex<HashMap<String, Statement>>,
    ended: watch::Receiver<()>,
}

impl std::fmt::Debug for Dialler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} as {:?}", self.address, self.service)
    }
}

impl Dialler {
    /// Opens a connection. `listener` hears what others notify it of.
    pub(super) async fn connect(
        &self,
        purpose: Purpose,
        listener: Option<Listener>,
    ) -> Result<Link, StoreError> {
        let what = format!("connect to {}", self.address.shown());
        let connecting = self.address.config.connect(self.tls.clone());
        let (client, connection) =
            connecting.await.map_err(|cause| error::of_connecting(&what, cause))?;
        let (ending, ended) = watch::channel(());
        drop(self.world.spawn(drive(connection, listener, ending)));
        let setup = client.simple_query(&self.setup(purpose)).await;
        setup.map_err(|cause| error::of(&what, cause))?;
        let (process, began) = self.look(&client, &what).await?;
        let statements = Mutex::default();
        Ok(Link { client, process, began, statements, ended })
    }

    /// What messages call the service's data.
    pub(super) fn place(&self) -> String {
        format!("the store of {:?} in {}", self.service, self.address.shown())
    }

    /// What the framework relies on, whatever the server's and the user's settings are.
    fn setup(&self, purpose: Purpose) -> String {
        let schema = quoted(&self.service);
        let read_only = if purpose == Purpose::Read { "on" } else { "off" };
        // A commit is durable before it is answered. `dhara.framework` keeps the trigger of the
        // outbox from doing what the framework does by itself. A transaction whose process was
        // stopped must not hold its locks for ever.
        format!(
            "SET search_path TO {schema}, public;
             SET application_name TO {schema};
             SET standard_conforming_strings = on;
             SET client_min_messages = warning;
             SET default_transaction_read_only = {read_only};
             SET idle_in_transaction_session_timeout = '60s';
             SET dhara.framework = 'on';
             SELECT set_config('synchronous_commit', 'on', false)
                WHERE current_setting('synchronous_commit') = 'off'"
        )
    }

    async fn look(&self, client: &Client, what: &str) -> Result<(i32, String), StoreError> {
        let sql = "SELECT pg_backend_pid(), current_setting('server_version_num')::int4,
            current_setting('server_version'), (SELECT backend_start::text
                FROM pg_stat_activity WHERE pid = pg_backend_pid())";
        let row = client.query_one(sql, &[]).await.map_err(|cause| error::of(what, cause))?;
        let field = |cause| error::of(what, cause);
        let version: i32 = row.try_get(1).map_err(field)?;
        if version < OLDEST_VERSION {
            let found: String = row.try_get(2).map_err(field)?;
            let what = format!("{what}: it is PostgreSQL {found}, and 13 is the oldest that works");
            return Err(StoreError::Refused { what });
        }
        Ok((row.try_get(0).map_err(field)?, row.try_get(3).map_err(field)?))
    }
}

/// A name as SQL writes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Moves bytes between the client and its socket until one of them ends.
async fn drive<T>(
    mut connection: Connection<tokio_postgres::Socket, T>,
    listener: Option<Listener>,
    ending: watch::Sender<()>,
) where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(heard))) => {
                if let Some(listener) = &listener {
                    listener(heard.process_id());
                }
            }
            Some(Ok(_)) => (),
            // Whoever waits for an answer is told by the client.
            Some(Err(_)) | None => break,
        }
    }
    drop(ending);
}

impl Link {
    /// The statement, prepared at most once on this connection.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(known) = self.prepared(sql) {
            return Ok(known);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() >= MOST_STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The statement, where it was prepared before.
    pub(super) fn prepared(&self, sql: &str) -> Option<Statement> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    /// Forgets what was prepared: the tables have changed.
    pub(super) fn forget_statements(&self) {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Answers when the connection has ended.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}
