//! What can be wrong with a log, in words for the person who has to act on it.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{disk::Disk, types::ShardId};

/// Why a log could not be opened or written. After any of these the log is not used further: nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directory holds no log. A log is made once, by `format`; if this node had one before, its data is lost.
    #[error(
        "no log in {}: format the data folder if this node has never run; if it has, its log is lost and the node must \
         be replaced, not restarted",
        directory.display()
    )]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// `format` found a log.
    #[error("there is already a log in {}: formatting would destroy it; open it, or choose an empty directory", directory.display())]
    Exists {
        /// Where it was found.
        directory: PathBuf,
    },
    /// The log belongs to something else: other shards, other sizes, another node, a newer version.
    #[error("{}: {what}", file.display())]
    Foreign {
        /// The file that says so.
        file: PathBuf,
        /// What differs, and what to do.
        what: String,
    },
    /// Synced bytes are not what was written. The node must not serve from this log.
    #[error(
        "damaged log: {} at offset {offset}{}: {what}; this is not a torn tail (the bytes had been synced): do not serve \
         from this log, replace the node",
        file.display(),
        Place(*shard, *index)
    )]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Byte position in it.
        offset: u64,
        /// Whose record it was, if that can be told.
        shard: Option<ShardId>,
        /// The index of that record, if that can be told.
        index: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// The operating system refused. Also a full disk and a failed sync.
    #[error("cannot {action} {}: {source}{hint}", file.display())]
    Io {
        /// What was being done: "sync", "write", ...
        action: &'static str,
        /// To what.
        file: PathBuf,
        /// What to do about it; may be empty.
        hint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller broke the rules of appending. A bug, never a state of the disk.
    #[error("shard {shard}: {what}")]
    Misuse {
        /// Whose append.
        shard: ShardId,
        /// Which rule.
        what: String,
    },
    /// The log failed before.
    #[error("the log has failed before and accepts nothing more")]
    Failed,
}

impl LogError {
    /// An error of the operating system, with what can be said about a full disk.
    pub(super) fn io(action: &'static str, file: &Path, source: io::Error, disk: &dyn Disk) -> Self {
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero
        );
        let free = file.parent().and_then(|directory| disk.free_space(directory).ok());
        let hint = match free.filter(|_| full) {
            Some(free) => format!("; {free} bytes are free in its file system: make room, then start again"),
            None => String::new(),
        };
        Self::Io { action, file: file.to_owned(), hint, source }
    }
}

struct Place(Option<ShardId>, Option<u64>);

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(shard) = self.0 {
            write!(out, ", shard {shard}")?;
        }
        if let Some(index) = self.1 {
            write!(out, ", index {index}")?;
        }
        Ok(())
    }
}
