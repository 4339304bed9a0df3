//! The URL of a store.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::super::StoreError;
use super::tls::Trust;

/// How long a server may take to answer the first word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that says nothing is asked after this, and given up after three more of
/// [`PROBE_INTERVAL`].
const PROBE_AFTER: Duration = Duration::from_secs(20);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// What was sent and is not confirmed by the other machine in this time will not be any more.
const UNCONFIRMED: Duration = Duration::from_secs(30);

/// Where a server is, and how to speak to it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) trust: Trust,
}

impl Address {
    /// Reads a `postgres://` URL.
    ///
    /// Two parameters are more than the client library knows: `sslrootcert=FILE`, and the values
    /// `verify-ca` and `verify-full` of `sslmode`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut roots, mut verify) = (Vec::new(), None, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslrootcert", file)) => roots = Some(PathBuf::from(file)),
                Some(("sslmode", "verify-full" | "verify-ca")) => {
                    verify = true;
                    kept.push("sslmode=require");
                }
                _ => kept.push(pair),
            }
        }
        let url = format!("{place}?{}", kept.join("&"));
        let mut config = Config::from_str(&url).map_err(|error| {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            let what = format!(
                "this is no URL of a PostgreSQL store ({}): postgres://USER@HOST:PORT/DATABASE",
                reason.unwrap_or_else(|| error.to_string())
            );
            StoreError::Refused { what }
        })?;
        verify |= config.get_ssl_mode() == SslMode::Require || roots.is_some();
        if verify && config.get_ssl_mode() != SslMode::Require {
            config.ssl_mode(SslMode::Require);
        }
        patient(&mut config);
        // Of several hosts the one that takes writes. It is also the one to read from: what a unit
        // wrote is seen at once.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let trust = if verify { Trust::Verified { roots } } else { Trust::Anyone };
        Ok(Self { config, trust })
    }

    /// Host, port and database: what messages show. It never holds the password.
    pub(super) fn shown(&self) -> String {
        let hosts: Vec<String> = self.config.get_hosts().iter().map(host).collect();
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or("");
        format!("postgres://{}:{}/{database}", hosts.join(","), ports.join(","))
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

fn host(host: &tokio_postgres::config::Host) -> String {
    match host {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    }
}

/// Sets the times after which a connection is given up, where the URL does not.
fn patient(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNCONFIRMED);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_idle(PROBE_AFTER);
        config.keepalives_interval(PROBE_INTERVAL);
        config.keepalives_retries(3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let address = Address::parse("postgres://me:secret@db.example:5433/shop").unwrap();
        assert_eq!(format!("{address:?}"), "postgres://db.example:5433/shop");
        let error = Address::parse("postgres://me:secret@db:port/shop").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn tls_that_is_required_is_verified() {
        let trust = |url| Address::parse(url).unwrap().trust;
        let verified = |roots: Option<&str>| Trust::Verified { roots: roots.map(Into::into) };
        assert_eq!(trust("postgres://h/d"), Trust::Anyone);
        assert_eq!(trust("postgres://h/d?sslmode=require"), verified(None));
        assert_eq!(trust("postgres://h/d?sslmode=verify-full"), verified(None));
        assert_eq!(trust("postgres://h/d?sslrootcert=/ca.pem"), verified(Some("/ca.pem")));
        let address = Address::parse("postgres://h/d?sslrootcert=/ca.pem").unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
    }
}
