//! Connections: accepted up to a number, each a task that speaks HTTP/1.1 with a limit on how long a head may take. On
//! shutdown no more are accepted, idle ones close, and requests in progress get their answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;

/// Pause after the system could not give a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// hyper wants at least this much room for a head.
const LEAST_BUFFER: usize = 8192;
/// What a connection too many hears before it is closed.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 2\r\n\
connection: close\r\ncontent-length: 179\r\n\r\n{\"type\":\"urn:doorbuster:problem:overloaded\",\"title\":\"Too much to do\",\
\"status\":503,\"detail\":\"The gateway has as many connections as it takes.\",\"code\":\"overloaded\",\"retryable\":true}";

/// How connections end.
#[derive(Clone)]
struct Ends {
    /// After the request in progress.
    stop: CancellationToken,
    /// At once.
    cut: CancellationToken,
}

/// Accepts and serves until `stop` is cancelled, then lets what is in progress end within `drain`.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken, drain: Duration) {
    let places = Arc::new(Semaphore::new(app.config.http.max_connections));
    let connections = TaskTracker::new();
    let ends = Ends { stop: stop.clone(), cut: CancellationToken::new() };
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => accept(&app, &places, &connections, &ends, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        app.metrics.connections(connections.len());
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections still open after the drain time are cut");
        ends.cut.cancel();
        connections.wait().await;
    }
}

fn accept(
    app: &Arc<App>,
    places: &Arc<Semaphore>,
    connections: &TaskTracker,
    ends: &Ends,
    stream: TcpStream,
    peer: SocketAddr,
) {
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => drop(connections.spawn(connection(Arc::clone(app), ends.clone(), stream, peer, place))),
        // A fresh connection's buffer has room for this; if not, the peer sees it closed, which says the same.
        Err(_) => drop(stream.try_write(FULL)),
    }
}

async fn connection(app: Arc<App>, ends: Ends, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
    // Without it answers only wait a little longer.
    let _ = stream.set_nodelay(true);
    let config = &app.config.http;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.head_timeout_ms))
        .max_buf_size((config.max_head_bytes * 2).max(LEAST_BUFFER))
        .pipeline_flush(true);
    let service = service_fn(|request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(peer.ip(), request).await) }
    });
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = ends.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            ends.cut.run_until_cancelled(serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canned_answer_counts_its_own_bytes() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
