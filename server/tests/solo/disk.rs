//! A disk in memory that keeps at a crash exactly what was synced. Names are durable at once.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorbuster_raft::disk::{Disk, DiskFile};
use parking_lot::Mutex;

#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>>);

#[derive(Default)]
struct MemoryFile(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

impl MemoryDisk {
    /// A bit of a file rots.
    pub fn flip(&self, path: &Path, offset: usize) {
        let files = self.0.lock();
        let mut contents = files[path].0.lock();
        contents.bytes[offset] ^= 1;
        contents.synced[offset] ^= 1;
    }

    /// Power is gone and comes back.
    pub fn crash(&self) {
        for file in self.0.lock().values() {
            let mut contents = file.0.lock();
            contents.bytes = contents.synced.clone();
        }
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.0.lock();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(MemoryFile::default());
        file.0.lock().bytes = vec![0; usize::try_from(zeroed).expect("a small file")];
        files.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.lock().get(path).cloned();
        file.map(|file| file as Arc<dyn DiskFile>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_space(&self, _directory: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().bytes.len() as u64)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let contents = self.0.lock();
        let start = usize::try_from(offset).expect("a small file");
        let bytes = contents.bytes.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let mut contents = self.0.lock();
        let start = usize::try_from(offset).expect("a small file");
        let end = contents.bytes.len().max(start + data.len());
        contents.bytes.resize(end, 0);
        contents.bytes[start..start + data.len()].copy_from_slice(data);
        Ok(data.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.synced = contents.bytes.clone();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
