//! The payload of a log entry: when it happened, what the proposer's state was, and the commands.
//!
//! `version u8 | stamp u64 | checked index u64 | checked hash u64 | count u32 | commands`, little-endian.
//! Commands stand in the bytes they have on the wire. Every replica compares its own digest at the
//! checked index with the proposer's, so replicas that drift apart are found while the cluster runs.
//! Decoding is total: any bytes give a value or an error.

use bytes::Bytes;
use doorbuster_protocol::command::Command;
use doorbuster_protocol::cursor::{Cursor, DecodeError};
use doorbuster_protocol::types::{LogIndex, StateHash, Timestamp};
use thiserror::Error;

const VERSION: u8 = 2;
/// The oldest that is read: it has no cancellations.
const OLDEST: u8 = 1;
const COUNT_AT: usize = 25;
const HEADER_BYTES: usize = 29;
/// A reserve, the usual command, takes no more.
const USUAL_BYTES: usize = 64;

/// What stands before an entry's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Cluster time of the entry.
    pub stamp: Timestamp,
    /// Index that the proposer had applied.
    pub checked: LogIndex,
    /// Digest of its state there.
    pub hash: StateHash,
}

/// Why an entry's payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Fewer bytes than a header has.
    #[error("entry payload of {0} bytes is shorter than its header of {HEADER_BYTES}")]
    Short(usize),
    /// A version that this build does not know.
    #[error(
        "entry payload has format version {0}, this build reads {OLDEST} to {VERSION}: run the version that wrote it"
    )]
    Version(u8),
    /// One of its commands cannot be read.
    #[error("command {at} of an entry: {cause}")]
    Command {
        /// Which, from 0.
        at: u32,
        /// Why.
        cause: DecodeError,
    },
}

/// Puts an entry together.
#[derive(Debug)]
pub struct Builder {
    payload: Vec<u8>,
    count: u32,
}

impl Builder {
    /// Starts with the header.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self::with_room(header, 1)
    }

    /// The same with room for about so many commands.
    #[must_use]
    pub fn with_room(header: Header, commands: usize) -> Self {
        let mut payload = Vec::with_capacity(HEADER_BYTES + commands * USUAL_BYTES);
        payload.push(VERSION);
        payload.extend_from_slice(&header.stamp.0.to_le_bytes());
        payload.extend_from_slice(&header.checked.0.to_le_bytes());
        payload.extend_from_slice(&header.hash.0.to_le_bytes());
        payload.extend_from_slice(&0_u32.to_le_bytes());
        Self { payload, count: 0 }
    }

    /// Adds a command.
    pub fn push(&mut self, command: &Command) {
        command.encode(&mut self.payload);
        self.count += 1;
    }

    /// Bytes so far.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // there is always a header
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// The finished payload.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.payload[COUNT_AT..HEADER_BYTES].copy_from_slice(&self.count.to_le_bytes());
        self.payload.into()
    }
}

/// Reads a payload's header and gives its commands.
///
/// # Errors
/// The payload is too short or of another version.
pub fn decode(payload: &[u8]) -> Result<(Header, Commands<'_>), EntryError> {
    let Some((head, commands)) = payload.split_first_chunk::<HEADER_BYTES>() else {
        return Err(EntryError::Short(payload.len()));
    };
    if !(OLDEST..=VERSION).contains(&head[0]) {
        return Err(EntryError::Version(head[0]));
    }
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    let header = Header { stamp: Timestamp(u64_at(1)), checked: LogIndex(u64_at(9)), hash: StateHash(u64_at(17)) };
    let count = u32::from_le_bytes(std::array::from_fn(|byte| head[COUNT_AT + byte]));
    Ok((header, Commands { cursor: Cursor::new(commands), at: 0, count }))
}

/// The commands of an entry, one after the other; stops at the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    cursor: Cursor<'a>,
    at: u32,
    count: u32,
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.count {
            return None;
        }
        let at = self.at;
        let command = Command::decode(&mut self.cursor);
        self.at = if command.is_ok() { at + 1 } else { self.count };
        Some(command.map_err(|cause| EntryError::Command { at, cause }))
    }
}

/// The proposers' digests of the last entries, by index, to compare with.
#[derive(Debug)]
pub struct HashRing {
    slots: Box<[(LogIndex, StateHash)]>,
}

impl HashRing {
    /// More than a leader can have in flight.
    const SLOTS: usize = 1024;

    /// Notes the digest at an index.
    pub fn note(&mut self, index: LogIndex, hash: StateHash) {
        let slot = self.slot(index);
        self.slots[slot] = (index, hash);
    }

    /// The digest at an index, if it is still known; before the first entry it is not compared.
    #[must_use]
    pub fn at(&self, index: LogIndex) -> Option<StateHash> {
        let (known, hash) = self.slots[self.slot(index)];
        (index.0 != 0 && known == index).then_some(hash)
    }

    #[allow(clippy::cast_possible_truncation)] // a remainder below 1024
    fn slot(&self, index: LogIndex) -> usize {
        (index.0 % self.slots.len() as u64) as usize
    }
}

impl Default for HashRing {
    fn default() -> Self {
        Self { slots: vec![(LogIndex(0), StateHash(0)); Self::SLOTS].into_boxed_slice() }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::{Cancel, CancelReason, Cancellation, Reserve, Target};
    use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, UserId};
    use proptest::prelude::*;

    use super::*;

    const HEADER: Header = Header { stamp: Timestamp(1_700_000_000_123), checked: LogIndex(41), hash: StateHash(99) };

    #[test]
    fn what_is_built_is_read_back() {
        let commands = [
            Command::Reserve(Reserve {
                product: ProductId(7),
                reservation: ReservationId(8),
                user: UserId(9),
                quantity: Quantity(2),
                ttl: Millis(1000),
            }),
            Command::Confirm(Target { product: ProductId(7), reservation: ReservationId(8), user: UserId(9) }),
            Command::Cancel(Cancel {
                target: Target { product: ProductId(7), reservation: ReservationId(8), user: UserId(9) },
                how: Cancellation { reason: CancelReason::Shop, return_stock: true },
            }),
            Command::Expire,
        ];
        let mut builder = Builder::new(HEADER);
        commands.iter().for_each(|command| builder.push(command));
        let payload = builder.finish();
        let (header, read) = decode(&payload).expect("just built");
        assert_eq!(header, HEADER);
        assert_eq!(read.collect::<Result<Vec<_>, _>>().expect("just built"), commands);
        let (_, cut) = decode(&payload[..payload.len() - 1]).expect("the header is whole");
        assert!(cut.last().expect("three items").is_err());
    }

    #[test]
    fn the_version_before_is_read_and_others_are_refused_by_name() {
        let mut payload = Builder::new(HEADER).finish().to_vec();
        payload[0] = OLDEST;
        assert_eq!(decode(&payload).expect("an older one").0, HEADER);
        for version in [OLDEST - 1, VERSION + 1] {
            payload[0] = version;
            let error = decode(&payload).expect_err("of no version that is read");
            let said = format!(
                "format version {version}, this build reads {OLDEST} to {VERSION}: run the version that wrote it"
            );
            assert!(error.to_string().ends_with(&said), "{error}");
        }
    }

    #[test]
    fn the_ring_forgets_but_never_mixes_up() {
        let mut ring = HashRing::default();
        for index in 1..=3000 {
            ring.note(LogIndex(index), StateHash(index * 3));
        }
        assert_eq!(ring.at(LogIndex(3000)), Some(StateHash(9000)));
        assert_eq!(ring.at(LogIndex(1977)), Some(StateHash(1977 * 3)));
        assert_eq!(ring.at(LogIndex(1976)), None);
        assert_eq!(ring.at(LogIndex(0)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), versioned in any::<bool>()) {
            let mut bytes = bytes;
            if versioned && !bytes.is_empty() { bytes[0] = VERSION; }
            if let Ok((_, commands)) = decode(&bytes) {
                let read = commands.count();
                prop_assert!(read <= bytes.len());
            }
        }
    }
}
