//! The snapshots of one shard on disk: one file each, of which only the newest is kept.
//!
//! A snapshot is written to a temporary file, synced, renamed and its directory synced: it is there as a whole or not at
//! all. Every block of it is checksummed; damage is an error that names file and offset, and never falls back to an older
//! state behind the log's back.

mod format;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

use crate::{
    disk::{Disk, create_durable_dir},
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
    /// There is none where there must be one.
    #[error("the snapshot of shard {shard} is gone from its folder; do not serve without it, replace the node")]
    Missing {
        /// Whose snapshot.
        shard: ShardId,
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
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    shard: ShardId,
    /// Makes temporary names unique: one snapshot may be taken here while another is received.
    attempts: AtomicU64,
    /// Held while names change.
    names: Mutex<()>,
}

impl SnapshotStore {
    /// Opens (or creates) `directory` for one shard's snapshots and removes what an interrupted write left behind.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, shard: ShardId) -> Result<Self, SnapshotError> {
        let directory = directory.to_owned();
        create_durable_dir(&*disk, &directory).map_err(|e| failed("create directory", &directory, e))?;
        for name in disk.list(&directory).map_err(|e| failed("list", &directory, e))? {
            if format::is_temporary(&name) {
                let path = directory.join(name);
                disk.remove(&path).map_err(|e| failed("remove leftover", &path, e))?;
            }
        }
        // A snapshot that was renamed just before the end must not vanish after it has been seen; and a leftover whose name
        // is used again must not come back with what is renamed then.
        disk.sync_dir(&directory).map_err(|e| failed("sync directory", &directory, e))?;
        let inner = Inner { disk, directory, shard, attempts: AtomicU64::new(0), names: Mutex::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the newest stored snapshot covers.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] if its header cannot be trusted.
    pub fn newest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        Ok(self.read()?.map(|reader| reader.file().clone()))
    }

    /// The newest snapshot in whole, verified; `None` if there is none.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`]: the node must not serve, because the log before this snapshot is gone.
    pub fn load(&self) -> Result<Option<(SnapshotFile, Vec<u8>)>, SnapshotError> {
        let Some(mut reader) = self.read()? else { return Ok(None) };
        // The length has been checked against that of the file.
        let mut contents = Vec::with_capacity(usize::try_from(reader.file().length).unwrap_or(0));
        while let Some(chunk) = reader.next_chunk()? {
            contents.extend_from_slice(&chunk);
        }
        Ok(Some((reader.file().clone(), contents)))
    }

    /// Starts a snapshot, taken here or received in chunks.
    ///
    /// # Errors
    /// [`SnapshotError::Superseded`] if it covers less than the stored one; [`SnapshotError::Io`].
    pub fn begin(&self, mark: SnapshotMark) -> Result<SnapshotWriter, SnapshotError> {
        self.inner.refuse_older(mark)?;
        SnapshotWriter::new(Arc::clone(&self.inner), mark)
    }

    /// Writes a snapshot with `fill`, makes it durable and deletes older ones.
    ///
    /// # Errors
    /// As [`begin`](Self::begin) and [`SnapshotWriter::finish`]; an error of `fill` is passed on as [`SnapshotError::Io`].
    pub fn write_with(
        &self,
        mark: SnapshotMark,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotFile, SnapshotError> {
        let mut writer = self.begin(mark)?;
        fill(&mut writer).map_err(|e| failed("write", &format::path(&self.inner.directory, mark), e))?;
        writer.finish(None)
    }

    /// Opens the newest snapshot for streaming; `None` if there is none.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub fn read(&self) -> Result<Option<SnapshotReader>, SnapshotError> {
        // Held, so that the newest is not replaced between its name and its file.
        let _names = self.inner.names.lock();
        let newest = self.inner.stored()?.into_iter().max();
        newest.map(|mark| SnapshotReader::open(&self.inner, mark)).transpose()
    }
}

impl Inner {
    fn stored(&self) -> Result<Vec<SnapshotMark>, SnapshotError> {
        let names = self.disk.list(&self.directory).map_err(|e| failed("list", &self.directory, e))?;
        Ok(names.iter().filter_map(|name| format::parse_name(name)).collect())
    }

    fn refuse_older(&self, mark: SnapshotMark) -> Result<(), SnapshotError> {
        match self.stored()?.into_iter().max() {
            Some(newest) if newest.index > mark.index => {
                Err(SnapshotError::Superseded { shard: self.shard, newest: newest.index })
            }
            _ => Ok(()),
        }
    }

    fn temporary(&self, mark: SnapshotMark) -> PathBuf {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format::temporary_name(mark, attempt))
    }

    /// Gives a synced temporary file its name, and deletes what it replaces.
    fn publish(&self, temporary: &Path, mark: SnapshotMark) -> Result<PathBuf, SnapshotError> {
        let _names = self.names.lock();
        self.refuse_older(mark)?;
        let path = format::path(&self.directory, mark);
        self.disk.rename(temporary, &path).map_err(|e| failed("rename", temporary, e))?;
        self.disk.sync_dir(&self.directory).map_err(|e| failed("sync directory", &self.directory, e))?;
        for older in self.stored()?.into_iter().filter(|stored| *stored != mark) {
            let older = format::path(&self.directory, older);
            // The new one is durable; the next snapshot tries again.
            if let Err(error) = self.disk.remove(&older) {
                tracing::warn!(file = %older.display(), %error, "cannot delete an older snapshot");
            }
        }
        Ok(path)
    }
}

fn failed(action: &'static str, file: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { action, file: file.to_owned(), source }
}
