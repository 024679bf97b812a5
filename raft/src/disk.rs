//! Everything the log and the snapshot store do to files, as a trait, so that a simulator can stand in for the disk.
//!
//! Fault model that callers build upon, and that an implementation may play out in full at a crash:
//! * of what was written and not synced, any subset of 512-byte sectors is kept; a sector is old or new, never a mixture;
//! * what was synced stays, but may come back damaged later (bit rot);
//! * a created, renamed or removed name is certain only after [`Disk::sync_dir`] of its directory; until then any
//!   subset of such changes is kept;
//! * after a failed sync nothing is known about the file: a second sync that succeeds proves nothing.

mod real;
mod small;
mod watched;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use real::RealDisk;
pub use small::{read_small, replace_small};
#[cfg(test)]
pub(crate) use tests::fault;
pub use watched::{SyncFailed, WatchedDisk};

/// The unit in which an unsynced write is kept or lost, bytes.
pub const SECTOR_BYTES: usize = 512;

/// A file system as the log needs it. All calls block; all errors are the operating system's.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory and its parents; fine if it is there. The new names are not durable before `sync_dir` of the
    /// directories that hold them.
    fn create_dir_all(&self, directory: &Path) -> io::Result<()>;

    /// The names of the files in a directory, in no particular order. Subdirectories are left out.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a file of `zeroed` bytes, all written as zeros so that later writes neither allocate nor change its
    /// length. `AlreadyExists` if the name is taken. Nothing of it is durable before `sync_all`.
    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing; `NotFound` if it is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing what had the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Who has it open can go on using it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Bytes that an unprivileged process can still write in the file system of this directory.
    fn free_space(&self, directory: &Path) -> io::Result<u64>;
}

/// An open file of a [`Disk`]. Positions are always given; there is no cursor.
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes once and returns how many bytes were taken. Fewer than offered means trouble (usually a full disk), which
    /// the caller must not hide by trying again.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize>;

    /// fdatasync: makes the contents durable. A failure is final, see the module's fault model.
    fn sync_data(&self) -> io::Result<()>;

    /// fsync: makes contents, length and other metadata durable.
    fn sync_all(&self) -> io::Result<()>;
}

/// Writes all of `data` with one call; a short write is an error that says so.
pub(crate) fn write_whole(file: &dyn DiskFile, offset: u64, data: &[u8]) -> io::Result<()> {
    let taken = file.write_at(offset, data)?;
    if taken == data.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::WriteZero,
        format!("short write: {taken} of {} bytes were taken, the disk is probably full", data.len()),
    ))
}

/// Creates a directory and makes its name durable, and those of its parents that had to be created with it.
///
/// # Errors
/// The disk's.
pub fn create_durable_dir(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    // A path of one name has an empty parent, which is the directory that the process is in.
    let here = |path: &Path| if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path.to_owned() };
    let holders: Vec<_> = directory.ancestors().skip(1).map(here).collect();
    let is_missing = |path: &&PathBuf| disk.list(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    let missing = holders.iter().take_while(is_missing).count();
    disk.create_dir_all(directory)?;
    holders.iter().take(missing + 1).try_for_each(|path| disk.sync_dir(path))
}
