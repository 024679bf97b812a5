//! What a data folder is to the operating system: locked by one process at a time, and not somebody else's folder.
//!
//! The only part of a node's data that does not go through [`Disk`](doorbuster_raft::disk::Disk): a lock ends with
//! its process and is never on disk.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::{IDENTITY_FILE, IdentityError};

const LOCK_FILE: &str = "lock";

/// Keeps other processes out for as long as it lives.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks a folder, which must be there.
    ///
    /// # Errors
    /// If another process has it, or the operating system refuses.
    pub fn take(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(LOCK_FILE);
        let io = |source| IdentityError::Io { file: path.clone(), source };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(IdentityError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

/// Whether a folder was made some node's: an empty one gets no lock file, only its error.
#[must_use]
pub fn is_formatted(folder: &Path) -> bool {
    folder.join(IDENTITY_FILE).exists()
}

/// Creates a folder that is to be formatted, and makes sure that nobody keeps something else in it, folders included.
///
/// # Errors
/// If somebody does, or the operating system refuses.
pub fn prepare(folder: &Path) -> Result<(), IdentityError> {
    let io = |source| IdentityError::Io { file: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(io)?;
    if is_formatted(folder) {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if is_foreign(&name) {
            return Err(IdentityError::Foreign { folder: folder.to_owned(), found: name });
        }
    }
    Ok(())
}

/// Whether a name in an unformatted folder is none of ours: a format that was interrupted leaves its temporary file, and
/// ext4 leaves `lost+found` at the root of a disk.
pub(super) fn is_foreign(name: &str) -> bool {
    ![LOCK_FILE, "lost+found"].contains(&name) && name.strip_suffix(".new") != Some(IDENTITY_FILE)
}
