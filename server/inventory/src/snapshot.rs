//! Snapshots: a shard's whole state as bytes.
//!
//! A snapshot is taken by freezing, which copies pointers, and written elsewhere while the sale goes on.
//! Equal states give equal bytes: products stand in the order they were created, reservations in the
//! order their timers fire in, user counts in the order of their hashes, the rest in log order.
//!
//! The bytes, all little-endian: the header (magic, version u16, shard u16, index u64, time u64, state
//! hash u64, wheel cursor u64, feed acknowledged u64, then the five counts: products u32, reservations u32,
//! user counts u64, operations u32, feed entries u64), the five sections in that order, and the CRC-32 of
//! everything before it. The version changes whenever an older build could not read the bytes.

mod read;
mod write;

use std::fmt;
use std::io;
use std::sync::Arc;

use doorbuster_protocol::command::ProductSpec;
use doorbuster_protocol::reply::SaleState;
use doorbuster_protocol::types::{LogIndex, ShardId, StateHash, Timestamp};

use crate::feed::Feed;
use crate::journal::Journal;
use crate::operations::Operation;
use crate::product::Units;
use crate::reservations::FrozenReservations;
use crate::users::Users;

pub(crate) use read::read;

const MAGIC: [u8; 8] = *b"DBSTOCK\n";
const VERSION: u16 = 3;
/// The oldest that is read: it knows of nothing cancelled.
const OLDEST: u16 = 2;

/// A shard's state as it was when it was frozen. Shares its pages with the inventory until either changes them.
pub struct Frozen {
    pub(crate) shard: ShardId,
    pub(crate) applied: LogIndex,
    pub(crate) time: Timestamp,
    pub(crate) state_hash: StateHash,
    pub(crate) products: Vec<FrozenProduct>,
    pub(crate) reservations: FrozenReservations,
    pub(crate) users: Users,
    pub(crate) operations: Journal<Operation>,
    pub(crate) feed: Feed,
}

/// A product as it was when it was frozen.
pub(crate) struct FrozenProduct {
    pub(crate) spec: Arc<ProductSpec>,
    pub(crate) units: Units,
    pub(crate) sale: SaleState,
}

impl Frozen {
    /// Log index of the last command that the snapshot contains.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Digest of the state that the snapshot contains.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        self.state_hash
    }

    /// Writes the snapshot: versioned, checksummed, and the same bytes for the same state. Writes in chunks; `out`
    /// need not be buffered.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(self, out: &mut dyn io::Write) -> io::Result<()> {
        write::write(&self, out)
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("shard", &self.shard).field("applied", &self.applied).finish_non_exhaustive()
    }
}

/// Why bytes are not a snapshot of this shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot at all.
    #[error("not an inventory snapshot: it does not begin like one")]
    Unrecognised,
    /// Of a version this build does not read.
    #[error("an inventory snapshot of version {found}, and this build reads versions {OLDEST} to {VERSION}")]
    UnsupportedVersion {
        /// The version it says.
        found: u16,
    },
    /// Of another shard.
    #[error("a snapshot of shard {found}, and shard {expected} was to be restored")]
    WrongShard {
        /// The shard it says.
        found: ShardId,
        /// The shard to be restored.
        expected: ShardId,
    },
    /// The checksum does not match: bytes were changed or are missing.
    #[error("the snapshot is damaged: its checksum is {found:08x}, and its bytes give {counted:08x}")]
    Damaged {
        /// The checksum it ends with.
        found: u32,
        /// The checksum of its bytes.
        counted: u32,
    },
    /// It holds more than this shard may.
    #[error("the snapshot has {count} {what}, and the limit is {limit}")]
    TooLarge {
        /// More of what.
        what: &'static str,
        /// How many it says.
        count: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A value is missing or cannot be: nothing that this program wrote.
    #[error("the snapshot has an impossible {what} at byte {offset}")]
    Invalid {
        /// Of what.
        what: &'static str,
        /// Where it ends.
        offset: usize,
    },
    /// Its parts contradict each other.
    #[error("the snapshot contradicts itself: {0}")]
    Inconsistent(String),
}
