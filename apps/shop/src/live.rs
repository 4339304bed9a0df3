//! `GET /events`: what happens, as server-sent events.
//!
//! One reader of the broker serves all clients, and reads only while there are any. It keeps the
//! last events in a ring; each client reads the ring at its own pace, so that a slow client costs
//! nothing and misses what the ring has lost, which it is told.

mod frame;
mod tail;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use dhara::broker::Broker;
use dhara::world::{World, timeout};
use tokio::sync::{Notify, watch};

use crate::problem::Problem;
use frame::Frame;

/// How many events the ring holds.
const RING: usize = 4096;
/// How many events a new client is shown first.
const FIRST: u64 = 50;
/// While much happens, what comes within this time goes out together.
const GATHER: Duration = Duration::from_millis(2);
/// So many events at once are much.
const MANY: u64 = 16;
/// How many events go out together at most.
const MOST: u64 = 100;
/// A client that hears nothing for so long gets a comment, so that it knows the connection stands.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a new client waits for the reader to begin.
const PATIENCE: Duration = Duration::from_secs(2);

/// The stream of events, for all clients.
#[derive(Clone)]
pub(crate) struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    world: World,
    broker: Arc<dyn Broker>,
    ring: Mutex<Ring>,
    changed: Notify,
    /// How many clients there may be.
    most: usize,
    /// How many clients there are.
    clients: watch::Sender<usize>,
    /// Whether the ring holds what was there when the reader began.
    primed: watch::Sender<bool>,
    /// The last status, as it goes out.
    status: watch::Sender<Bytes>,
    stopping: watch::Sender<bool>,
}

#[derive(Default)]
struct Ring {
    /// Names this filling of the ring: a cursor of another one counts differently.
    run: u64,
    /// The number of the next frame.
    next: u64,
    frames: VecDeque<Frame>,
}

impl Ring {
    fn first(&self) -> u64 {
        self.next.saturating_sub(self.frames.len() as u64)
    }

    fn push(&mut self, frame: Frame) {
        if self.frames.len() == RING {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
        self.next += 1;
    }

    /// Where a client goes on that has seen everything up to `cursor`.
    fn resume(&self, cursor: Option<&str>) -> u64 {
        let latest = self.next.saturating_sub(FIRST).max(self.first());
        let Some((run, number, event_id)) = cursor.and_then(frame::parse_cursor) else {
            return latest;
        };
        if run == self.run && number < self.next {
            return number + 1;
        }
        // Another filling: event ids rise with time, also across restarts.
        let newer = self.frames.iter().rev().take_while(|frame| frame.event_id.as_str() > event_id);
        self.next - newer.count() as u64
    }
}

impl Live {
    /// Streams for `most` clients at a time.
    pub(crate) fn start(world: &World, broker: Arc<dyn Broker>, most: usize) -> Self {
        let shared = Arc::new(Shared {
            world: world.clone(),
            broker,
            most,
            ring: Mutex::default(),
            changed: Notify::new(),
            clients: watch::Sender::new(0),
            primed: watch::Sender::new(false),
            status: watch::Sender::new(Bytes::new()),
            stopping: watch::Sender::new(false),
        });
        drop(world.spawn(tail::follow(shared.clone())));
        Self { shared }
    }

    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/events", get(events)).with_state(self.clone())
    }

    /// Waits until anybody listens.
    pub(crate) async fn wanted(&self) {
        // The sender lives as long as `self`.
        drop(self.shared.clients.subscribe().wait_for(|clients| *clients > 0).await);
    }

    /// Shows this status to all clients.
    pub(crate) fn show_status(&self, json: &str) {
        let text = format!("event: status\ndata: {json}\n\n");
        self.shared.status.send_replace(Bytes::from(text));
    }

    /// Ends all streams: the shop stops.
    pub(crate) fn end(&self) {
        self.shared.stopping.send_replace(true);
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn events(State(live): State<Live>, headers: HeaderMap) -> Response {
    let cursor = headers.get("last-event-id").and_then(|cursor| cursor.to_str().ok());
    let Some(client) = Client::join(live.shared, cursor).await else {
        let detail = "too many listen to the events; try again later";
        // The connection goes too: it would take the place of others who have something to ask.
        let close = [(header::CONNECTION, "close")];
        return (close, Problem::unavailable(detail)).into_response();
    };
    let stream = futures_util::stream::unfold(client, |mut client| async move {
        let bytes = client.next().await?;
        Some((Ok::<_, Infallible>(bytes), client))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(stream)).into_response()
}

/// One client's way through the ring.
struct Client {
    shared: Arc<Shared>,
    _place: Place,
    run: u64,
    next: u64,
    status: watch::Receiver<Bytes>,
    greeted: bool,
    /// Whether it was given many events just now.
    rests: bool,
}

impl Client {
    /// A new client; `None` where there is no room for one more.
    async fn join(shared: Arc<Shared>, cursor: Option<&str>) -> Option<Self> {
        let place = Place::take(shared.clone())?;
        let mut primed = shared.primed.subscribe();
        let ready = timeout(PATIENCE, primed.wait_for(|primed| *primed)).await;
        drop(ready);
        let (run, next) = {
            let ring = shared.ring();
            (ring.run, ring.resume(cursor))
        };
        let mut status = shared.status.subscribe();
        status.mark_changed();
        Some(Self { shared, _place: place, run, next, status, greeted: false, rests: false })
    }

    /// The next bytes for this client; `None` when the shop stops.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(b"retry: 1000\n\n"));
        }
        let mut stopping = self.shared.stopping.subscribe();
        if std::mem::take(&mut self.rests) {
            self.shared.world.sleep(GATHER).await;
        }
        loop {
            if *stopping.borrow() {
                return None;
            }
            if self.status.has_changed().unwrap_or(false) {
                let status = self.status.borrow_and_update().clone();
                if !status.is_empty() {
                    return Some(status);
                }
            }
            let shared = self.shared.clone();
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let before = self.next;
            if let Some(bytes) = self.take() {
                self.rests = self.next.saturating_sub(before) >= MANY;
                return Some(bytes);
            }
            tokio::select! {
                () = changed => (),
                // Waiting has seen the change: what is to be shown has not been.
                _ = self.status.changed() => self.status.mark_changed(),
                _ = stopping.changed() => (),
                () = shared.world.sleep(KEEP_ALIVE) => {
                    return Some(Bytes::from_static(b":\n\n"));
                }
            }
        }
    }

    /// What the ring holds for this client, as far as it goes out together.
    fn take(&mut self) -> Option<Bytes> {
        let ring = self.shared.ring();
        if ring.run != self.run {
            (self.run, self.next) = (ring.run, ring.first());
        }
        if self.next >= ring.next {
            return None;
        }
        let mut out = Vec::new();
        // Whoever is far behind is shown what is new.
        let behind = ring.next - self.next;
        if self.next < ring.first() || behind > MOST * 10 {
            let from = ring.next.saturating_sub(MOST).max(ring.first());
            let skipped = from.saturating_sub(self.next);
            out.extend_from_slice(
                format!("event: gap\ndata: {{\"skipped\":{skipped}}}\n\n").as_bytes(),
            );
            self.next = from;
        }
        let start = usize::try_from(self.next - ring.first()).unwrap_or(usize::MAX);
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        for frame in ring.frames.iter().skip(start).take(most) {
            frame.write(ring.run, self.next, &mut out);
            self.next += 1;
        }
        Some(Bytes::from(out))
    }
}

/// A client's place among those that there may be; given back when it is dropped.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: Arc<Shared>) -> Option<Self> {
        let most = shared.most;
        let there_is_one = |clients: &mut usize| {
            let free = *clients < most;
            *clients += usize::from(free);
            free
        };
        shared.clients.send_if_modified(there_is_one).then(|| Self(shared.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.send_modify(|clients| *clients = clients.saturating_sub(1));
    }
}
