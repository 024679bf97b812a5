//! Frames between peers, little endian: `length u32 | crc32 u32 | body`, where the length and the checksum are the body's,
//! and the body is `kind u8 | payload`. A length beyond the limit is refused before anything is allocated.

use std::io;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::message::PeerMessage;
use crate::types::{NodeId, ShardId};

/// Largest body once a peer has proved itself: the largest message and then some.
pub(super) const MAX_FRAME: usize = 8 << 20;
/// Largest body before.
pub(super) const MAX_GREETING: usize = 2048;
/// A frame of messages is closed when it has so many bytes.
pub(super) const FULL_FRAME: usize = 1 << 20;
const HEADER: usize = 8;

const _: () = assert!(
    FULL_FRAME as u64 + crate::config::MAX_MESSAGE_BYTES + crate::config::MAX_ENTRY_BYTES as u64 + 4096
        < MAX_FRAME as u64
);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Challenge = 2,
    Proof = 3,
    Verdict = 4,
    /// Of messages: `wall_clock_ms u64 | (shard u16 | message)*`.
    Messages = 5,
    /// "Still here", from the end that has nothing else to say.
    Alive = 6,
    SnapshotOffer = 7,
    SnapshotChunk = 8,
    SnapshotEnd = 9,
    SnapshotStored = 10,
}

const KINDS: [Kind; 10] = [
    Kind::Hello,
    Kind::Challenge,
    Kind::Proof,
    Kind::Verdict,
    Kind::Messages,
    Kind::Alive,
    Kind::SnapshotOffer,
    Kind::SnapshotChunk,
    Kind::SnapshotEnd,
    Kind::SnapshotStored,
];

/// One frame as it came in.
pub(super) struct Frame {
    pub(super) kind: Kind,
    body: Vec<u8>,
}

impl Frame {
    pub(super) fn payload(&self) -> &[u8] {
        &self.body[1..]
    }

    /// The payload, if this is the frame that has to come now.
    pub(super) fn payload_of(&self, kind: Kind) -> io::Result<&[u8]> {
        if self.kind == kind {
            Ok(self.payload())
        } else {
            Err(garbage(format!("{:?} instead of {kind:?}", self.kind)))
        }
    }

    pub(super) fn into_chunk(mut self) -> Vec<u8> {
        self.body.drain(..1);
        self.body
    }
}

/// Reads one frame. Not cancellation-safe: a frame read in part is lost, and the connection with it.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Frame> {
    let length = from.read_u32_le().await? as usize;
    let checksum = from.read_u32_le().await?;
    if length == 0 || length > limit {
        return Err(garbage(format!("a frame of {length} bytes is not in 1..={limit}")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    verified(body, checksum)
}

/// A body of one byte or more, as a frame.
fn verified(body: Vec<u8>, checksum: u32) -> io::Result<Frame> {
    if crc32fast::hash(&body) != checksum {
        return Err(garbage("a frame's checksum is wrong".into()));
    }
    let kind = KINDS.iter().find(|kind| **kind as u8 == body[0]);
    let kind = *kind.ok_or_else(|| garbage(format!("frames of kind {} do not exist", body[0])))?;
    Ok(Frame { kind, body })
}

/// The bytes of one frame of messages, as a connection carries them.
#[must_use]
pub fn pack_messages(wall_clock_ms: u64, batch: &[(ShardId, PeerMessage)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_messages(&mut out, wall_clock_ms, batch);
    out
}

/// The sender's wall clock and the messages of what [`pack_messages`] made, from a node of a cluster with so many shards.
///
/// # Errors
/// The bytes are no such frame: a connection that brings them is closed.
pub fn unpack_messages(
    bytes: &[u8],
    from: NodeId,
    to: NodeId,
    shards: u16,
) -> io::Result<(u64, Vec<(ShardId, PeerMessage)>)> {
    let mut rest = bytes;
    let (length, checksum) = (u32::from_le_bytes(take(&mut rest)?) as usize, u32::from_le_bytes(take(&mut rest)?));
    if length == 0 || length > MAX_FRAME || length != rest.len() {
        return Err(garbage(format!("a frame of {length} bytes in {} bytes", bytes.len())));
    }
    let frame = verified(rest.to_vec(), checksum)?;
    read_messages(frame.payload_of(Kind::Messages)?, from, to, usize::from(shards))
}

/// Appends a frame whose payload `fill` writes.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_slice(&[0; HEADER]);
    out.put_u8(kind as u8);
    fill(out);
    let body = &out[start + HEADER..];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let checksum = crc32fast::hash(body);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// Appends a frame of messages.
pub(super) fn write_messages(out: &mut Vec<u8>, wall_clock_ms: u64, batch: &[(ShardId, PeerMessage)]) {
    write(out, Kind::Messages, |out| {
        out.put_u64_le(wall_clock_ms);
        for (shard, message) in batch {
            out.put_u16_le(*shard);
            message.encode(out);
        }
    });
}

/// The wall clock and the messages of a frame.
pub(super) fn read_messages(
    mut payload: &[u8],
    from: NodeId,
    to: NodeId,
    shards: usize,
) -> io::Result<(u64, Vec<(ShardId, PeerMessage)>)> {
    let wall_clock_ms = u64::from_le_bytes(take(&mut payload)?);
    let mut batch = Vec::new();
    while !payload.is_empty() {
        let shard = u16::from_le_bytes(take(&mut payload)?);
        if usize::from(shard) >= shards {
            return Err(garbage(format!("shard {shard} does not exist, there are {shards}")));
        }
        let message = PeerMessage::decode(&mut payload, from, to).map_err(|error| garbage(error.to_string()))?;
        batch.push((shard, message));
    }
    Ok((wall_clock_ms, batch))
}

/// The next `N` bytes.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> io::Result<[u8; N]> {
    let Some((head, rest)) = bytes.split_first_chunk() else {
        return Err(garbage("a frame ends too early".into()));
    };
    *bytes = rest;
    Ok(*head)
}

/// A peer said something that makes no sense: the connection is closed.
pub(super) fn garbage(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn bytes_of(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, kind, |out| out.put_slice(payload));
        out
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = block_on(read(&mut &bytes[..], 100));
            let _ = read_messages(&bytes, 1, 2, 8);
            let _ = unpack_messages(&bytes, 1, 2, 8);
        }

        #[test]
        fn a_frame_comes_back_and_a_changed_bit_does_not(
            payload in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut bytes = bytes_of(Kind::SnapshotChunk, &payload);
            let frame = block_on(read(&mut &bytes[..], 200)).unwrap();
            prop_assert_eq!((frame.kind, frame.payload()), (Kind::SnapshotChunk, &payload[..]));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(block_on(read(&mut &bytes[..], 200)).is_err());
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut bytes = bytes_of(Kind::Alive, &[]);
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = block_on(read(&mut &bytes[..], MAX_FRAME)).err().unwrap();
        assert!(error.to_string().contains("4294967295 bytes"), "{error}");
    }

    #[test]
    fn kinds_are_numbered_from_one() {
        assert!(KINDS.iter().zip(1u8..).all(|(kind, number)| *kind as u8 == number));
    }
}
