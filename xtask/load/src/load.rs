//! The load itself: connections that send what is due, and followers that see it end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::client::Client;
use crate::follow::{self, Ends};
use crate::options::{Follow, Options};
use crate::orders::Catalogue;
use crate::pace::{Due, Pace};
use crate::report::Report;

/// Orders a second that are asked for when a sample is followed.
const SAMPLES: u32 = 20;
/// Tasks that ask; more than ever wait at once while orders end within a few seconds.
const ASKERS: usize = 64;
/// How long after the last order the followers wait for what has not ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a greedy connection waits after an error, before it sends the same order again.
const PAUSE: Duration = Duration::from_millis(50);
/// After so many errors in a row a greedy connection gives up.
const TRIES: u32 = 100;

/// What the connections share.
struct Shared {
    at: String,
    catalogue: Catalogue,
    pace: Pace,
    /// Of a paced load an order that fails is an error; of a greedy one it is sent again.
    again: bool,
    follow: Follow,
    /// Of so many orders one is asked for.
    every: u64,
    asked: Option<mpsc::Sender<String>>,
    ends: Ends,
    report: Mutex<Report>,
}

/// Makes the load and gives what it found.
pub(crate) async fn run(options: &Options) -> Outcome<Value> {
    let inventory = Client::new(&options.at).get("/inventory").await?;
    let catalogue = Catalogue::read(&inventory, options.orders)?;
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        let mut client = Client::new(&options.at);
        client.connect().await?;
        clients.push(client);
    }
    let ends = Ends::default();
    let mut followers = JoinSet::new();
    let asked = followed(options, &ends, &mut followers).await?;

    let began = Instant::now();
    let shared = Arc::new(Shared {
        at: options.at.clone(),
        catalogue,
        pace: match options.rate {
            Some(rate) => Pace::timed(options.orders, rate, options.warm),
            None => Pace::greedy(options.orders),
        },
        again: options.rate.is_none(),
        follow: options.follow,
        every: u64::from((options.rate.unwrap_or(SAMPLES) / SAMPLES).max(1)),
        asked,
        ends: ends.clone(),
        report: Mutex::default(),
    });
    let mut connections = JoinSet::new();
    for client in clients {
        connections.spawn(connection(client, Arc::clone(&shared)));
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    let took = began.elapsed();
    let lost = patience(&ends, &mut followers).await;

    let mut report =
        std::mem::take(&mut *shared.report.lock().unwrap_or_else(PoisonError::into_inner));
    (report.confirmed, report.rejected) = ends.take();
    report.unseen = ends.open();
    report.took = took;
    report.first_error = report.first_error.or(lost);
    Ok(report.json())
}

/// Starts whoever sees the orders end; gives where to send the ids that should be asked for.
async fn followed(
    options: &Options,
    ends: &Ends,
    followers: &mut JoinSet<Outcome>,
) -> Outcome<Option<mpsc::Sender<String>>> {
    match options.follow {
        Follow::Nothing => Ok(None),
        Follow::Stream => {
            let (ready, opened) = oneshot::channel();
            followers.spawn(follow::stream(options.at.clone(), ends.clone(), ready));
            if opened.await.is_err() {
                let ended = followers.join_next().await;
                return Err(ended.map_or_else(String::new, |ended| format!("{ended:?}")).into());
            }
            Ok(None)
        }
        Follow::Sample => {
            let (sender, receiver) = mpsc::channel(ASKERS);
            let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
            for _ in 0..ASKERS {
                let receiver = Arc::clone(&receiver);
                followers.spawn(follow::ask(options.at.clone(), ends.clone(), receiver));
            }
            Ok(Some(sender))
        }
    }
}

/// Waits until everything that is followed has ended, but not for ever; tells why a follower was
/// lost, if one was.
async fn patience(ends: &Ends, followers: &mut JoinSet<Outcome>) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    while ends.open() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut lost = None;
    while let Some(ended) = followers.try_join_next() {
        if let Ok(Err(error)) = ended {
            lost = Some(format!("a follower was lost: {error}"));
        }
    }
    followers.abort_all();
    lost
}

async fn connection(mut client: Client, shared: Arc<Shared>) -> Outcome {
    let mut failures = 0;
    while let Some(due) = shared.pace.next().await {
        let sent = Instant::now();
        loop {
            match client.order(shared.catalogue.order(due.number)).await {
                Ok(id) => {
                    failures = 0;
                    shared.accepted(id, due, sent);
                    break;
                }
                Err(error) => {
                    failures += 1;
                    shared.failed(&error.to_string());
                    if !shared.again {
                        break;
                    }
                    if failures == TRIES {
                        return Err(format!("{} refused {TRIES} times: {error}", shared.at).into());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    Ok(())
}

impl Shared {
    fn accepted(&self, id: String, due: Due, sent: Instant) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.sent += 1;
        if !due.counts {
            return;
        }
        report.accepted.push(due.at.elapsed());
        report.late.push(sent.saturating_duration_since(due.at));
        drop(report);
        let followed = match &self.asked {
            None => self.follow == Follow::Stream,
            // When all who ask are busy, the sample leaves this order out.
            Some(asked) => {
                due.number.is_multiple_of(self.every) && asked.try_send(id.clone()).is_ok()
            }
        };
        if followed {
            self.ends.sent(id, due.at);
        }
    }

    fn failed(&self, error: &str) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.sent += u64::from(!self.again);
        report.errors += 1;
        report.first_error.get_or_insert_with(|| error.to_owned());
    }
}
