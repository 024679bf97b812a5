//! The operators' HTTP port: `/metrics`, `/livez`, `/readyz`, `/status`. Asks for no credentials, changes nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Exporter, UPKEEP_EVERY};

/// More connections than this wait to be accepted: nobody needs more to watch one node.
const MAX_CONNECTIONS: usize = 64;
/// Longest time for a request's head to arrive, and for an idle connection to stay.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// After an accept failed (out of file descriptors, mostly), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin port shows.
pub trait AdminSource: Send + Sync + 'static {
    /// Whether the process does what it should; `Err` says why a restart might help.
    ///
    /// # Errors
    /// What is wrong, for `/livez`.
    fn live(&self) -> Result<(), String>;

    /// Whether the node serves: every replica has a leader and none has stopped.
    ///
    /// # Errors
    /// What is missing, for `/readyz`.
    fn ready(&self) -> Result<(), String>;

    /// The node's condition, for `/status`. May fill gauges too; called on a runtime thread, must not block for long.
    fn status(&self) -> serde_json::Value;

    /// Called before each scrape, to bring gauges up to date.
    fn refresh_gauges(&self) {}
}

/// Serves until `shutdown`; then lets the requests under way end.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn AdminSource>,
    exporter: Exporter,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        let permit = async { (Arc::clone(&permits).acquire_owned().await, listener.accept().await) };
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = upkeep.tick() => exporter.upkeep(),
            (permit, accepted) = permit => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, Arc::clone(&source), exporter.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin port cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, source: Arc<dyn AdminSource>, exporter: Exporter, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = respond(request.method(), request.uri().path(), source.as_ref(), &exporter);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection");
    }
}

fn respond(method: &Method, path: &str, source: &dyn AdminSource, exporter: &Exporter) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET here\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => health(source.live()),
        "/readyz" => health(source.ready()),
        "/metrics" => {
            source.refresh_gauges();
            typed("text/plain; version=0.0.4; charset=utf-8", StatusCode::OK, exporter.render())
        }
        "/status" => typed("application/json", StatusCode::OK, format!("{:#}\n", source.status())),
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /metrics and /status\n".to_owned()),
    }
}

fn health(condition: Result<(), String>) -> Response<Full<Bytes>> {
    match condition {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(problem) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed("text/plain; charset=utf-8", status, body)
}

fn typed(content_type: &'static str, status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
