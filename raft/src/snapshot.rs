//! The snapshots of one shard on disk: one file each, of which only the newest is kept.
//!
//! A snapshot is written to a temporary file, synced, renamed and its directory synced: it is there as a whole or not at
//! all. Every block of it is checksummed; damage is an error that names file and offset, and never falls back to an older
//! state behind the log's back.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    disk::Disk,
    types::{ShardId, SnapshotMark},
};

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Stored bytes are not what was written.
    #[error("damaged snapshot: {} at offset {offset}: {what}; do not serve from it, replace the node", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What was received is not what was sent.
    #[error("received snapshot of shard {shard} is not what was sent: {what}; it is dropped, the sender tries again")]
    Transfer {
        /// Whose snapshot.
        shard: ShardId,
        /// What differs.
        what: String,
    },
    /// A newer one is there already; nothing was changed.
    #[error("a newer snapshot of shard {shard} is stored already, up to index {newest}")]
    Superseded {
        /// Whose snapshot.
        shard: ShardId,
        /// The index that the stored one covers.
        newest: u64,
    },
}

/// A durable snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Whose.
    pub shard: ShardId,
    /// What it covers.
    pub mark: SnapshotMark,
    /// Length of its contents in bytes.
    pub length: u64,
    /// CRC-32 of its contents.
    pub checksum: u32,
    /// Where it is. May be replaced by a newer one at any time; readers that have it open are not disturbed.
    pub path: PathBuf,
}

/// The snapshots of one shard. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct SnapshotStore;

/// A snapshot on its way to disk, in pieces of any size. Dropped without `finish`, it never was.
pub struct SnapshotWriter;

/// Reads a snapshot piece by piece, each checked before it is handed out.
pub struct SnapshotReader;

impl SnapshotStore {
    /// Opens (or creates) `directory` for one shard's snapshots and removes what an interrupted write left behind.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn open(_disk: Arc<dyn Disk>, _directory: &Path, _shard: ShardId) -> Result<Self, SnapshotError> {
        todo!()
    }

    /// What the newest stored snapshot covers.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] if its header cannot be trusted.
    pub fn newest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        todo!()
    }

    /// The newest snapshot in whole, verified; `None` if there is none.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`]: the node must not serve, because the log before this snapshot is gone.
    pub fn load(&self) -> Result<Option<(SnapshotFile, Vec<u8>)>, SnapshotError> {
        todo!()
    }

    /// Starts a snapshot, taken here or received in chunks.
    ///
    /// # Errors
    /// [`SnapshotError::Superseded`] if it covers less than the stored one; [`SnapshotError::Io`].
    pub fn begin(&self, _mark: SnapshotMark) -> Result<SnapshotWriter, SnapshotError> {
        todo!()
    }

    /// Writes a snapshot with `fill`, makes it durable and deletes older ones.
    ///
    /// # Errors
    /// As [`begin`](Self::begin) and [`SnapshotWriter::finish`]; an error of `fill` is passed on as [`SnapshotError::Io`].
    pub fn write_with(
        &self,
        _mark: SnapshotMark,
        _fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotFile, SnapshotError> {
        todo!()
    }

    /// Opens the newest snapshot for streaming; `None` if there is none.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub fn read(&self) -> Result<Option<SnapshotReader>, SnapshotError> {
        todo!()
    }
}

impl SnapshotWriter {
    /// Bytes taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        todo!()
    }

    /// Makes the snapshot durable under its name and deletes older ones. `expected` is what the sender says of it: its
    /// length and checksum.
    ///
    /// # Errors
    /// [`SnapshotError::Transfer`] if it differs from `expected`; [`SnapshotError::Superseded`]; [`SnapshotError::Io`].
    pub fn finish(self, _expected: Option<(u64, u32)>) -> Result<SnapshotFile, SnapshotError> {
        todo!()
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
        todo!()
    }

    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}

impl SnapshotReader {
    /// What is being read.
    #[must_use]
    pub fn file(&self) -> &SnapshotFile {
        todo!()
    }

    /// The next verified piece, at most 64 KiB; `None` at the end.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], [`SnapshotError::Io`].
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        todo!()
    }
}
