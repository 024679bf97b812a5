//! Our connection to one peer: opened, kept open, opened again after a jittered pause. Carries what waits for the peer;
//! the other end says only that it is still there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{sleep, timeout};

use super::frame::{self, FULL_FRAME, Kind, MAX_GREETING};
use super::handshake::{self, Purpose};
use super::queue::Queue;
use super::{PeerLink, QueueLimits, Shared};
use crate::entropy;
use crate::message::PeerMessage;
use crate::types::{NodeId, ShardId};

/// What other threads know of a connection.
pub(super) struct Link {
    node: NodeId,
    queue: Queue,
    problem: Mutex<String>,
}

impl Link {
    pub(super) fn new(node: NodeId, limits: QueueLimits) -> Self {
        Self { node, queue: Queue::new(limits), problem: Mutex::new(String::new()) }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn push(&self, batch: Vec<(ShardId, PeerMessage)>, wall_clock_ms: u64) {
        self.queue.push(batch, wall_clock_ms);
    }

    pub(super) fn describe(&self) -> PeerLink {
        let (connected, queued, dropped) = self.queue.describe();
        PeerLink { node: self.node, connected, queued, dropped, problem: self.problem.lock().clone() }
    }

    /// Logs a problem when it is another one than before: a peer that is down is not news every half second.
    fn note(&self, problem: String) {
        let mut last = self.problem.lock();
        if *last != problem {
            tracing::warn!(peer = self.node, %problem, "not connected to a peer");
            *last = problem;
        }
    }
}

/// Runs until it is aborted.
pub(super) async fn keep_connected(link: Arc<Link>, shared: Arc<Shared>) {
    let timing = shared.timing;
    let mut pause = timing.retry_first;
    loop {
        match connect(&shared, link.node, Purpose::Messages).await {
            Ok(stream) => {
                tracing::info!(peer = link.node, "connected to a peer");
                let (ended, lasted) = carry_and_watch(stream, &link.queue, &shared).await;
                link.queue.close();
                link.note(ended.map_or_else(|error| error.to_string(), |()| "the peer closed the connection".into()));
                // One that breaks at once is no reason to hurry.
                if lasted {
                    pause = timing.retry_first;
                }
            }
            Err(error) => link.note(error.to_string()),
        }
        tokio::select! {
            biased;
            () = shared.awakened(link.node) => {}
            () = sleep(entropy::jittered(pause)) => {}
        }
        pause = (pause * 2).min(timing.retry_most);
    }
}

/// A connection on which both ends have proved themselves.
pub(super) async fn connect(shared: &Shared, peer: NodeId, purpose: Purpose) -> io::Result<TcpStream> {
    let Some(address) = shared.address(peer) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("node {peer} is not a peer")));
    };
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        handshake::open(&mut stream, shared, peer, purpose).await?;
        Ok(stream)
    };
    in_time(shared.timing.handshake, attempt, "connecting").await
}

/// How the connection ended, and whether it lasted for a while.
async fn carry_and_watch(stream: TcpStream, queue: &Queue, shared: &Shared) -> (io::Result<()>, bool) {
    let mut lasted = false;
    let watch = async {
        sleep(shared.timing.silence).await;
        lasted = true;
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        biased;
        ended = carry(stream, queue, shared) => ended,
        () = watch => Ok(()),
    };
    (ended, lasted)
}

async fn carry(stream: TcpStream, queue: &Queue, shared: &Shared) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(writer);
    queue.open(Arc::clone(&writer));
    tokio::select! {
        biased;
        ended = listen(&mut reader, shared.timing.silence) => ended,
        ended = write(&writer, queue, shared) => ended,
    }
}

/// The other end has nothing to say but that it is there. Ok: it has closed the connection.
async fn listen(reader: &mut (impl AsyncRead + Unpin), silence: Duration) -> io::Result<()> {
    loop {
        match in_time(silence, frame::read(reader, MAX_GREETING), "hearing from the peer").await {
            Ok(frame) => frame.payload_of(Kind::Alive)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
    }
}

async fn write(writer: &OwnedWriteHalf, queue: &Queue, shared: &Shared) -> io::Result<()> {
    let (mut batch, mut out) = (Vec::new(), Vec::new());
    loop {
        queue.take(FULL_FRAME, &mut out, &mut batch);
        if batch.is_empty() && out.is_empty() {
            queue.written();
            if timeout(shared.timing.keepalive, queue.filled()).await.is_ok() {
                continue;
            }
            queue.take(FULL_FRAME, &mut out, &mut batch);
        }
        // An empty frame keeps the connection alive and brings the wall clock.
        frame::write_messages(&mut out, shared.handler.wall_clock_ms(), &batch);
        in_time(shared.timing.silence, write_all(writer, &out), "making room for a frame").await?;
        queue.written();
        batch.clear();
        out.clear();
        out.shrink_to(2 * FULL_FRAME);
    }
}

/// Others write to the same connection, in turns: [`Queue::take`] gives this one's.
async fn write_all(writer: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        writer.writable().await?;
        match writer.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An error instead of waiting longer than `limit`.
pub(super) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
    what: &str,
) -> io::Result<T> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} took longer than {limit:?}"))),
    }
}
