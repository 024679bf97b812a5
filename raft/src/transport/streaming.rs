//! A snapshot from one node's store to another's, in chunks, on a connection of its own.
//!
//! ```text
//! sender: SnapshotOffer { shard u16, length u64, crc32 u32, message } SnapshotChunk* SnapshotEnd ──►
//! receiver:                                          ◄── SnapshotStored { ok u8 }, once it is durable
//! ```
//! Disks are read and written on blocking threads; a few chunks at a time are in memory.

use std::io;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Shared;
use super::frame::{self, Kind, MAX_FRAME, garbage, take};
use super::handshake::Purpose;
use super::outgoing::{connect, in_time};
use super::transfer::{SnapshotOffer, SnapshotReceipt};
use crate::message::PeerMessage;
use crate::snapshot::{SnapshotFile, SnapshotReader, SnapshotStore};
use crate::types::{NodeId, ShardId};

/// Chunks between disk and network.
const IN_FLIGHT: usize = 8;

/// Sends the newest snapshot of `shard`. Ok: it is durable at `to`.
pub(super) async fn send(shared: &Shared, to: NodeId, shard: ShardId, message: &PeerMessage) -> io::Result<()> {
    let _permit = shared.sending.acquire().await.map_err(io::Error::other)?;
    let mut stream = connect(shared, to, Purpose::Snapshot).await?;
    let (offer, mut chunks, reading) = start_reading(shared, shard, message).await?;
    let silence = shared.timing.silence;
    let mut out = Vec::new();
    frame::write(&mut out, Kind::SnapshotOffer, |out| offer.encode(out));
    while let Some(chunk) = chunks.recv().await {
        frame::write(&mut out, Kind::SnapshotChunk, |out| out.put_slice(&chunk));
        in_time(silence, stream.write_all(&out), "making room for a chunk").await?;
        out.clear();
    }
    reading.await.map_err(io::Error::other)??;
    frame::write(&mut out, Kind::SnapshotEnd, |_| {});
    in_time(silence, stream.write_all(&out), "making room for a chunk").await?;
    let answer = in_time(shared.timing.store, frame::read(&mut stream, MAX_FRAME), "storing the snapshot").await?;
    match take(&mut answer.payload_of(Kind::SnapshotStored)?)? {
        [1] => Ok(()),
        _ => Err(io::Error::other(format!("node {to} could not take it"))),
    }
}

type Chunks = (SnapshotOffer, mpsc::Receiver<Bytes>, JoinHandle<io::Result<()>>);

async fn start_reading(shared: &Shared, shard: ShardId, message: &PeerMessage) -> io::Result<Chunks> {
    let (store, message) = (store_of(shared, shard)?, message.clone());
    let opening = spawn_blocking(move || SnapshotOffer::of(&store, shard, &message));
    let (offer, reader) = opening.await.map_err(io::Error::other)??;
    let (chunks_in, chunks) = mpsc::channel(IN_FLIGHT);
    let reading = spawn_blocking(move || read_all(reader, &chunks_in));
    Ok((offer, chunks, reading))
}

fn read_all(mut reader: SnapshotReader, chunks: &mpsc::Sender<Bytes>) -> io::Result<()> {
    while let Some(chunk) = reader.next_chunk().map_err(io::Error::other)? {
        // Nobody takes it: the connection is gone, and its error is the one that counts.
        if chunks.blocking_send(chunk).is_err() {
            break;
        }
    }
    Ok(())
}

/// Receives one snapshot from `from` and hands it on when it is durable.
pub(super) async fn receive(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    from: NodeId,
) -> io::Result<()> {
    let silence = shared.timing.silence;
    let offer = in_time(silence, frame::read(stream, MAX_FRAME), "hearing from the peer").await?;
    let offer = SnapshotOffer::decode(offer.payload_of(Kind::SnapshotOffer)?, from, shared.identity.node)?;
    let stored = match shared.receiving.try_acquire() {
        Ok(_permit) => take_in(stream, shared, offer.clone()).await,
        Err(_) => Err(io::Error::other("too many snapshots are being received")),
    };
    let mut out = Vec::new();
    frame::write(&mut out, Kind::SnapshotStored, |out| out.put_u8(u8::from(stored.is_ok())));
    match stored {
        Ok(file) => {
            shared.handler.snapshot(from, offer.shard, offer.message, file);
            in_time(silence, stream.write_all(&out), "answering").await
        }
        Err(problem) => {
            in_time(silence, stream.write_all(&out), "answering").await?;
            Err(problem)
        }
    }
}

async fn take_in(
    stream: &mut (impl AsyncRead + Unpin),
    shared: &Shared,
    offer: SnapshotOffer,
) -> io::Result<SnapshotFile> {
    let store = store_of(shared, offer.shard)?;
    let (chunks, chunks_out) = mpsc::channel(IN_FLIGHT);
    let storing = spawn_blocking(move || store_all(&store, &offer, chunks_out));
    loop {
        let frame = in_time(shared.timing.silence, frame::read(stream, MAX_FRAME), "the next chunk").await?;
        let chunk = match frame.kind {
            Kind::SnapshotEnd => None,
            Kind::SnapshotChunk => Some(frame.into_chunk()),
            other => return Err(garbage(format!("{other:?} in the middle of a snapshot"))),
        };
        let ended = chunk.is_none();
        // A closed channel: the disk refused, or more came than was offered. The error comes below.
        if chunks.send(chunk).await.is_err() || ended {
            return storing.await.map_err(io::Error::other)?;
        }
    }
}

/// Stores what comes; `None` is the end. If there is no end, the snapshot never was.
fn store_all(
    store: &SnapshotStore,
    offer: &SnapshotOffer,
    mut chunks: mpsc::Receiver<Option<Vec<u8>>>,
) -> io::Result<SnapshotFile> {
    let mut receipt = SnapshotReceipt::begin(store, offer)?;
    while let Some(chunk) = chunks.blocking_recv() {
        match chunk {
            Some(chunk) => receipt.chunk(&chunk)?,
            None => return receipt.finish(),
        }
    }
    Err(io::Error::other("the connection ended in the middle of a snapshot"))
}

fn store_of(shared: &Shared, shard: ShardId) -> io::Result<SnapshotStore> {
    let store = shared.snapshots.get(usize::from(shard)).cloned();
    store.ok_or_else(|| garbage(format!("shard {shard} does not exist, there are {}", shared.snapshots.len())))
}
