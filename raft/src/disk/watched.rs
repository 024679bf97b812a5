//! A disk on which no sync is tried again: once one has failed, the process must end.
//!
//! After a failed sync the system may have dropped what was to be written and call the file clean: a second sync would
//! succeed and prove nothing. So every one, of whatever file or directory, is told to whoever ends the process, and
//! until that has happened no sync succeeds any more.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::{Disk, DiskFile};

/// Told why the process must end, at most once.
pub type SyncFailed = Arc<dyn Fn(String) + Send + Sync>;

/// A disk whose failed syncs are final.
pub struct WatchedDisk {
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
}

struct Watch {
    failed: OnceLock<String>,
    tell: SyncFailed,
}

impl WatchedDisk {
    /// Watches over all syncs of this disk.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, tell: SyncFailed) -> Self {
        Self { disk, watch: Arc::new(Watch { failed: OnceLock::new(), tell }) }
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, path: path.to_owned(), watch: Arc::clone(&self.watch) })
    }
}

impl Watch {
    fn sync(&self, path: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if let Some(earlier) = self.failed.get() {
            return Err(io::Error::other(format!("not tried, because {earlier}")));
        }
        sync().inspect_err(|error| {
            // A directory that is not there, and the like, is no failure of the disk.
            if error.kind() != io::ErrorKind::NotFound {
                let reason = format!("a sync of {} failed: {error}", path.display());
                if self.failed.set(reason.clone()).is_ok() {
                    (self.tell)(reason);
                }
            }
        })
    }
}

impl Disk for WatchedDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_dir_all(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.create(path, zeroed)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.watch.sync(directory, || self.disk.sync_dir(directory))
    }

    fn free_space(&self, directory: &Path) -> io::Result<u64> {
        self.disk.free_space(directory)
    }
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    watch: Arc<Watch>,
}

impl DiskFile for WatchedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.file.write_at(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.sync(&self.path, || self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.watch.sync(&self.path, || self.file.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::super::fault::{Fault, FaultDisk};
    use super::*;

    #[test]
    fn one_failed_sync_is_told_and_none_succeeds_after_it() {
        let faulty = FaultDisk::default();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tell = Arc::clone(&told);
        let disk = WatchedDisk::new(Arc::new(faulty.clone()), Arc::new(move |reason| tell.lock().push(reason)));
        let directory = Path::new("/data");
        disk.create_dir_all(directory).unwrap();
        let (one, other) = (directory.join("one"), directory.join("other"));
        let (one, other) = (disk.create(&one, 10).unwrap(), disk.create(&other, 10).unwrap());
        one.sync_all().unwrap();
        disk.sync_dir(directory).unwrap();
        assert!(disk.sync_dir(directory).is_ok() && told.lock().is_empty());
        faulty.arm(Fault::Sync);
        assert!(one.sync_data().is_err());
        assert!(one.sync_data().is_err() && other.sync_all().is_err() && disk.sync_dir(directory).is_err());
        assert_eq!(told.lock().len(), 1);
        assert!(told.lock()[0].contains("a sync of /data/one failed"), "{:?}", told.lock());
        let error = other.sync_data().err().unwrap().to_string();
        assert!(error.contains("not tried, because a sync of /data/one failed"), "{error}");
    }
}
