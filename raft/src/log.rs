//! The log of a node: one sequence of records on disk for all its shards.
//!
//! Shards hand over [`Append`](crate::Append)s; a log thread gathers what has come meanwhile into a *round*, writes it with one write and
//! one fdatasync, and reports each append's ticket. Contract: when a ticket is reported, that append and all before it (of
//! any shard) survive a crash; after a crash, recovery finds a prefix of the appends that holds at least those reported.
//! What recovery cannot tell to be a torn last round it refuses as damage. Every failure of the disk is final.

mod core;
mod error;
mod extent;
mod group_commit;
mod record;
mod recovery;
mod segment;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use self::core::{LogCore, format};
pub use error::LogError;
pub use group_commit::{Log, open};

use crate::types::ShardId;

/// How a log is laid out and written.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Where the segments are. The log has this directory to itself.
    pub directory: PathBuf,
    /// How many shards write to it; fixed when it is formatted.
    pub shards: u16,
    /// Marks every segment as this log's own: a random number made when the data folder was formatted. A segment with
    /// another one is refused. Default 0.
    pub identity: u64,
    /// Size of a segment file in bytes; a multiple of 4096. New segments use it, older ones keep theirs. Default 64 MiB.
    pub segment_bytes: u64,
    /// A round is written when it holds this many bytes, even if more is waiting. Default 4 MiB.
    pub round_bytes: usize,
    /// `false` is durability "memory": rounds are written but not synced. They survive the end of the process, not that of
    /// the machine. Default `true`.
    pub sync: bool,
    /// Added to each sync, to play a slower disk. Default zero.
    pub sync_delay: Duration,
}

impl LogConfig {
    /// The defaults.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, shards: u16) -> Self {
        Self {
            directory: directory.into(),
            shards,
            identity: 0,
            segment_bytes: 64 << 20,
            round_bytes: 4 << 20,
            sync: true,
            sync_delay: Duration::ZERO,
        }
    }
}

/// What a log takes on disk, and who is to blame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Bytes of all segment files, the prepared ones included.
    pub bytes: u64,
    /// Number of segment files, the prepared ones included.
    pub segments: usize,
    /// The shard that keeps the oldest segment from being deleted, if one does.
    pub pin: Option<Pin>,
    /// Rounds written since the log was opened.
    pub rounds: u64,
    /// Bytes written in those rounds.
    pub written: u64,
}

/// An entry that keeps the oldest segment. Once the shard's snapshot covers all its entries there, the segment can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose entry.
    pub shard: ShardId,
    /// The first entry of the shard that is still needed.
    pub first: u64,
    /// The last one in that oldest segment: a snapshot mark at or after it lets go of the segment.
    pub last: u64,
}

/// Called on the log thread with the appends, by shard and ticket, that a round made durable. Must not block and must not wait
/// for the log.
pub type Durable = Arc<dyn Fn(&mut dyn Iterator<Item = (ShardId, u64)>) + Send + Sync>;

/// Called at most once, when the log has failed; nothing is reported durable after it. The process should end.
pub type Fatal = Arc<dyn Fn(String) + Send + Sync>;
