//! Accepts clients, as many as configured, and gives each connection its task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Ended};
use crate::handshake;
use crate::service::Service;

/// After an accept failed (out of file descriptors, mostly), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How clients come in.
pub struct Listener {
    /// Where they connect.
    pub socket: TcpListener,
    /// What their connections share.
    pub service: Arc<Service>,
    /// Most connections at a time.
    pub max_connections: usize,
    /// The connections' tasks.
    pub connections: TaskTracker,
    /// No more clients are accepted.
    pub stop: CancellationToken,
    /// Connections write what is answered, and end.
    pub closing: CancellationToken,
}

impl Listener {
    /// Accepts until told to stop.
    pub async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.max_connections));
        loop {
            let (stream, address) = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept clients");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                self.service.desk.metrics.connections_refused.increment(1);
                tracing::warn!(%address, limit = self.max_connections, "too many connections, client turned away");
                handshake::turn_away(&stream);
                continue;
            };
            let (service, closing) = (Arc::clone(&self.service), self.closing.clone());
            self.connections.spawn(async move {
                service.desk.metrics.connections_opened.increment(1);
                service.desk.metrics.connections.increment(1.0);
                serve(stream, address, &service, &closing).await;
                service.desk.metrics.connections.decrement(1.0);
                drop(permit);
            });
        }
    }
}

async fn serve(mut stream: TcpStream, address: SocketAddr, service: &Arc<Service>, closing: &CancellationToken) {
    // Answers go out in one write a turn: waiting for more would only delay them.
    let _best_effort = stream.set_nodelay(true);
    let mut input = BytesMut::new();
    let client = tokio::select! {
        welcomed = handshake::welcome(&mut stream, &mut input, service) => match welcomed {
            Ok(client) => client,
            Err(error) => {
                service.desk.metrics.connections_refused.increment(1);
                tracing::info!(%address, %error, "client not let in");
                return;
            }
        },
        () = closing.cancelled() => return,
    };
    let ended = Connection::new(stream, Arc::clone(service), input).serve(closing).await;
    match ended {
        Ended::ByClient | Ended::ShuttingDown | Ended::Io(_) => {
            tracing::debug!(%address, client, %ended, "connection ended");
        }
        Ended::Protocol(_) | Ended::SlowReader { .. } => {
            tracing::warn!(%address, client, %ended, "connection closed");
        }
    }
}
