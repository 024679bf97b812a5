//! A snapshot's way from one store to another, without the connection in between: what is offered, what is taken.

use std::io::{self, Write};

use bytes::BufMut;

use super::frame::{garbage, take};
use crate::message::PeerMessage;
use crate::snapshot::{SnapshotError, SnapshotFile, SnapshotReader, SnapshotStore, SnapshotWriter};
use crate::types::{NodeId, ShardId, SnapshotMark};

/// How the transfer of a snapshot ended, for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferOutcome {
    /// It is durable there.
    Stored,
    /// It is not. Asking again later may help.
    Failed,
    /// The sender's own snapshot is damaged, or its disk does not give it: asking again does not help, a new one does.
    Unreadable,
}

impl TransferOutcome {
    /// What a transfer that came to `result` is to its sender.
    #[must_use]
    pub fn of<T>(result: &io::Result<T>) -> Self {
        let Err(error) = result else { return Self::Stored };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<SnapshotError>()) {
            Some(SnapshotError::Damaged { .. } | SnapshotError::Io { .. } | SnapshotError::Missing { .. }) => {
                Self::Unreadable
            }
            _ => Self::Failed,
        }
    }
}

/// What a sender says before the contents: `shard u16 | length u64 | crc32 u32 | message`.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotOffer {
    /// Whose snapshot.
    pub shard: ShardId,
    /// Length of the contents in bytes.
    pub length: u64,
    /// CRC-32 of the contents.
    pub checksum: u32,
    /// Raft's own words, with the mark; for [`Node::install`](crate::Node::install).
    pub message: PeerMessage,
}

impl SnapshotOffer {
    /// The newest snapshot of a shard, if it is the one that `message` announces, and its contents.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn of(store: &SnapshotStore, shard: ShardId, message: &PeerMessage) -> io::Result<(Self, SnapshotReader)> {
        let reader = store.read().map_err(io::Error::other)?;
        let reader = reader.ok_or_else(|| io::Error::other(SnapshotError::Missing { shard }))?;
        let file = reader.file();
        if Some(file.mark) != message.snapshot_mark() {
            return Err(io::Error::other(format!("it is gone, the newest one is {:?}", file.mark)));
        }
        let (length, checksum) = (file.length, file.checksum);
        Ok((Self { shard, length, checksum, message: message.clone() }, reader))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16_le(self.shard);
        out.put_u64_le(self.length);
        out.put_u32_le(self.checksum);
        self.message.encode(out);
    }

    /// Reads what `from` sent to `to`.
    ///
    /// # Errors
    /// The bytes are no offer.
    pub fn decode(mut bytes: &[u8], from: NodeId, to: NodeId) -> io::Result<Self> {
        let shard = u16::from_le_bytes(take(&mut bytes)?);
        let (length, checksum) = (u64::from_le_bytes(take(&mut bytes)?), u32::from_le_bytes(take(&mut bytes)?));
        let message = PeerMessage::decode(&mut bytes, from, to).map_err(|error| garbage(error.to_string()))?;
        if message.snapshot_mark().is_none() {
            return Err(garbage("an offer without a snapshot".into()));
        }
        Ok(Self { shard, length, checksum, message })
    }

    fn mark(&self) -> SnapshotMark {
        self.message.snapshot_mark().unwrap_or_default()
    }
}

/// A snapshot on its way in. Dropped without [`finish`](Self::finish), it never was.
pub struct SnapshotReceipt {
    writer: SnapshotWriter,
    expected: (u64, u32),
}

impl SnapshotReceipt {
    /// Makes room for what is offered.
    ///
    /// # Errors
    /// A newer snapshot is stored already, or the disk refuses.
    pub fn begin(store: &SnapshotStore, offer: &SnapshotOffer) -> io::Result<Self> {
        let writer = store.begin(offer.mark()).map_err(io::Error::other)?;
        Ok(Self { writer, expected: (offer.length, offer.checksum) })
    }

    /// Takes the next piece, of any size.
    ///
    /// # Errors
    /// More comes than was offered, or the disk refuses.
    pub fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let offered = self.expected.0;
        if self.writer.written() + bytes.len() as u64 > offered {
            return Err(garbage(format!("more than the {offered} bytes that were offered")));
        }
        self.writer.write_all(bytes)
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// It is not what was offered, a newer one is stored already, or the disk refuses.
    pub fn finish(self) -> io::Result<SnapshotFile> {
        self.writer.finish(Some(self.expected)).map_err(io::Error::other)
    }
}
