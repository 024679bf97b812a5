//! Connections that peers open: messages are handed on as they come, snapshots go to their store.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::frame::{self, Kind, MAX_FRAME};
use super::handshake::{self, Purpose};
use super::outgoing::in_time;
use super::{Shared, streaming};
use crate::types::NodeId;

/// Connections at once, for each peer: the one for messages, snapshots, and those that have not proved themselves yet.
const CONNECTIONS_PER_PEER: usize = 16;

/// Accepts until it is aborted; the connections end with it.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let most = CONNECTIONS_PER_PEER * shared.peers.len().max(1);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= most {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, address)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    if let Err(problem) = serve(stream, &shared).await {
                        tracing::warn!(%address, %problem, "a peer's connection ended");
                    }
                });
            }
            Err(problem) => {
                // No descriptors left, most likely: others may close some.
                tracing::warn!(%problem, "cannot accept a peer's connection");
                sleep(shared.timing.retry_most).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let greeting = handshake::accept(&mut stream, shared);
    let (peer, purpose) = in_time(shared.timing.handshake, greeting, "the handshake").await?;
    shared.wake(peer);
    match purpose {
        Purpose::Snapshot => streaming::receive(&mut stream, shared, peer).await,
        Purpose::Messages => {
            let (mut reader, mut writer) = stream.into_split();
            let number = shared.speaks(peer);
            let ended = tokio::select! {
                biased;
                ended = hand_on(&mut reader, shared, peer) => ended,
                ended = stay_alive(&mut writer, shared) => ended,
            };
            shared.ended(peer, number);
            ended
        }
    }
}

async fn hand_on(reader: &mut (impl AsyncRead + Unpin), shared: &Shared, peer: NodeId) -> io::Result<()> {
    let (node, shards) = (shared.identity.node, shared.snapshots.len());
    loop {
        let frame = in_time(shared.timing.silence, frame::read(reader, MAX_FRAME), "hearing from the peer").await?;
        let (wall_clock_ms, batch) = frame::read_messages(frame.payload_of(Kind::Messages)?, peer, node, shards)?;
        shared.handler.messages(peer, wall_clock_ms, batch);
    }
}

async fn stay_alive(writer: &mut (impl AsyncWrite + Unpin), shared: &Shared) -> io::Result<()> {
    let mut alive = Vec::new();
    frame::write(&mut alive, Kind::Alive, |_| {});
    loop {
        in_time(shared.timing.silence, writer.write_all(&alive), "making room for a frame").await?;
        sleep(shared.timing.keepalive).await;
    }
}
