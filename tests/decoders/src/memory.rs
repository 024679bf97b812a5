//! A disk in memory that does what it is told: for bytes that are already what a bad day left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorbuster_raft::disk::{Disk, DiskFile};
use parking_lot::Mutex;

/// Files by path, and the directories there are.
#[derive(Default)]
pub struct Memory {
    files: Mutex<BTreeMap<PathBuf, Arc<File>>>,
    directories: Mutex<BTreeSet<PathBuf>>,
}

/// A file's bytes.
struct File(Mutex<Vec<u8>>);

impl Memory {
    /// A disk with these files.
    pub fn with(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Arc<Self> {
        let memory = Self::default();
        for (path, bytes) in files {
            memory.directories.lock().extend(path.ancestors().skip(1).map(Path::to_owned));
            memory.files.lock().insert(path, Arc::new(File(Mutex::new(bytes))));
        }
        Arc::new(memory)
    }

    /// Every file and what is in it.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.files.lock().iter().map(|(path, file)| (path.clone(), file.0.lock().clone())).collect()
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Disk for Memory {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        self.directories.lock().extend(directory.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        if !self.directories.lock().contains(directory) {
            return Err(missing(directory));
        }
        let files = self.files.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = vec![0; usize::try_from(zeroed).map_err(io::Error::other)?];
        let file = Arc::new(File(Mutex::new(bytes)));
        if self.files.lock().insert(path.to_owned(), Arc::clone(&file)).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.files.lock().get(path).cloned();
        file.map(|file| file as Arc<dyn DiskFile>).ok_or_else(|| missing(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or_else(|| missing(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path).map(|_| ()).ok_or_else(|| missing(path))
    }

    fn sync_dir(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_space(&self, _directory: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let part = from.checked_add(buffer.len()).and_then(|to| bytes.get(from..to));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.lock();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let to = from + data.len();
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(data);
        Ok(data.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}
