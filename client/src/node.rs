//! The connections to one node: made when first needed, made again after they ended, with a pause that
//! grows while the node cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbuster_protocol::handshake::{Hello, Welcome};
use doorbuster_protocol::types::NodeId;
use parking_lot::Mutex;

use crate::clock::{Instant, now};
use crate::connection::{Connection, DialError};
use crate::entropy::jittered;

/// Longest time to connect and shake hands.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// First pause after a failed attempt; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    links: Vec<Link>,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Link {
    current: Mutex<Option<Arc<Connection>>>,
    /// Held by whoever connects; the others wait for what comes of it.
    dialer: tokio::sync::Mutex<Dialer>,
}

#[derive(Debug, Default)]
struct Dialer {
    pause: Duration,
    not_before: Option<Instant>,
    last_error: Option<DialError>,
}

/// A connection, and the node's welcome if it is new.
pub(crate) type Opened = (Arc<Connection>, Option<Welcome>);

impl Node {
    pub(crate) fn new(id: NodeId, address: String, connections: usize) -> Self {
        let links = (0..connections.max(1)).map(|_| Link::default()).collect();
        Self { id, address, links, next: AtomicUsize::new(0) }
    }

    /// A connection that was alive a moment ago; made now if there is none. Callers that come during
    /// the pause after a failure hear of that failure.
    ///
    /// Cancellation safe: whoever waits next goes on connecting.
    pub(crate) async fn connection(&self, hello: &Hello, until: Instant) -> Result<Opened, DialError> {
        let link = self.link();
        match link.alive() {
            Some(connection) => Ok((connection, None)),
            None => Box::pin(link.dial(self, hello, until)).await,
        }
    }

    /// Uses a connection that was made otherwise, unless there is one.
    pub(crate) fn adopt(&self, connection: Arc<Connection>) {
        if let Some(link) = self.links.iter().find(|link| link.alive().is_none()) {
            *link.current.lock() = Some(connection);
        }
    }

    /// Whether any of its connections is alive.
    pub(crate) fn is_connected(&self) -> bool {
        self.links.iter().any(|link| link.alive().is_some())
    }

    pub(crate) fn close(&self) {
        for link in &self.links {
            if let Some(connection) = link.current.lock().take() {
                connection.close();
            }
        }
    }

    fn link(&self) -> &Link {
        match self.links.len() {
            1 => &self.links[0],
            count => &self.links[self.next.fetch_add(1, Ordering::Relaxed) % count],
        }
    }
}

impl Link {
    fn alive(&self) -> Option<Arc<Connection>> {
        self.current.lock().as_ref().filter(|connection| !connection.is_closed()).map(Arc::clone)
    }

    async fn dial(&self, node: &Node, hello: &Hello, until: Instant) -> Result<Opened, DialError> {
        let too_late = || DialError::Unreachable(format!("{}: not connected in time", node.address));
        let mut dialer = tokio::time::timeout_at(until, self.dialer.lock()).await.map_err(|_| too_late())?;
        if let Some(connection) = self.alive() {
            return Ok((connection, None));
        }
        if dialer.not_before.is_some_and(|not_before| now() < not_before) {
            return Err(dialer.last_error.clone().unwrap_or_else(too_late));
        }
        let limit = until.min(now() + DIAL_TIMEOUT);
        let opened = match tokio::time::timeout_at(limit, Connection::open(&node.address, hello)).await {
            Ok(opened) => opened.and_then(|(connection, welcome)| checked(node, connection, welcome)),
            Err(_) => Err(too_late()),
        };
        match opened {
            Ok((connection, welcome)) => {
                *dialer = Dialer::default();
                *self.current.lock() = Some(Arc::clone(&connection));
                Ok((connection, Some(welcome)))
            }
            Err(error) => {
                dialer.pause = (dialer.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                dialer.not_before = Some(now() + jittered(dialer.pause));
                dialer.last_error = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// An address may have come to belong to another node.
fn checked(
    node: &Node,
    connection: Arc<Connection>,
    welcome: Welcome,
) -> Result<(Arc<Connection>, Welcome), DialError> {
    if welcome.node == node.id {
        return Ok((connection, welcome));
    }
    let (address, expected, found) = (&node.address, node.id, welcome.node);
    Err(DialError::Unreachable(format!("{address}: node {found} answers there, not node {expected}")))
}
