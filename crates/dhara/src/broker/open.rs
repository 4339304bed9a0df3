//! From a URL to a broker.

use std::sync::Arc;

use super::mem::{MemBroker, MemOptions};
use super::{Broker, BrokerError};
use crate::answer::Answer;
use crate::world::World;

/// Every scheme there is, with what is behind it.
const SCHEMES: [(&str, &str); 7] = [
    ("mem", "mem: (in process, nothing kept)"),
    ("file", "file:DIR (the embedded log, durable)"),
    ("kafka", "kafka://HOST:PORT (Apache Kafka and all that speak its protocol)"),
    ("amqp", "amqp://HOST:PORT (RabbitMQ)"),
    ("sqs", "sqs://REGION (AWS SNS and SQS)"),
    ("redis", "redis://HOST:PORT (Redis Streams)"),
    ("redis+pubsub", "redis+pubsub://HOST:PORT (Redis Pub/Sub, at most once)"),
];

/// Opens the broker that `url` names.
///
/// `mem:` is [`mem`](super::mem) and `file:DIR` the embedded log in the folder DIR, which is made
/// where it is missing. The URLs of back ends that are not part of this build are refused, and say
/// so.
pub fn open<'a>(
    url: &'a str,
    world: &'a World,
) -> Answer<'a, Result<Arc<dyn Broker>, BrokerError>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "mem" => Answer::now(open_mem(rest, world)),
        #[cfg(feature = "file")]
        "file" => Answer::later(open_file(rest, world)),
        _ => Answer::now(Err(not_here(url, scheme))),
    }
}

#[cfg(feature = "file")]
async fn open_file(dir: &str, world: &World) -> Result<Arc<dyn Broker>, BrokerError> {
    // `file:///var/lib/x` is the folder /var/lib/x, as in other URLs of files.
    let dir = dir.strip_prefix("//").unwrap_or(dir);
    if dir.is_empty() {
        return Err(refused("file: needs a folder, as in file:data".to_owned()));
    }
    Ok(Arc::new(super::file::FileBroker::open(dir, world).await?))
}

fn open_mem(rest: &str, world: &World) -> Result<Arc<dyn Broker>, BrokerError> {
    let mut options = MemOptions::default();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(refused(format!(
            "mem:{path}: mem: takes no path, only ?retain=... and ?limit=..."
        )));
    }
    for (name, value) in pairs(query) {
        let bytes = bytes_of(value).ok_or_else(|| {
            refused(format!("mem:?{name}={value}: give a number of bytes, as 67108864 or 64m"))
        })?;
        match name {
            "retain" => options.retain = bytes,
            "limit" => options.limit = bytes,
            _ => return Err(refused(format!("mem:?{name}: mem: knows retain and limit"))),
        }
    }
    Ok(Arc::new(MemBroker::new(world, options)))
}

/// The parts of a query, `a=1&b=2`.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// A number of bytes with an optional unit of 1024, 1024² or 1024³.
fn bytes_of(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (text.get(..at)?, 10),
        (at, 'm' | 'M') => (text.get(..at)?, 20),
        (at, 'g' | 'G') => (text.get(..at)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn not_here(url: &str, scheme: &str) -> BrokerError {
    match SCHEMES.iter().find(|(known, _)| *known == scheme) {
        // A build without the feature `file` names that, too.
        Some(("file", _)) => refused(format!(
            "{url}: this build has no embedded log; build with `--features dhara/file`"
        )),
        Some((_, what)) => refused(format!("{url}: {what} is not built yet; use mem: or file:DIR")),
        None => {
            let known: Vec<&str> = SCHEMES.iter().map(|(_, what)| *what).collect();
            refused(format!("{url:?} names no broker; there are {}", known.join(", ")))
        }
    }
}

fn refused(what: String) -> BrokerError {
    BrokerError::Refused { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(url: &str) -> String {
        match open(url, &World::real()).await {
            Err(error @ BrokerError::Refused { .. }) => error.to_string(),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn mem_opens_with_and_without_options() {
        for url in ["mem:", "mem:?retain=1m", "mem:?retain=10&limit=2G"] {
            assert!(open(url, &World::real()).await.is_ok(), "{url}");
        }
        assert!(refusal("mem:?retain=lots").await.contains("a number of bytes"));
        assert!(refusal("mem:?retian=1m").await.contains("retain and limit"));
        assert!(refusal("mem:somewhere").await.contains("no path"));
    }

    #[tokio::test]
    async fn a_known_back_end_that_is_not_built_is_named() {
        for url in ["kafka://localhost:9092", "amqp://x", "sqs://eu-west-1", "redis+pubsub://h"] {
            let said = refusal(url).await;
            assert!(said.contains("not built yet"), "{said}");
        }
    }

    #[tokio::test]
    async fn an_unknown_scheme_lists_the_known_ones() {
        for url in ["nats://localhost", "", "orders"] {
            let said = refusal(url).await;
            for (scheme, _) in SCHEMES {
                assert!(said.contains(scheme), "{said}");
            }
        }
    }
}
