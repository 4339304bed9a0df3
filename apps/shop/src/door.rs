//! The shop's door: takes connections, no more than there is room for, gives each request its time,
//! and closes in good time, whatever the clients do.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dhara::world::{World, timeout};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// How long a request's head may take to arrive, and a connection may wait for its next request.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long requests under way may take once the shop closes.
const CLOSING_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// So many descriptors are left to the log, the stores, the mails and the bank.
const SPARE: u64 = 256;
/// How many connections there are room for at least and at most.
const FEWEST: u64 = 16;
const MOST: u64 = 16_384;

/// How many connections there is room for: as many as the process may have descriptors, but for
/// those that the shop needs for itself. The limit of descriptors is raised as far as it goes.
pub(crate) fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let room = current.unwrap_or(u64::MAX).saturating_sub(SPARE).clamp(FEWEST, MOST);
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// Whether requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    /// Those under way may end.
    Closing,
    Closed,
}

/// Serves until `stop` is done, and a while longer for requests that are under way.
pub(crate) async fn serve(
    world: &World,
    listener: TcpListener,
    router: Router,
    room: usize,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(room));
    let door = watch::Sender::new(Door::Open);
    let mut stop = pin!(stop);
    loop {
        let next = async {
            // Who finds no place waits in the system's queue.
            let place = places.clone().acquire_owned().await;
            (place, accept(world, &listener).await)
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            (place, stream) = next => {
                let talk = talk(stream, router.clone(), door.subscribe());
                drop(world.spawn(async move {
                    talk.await;
                    drop(place);
                }));
            }
        }
    }
    drop(listener);
    door.send_replace(Door::Closing);
    let all = u32::try_from(room).unwrap_or(u32::MAX);
    if timeout(CLOSING_LIMIT, places.acquire_many(all)).await.is_none() {
        tracing::warn!("some requests took too long to end; their connections are dropped");
        door.send_replace(Door::Closed);
        drop(places.acquire_many(all).await);
    }
}

async fn accept(world: &World, listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it, small answers wait for the client's acknowledgement.
                drop(stream.set_nodelay(true));
                return stream;
            }
            // The client has gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                world.sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut door: watch::Receiver<Door>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let mut connection =
        pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    // How a connection ends is its client's business: nobody is left to be told.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = door.wait_for(|door| *door != Door::Open) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => (),
        _ = door.wait_for(|door| *door == Door::Closed) => (),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn router() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_arrive_ends_the_connection() {
        let door = watch::Sender::new(Door::Open);
        let (mut client, server) = tokio::io::duplex(4096);
        let talk = tokio::spawn(talk(server, router(), door.subscribe()));
        let whole = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
        client.write_all(whole).await.unwrap();
        let mut answer = vec![0; 15];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK");
        client.write_all(&whole[..20]).await.unwrap();
        let ended = timeout(HEAD_LIMIT + Duration::from_secs(1), talk).await;
        ended.expect("it gives up").unwrap();
    }

    #[tokio::test]
    async fn it_closes_in_time_also_with_a_client_that_never_ends_its_request() {
        let world = World::real();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            serve(&world, listener, router(), 4, async { drop(stopped.await) }).await;
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = [0; 8];
        idle.read_exact(&mut answer).await.unwrap();
        tokio::time::pause();
        drop(stop);
        let ended = timeout(CLOSING_LIMIT * 2, served).await;
        ended.expect("it closes").unwrap();
    }

    #[tokio::test]
    async fn who_finds_no_place_is_served_when_another_has_left() {
        let world = World::real();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let never = std::future::pending();
        drop(tokio::spawn(async move { serve(&world, listener, router(), 2, never).await }));
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            clients.push(client);
        }
        let mut third = clients.pop().unwrap();
        let mut answer = [0; 15];
        for client in &mut clients {
            client.read_exact(&mut answer).await.unwrap();
        }
        let limit = Duration::from_millis(50);
        assert!(timeout(limit, third.read_exact(&mut answer)).await.is_none(), "it waits");
        drop(clients);
        third.read_exact(&mut answer).await.unwrap();
    }
}
