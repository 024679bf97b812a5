//! The disk as the product uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorbuster_raft::disk::{Disk, DiskFile, SECTOR_BYTES};
use parking_lot::Mutex;

use super::super::trace::{fold, fold_bytes};
use super::inode::Inode;
use super::names::{Change, Named};
use super::{Happening, Operation, SimDisk, State};

/// Free space of a disk that is not full.
const PLENTY: u64 = 1 << 40;

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    /// Counts an operation, which has just happened or not. An error when the machine stops in it.
    fn operation(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        self.cost.operations += 1;
        self.hash = fold(self.hash, operation as u64);
        self.hash = fold_bytes(self.hash, path.as_os_str().as_encoded_bytes());
        self.note(|| format!("{operation:?} {}", path.display()));
        if counts_down(&mut self.crash_in) {
            self.stopped = true;
            self.stopped_in = Some((operation, path.to_owned()));
            self.note(|| "the machine stops in it".into());
        }
        self.alive()
    }

    /// Whether the machine stops before the operation that is about to happen, rather than after.
    fn stops_before(&mut self) -> bool {
        self.crash_in == Some(1) && self.rng.percent(50)
    }

    fn is_full(&mut self, path: &Path) -> io::Result<()> {
        if self.full {
            self.happened.push(Happening::Full(path.to_owned()));
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(text());
        }
    }

    fn sync_fails(&mut self, path: &Path) -> bool {
        let fails = counts_down(&mut self.fail_sync_in);
        if fails {
            self.happened.push(Happening::SyncFailed(path.to_owned()));
            self.note(|| "the sync fails".into());
        }
        fails
    }
}

/// One less; true when it comes to nothing.
fn counts_down(counter: &mut Option<u64>) -> bool {
    let Some(left) = counter else { return false };
    *left -= 1;
    let over = *left == 0;
    if over {
        *counter = None;
    }
    over
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        let missing: Vec<PathBuf> = directory
            .ancestors()
            .take_while(|path| !state.names.is_directory(path) && !path.as_os_str().is_empty())
            .map(Path::to_owned)
            .collect();
        for path in missing.into_iter().rev() {
            if state.names.get(&path).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if !state.stops_before() {
                state.names.change(Change::Create(path.clone(), Named::Directory));
            }
            state.operation(Operation::CreateDir, &path)?;
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.alive()?;
        if !state.names.is_directory(directory) {
            return Err(not_found());
        }
        Ok(state.names.inside(directory))
    }

    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.alive()?;
        state.is_full(path)?;
        if !path.parent().is_some_and(|parent| state.names.is_directory(parent)) {
            return Err(not_found());
        }
        if state.names.get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Mutex::new(Inode::zeroed(usize::try_from(zeroed).map_err(io::Error::other)?)));
        if !state.stops_before() {
            state.names.change(Change::Create(path.to_owned(), Named::File(Arc::clone(&inode))));
        }
        state.cost.bytes += zeroed;
        state.operation(Operation::Create, path)?;
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), life: state.life, inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        state.alive()?;
        let inode = state.names.file(path).ok_or_else(not_found)?;
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), life: state.life, inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        state.names.file(from).ok_or_else(not_found)?;
        if !state.stops_before() {
            state.names.change(Change::Rename(from.to_owned(), to.to_owned()));
        }
        state.operation(Operation::Rename, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        state.names.file(path).ok_or_else(not_found)?;
        if !state.stops_before() {
            state.names.change(Change::Remove(path.to_owned()));
        }
        state.operation(Operation::Remove, path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        if !state.names.is_directory(directory) {
            return Err(not_found());
        }
        state.cost.syncs += 1;
        if state.failed_dirs.iter().any(|(path, _)| path == directory) {
            let what = format!("the directory {} was synced again after a sync of it had failed", directory.display());
            state.retried.get_or_insert(what);
        }
        if state.sync_fails(directory) {
            let life = state.life;
            state.failed_dirs.push((directory.to_owned(), life));
            let State { names, rng, .. } = &mut *state;
            names.fail_sync(directory, rng);
            state.operation(Operation::SyncDir, directory)?;
            return Err(io::Error::from_raw_os_error(5));
        }
        if !state.stops_before() {
            state.names.sync(directory);
        }
        state.operation(Operation::SyncDir, directory)
    }

    fn free_space(&self, _directory: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        state.alive()?;
        Ok(if state.full { 0 } else { PLENTY })
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    /// The process that opened it.
    life: u64,
    inode: Arc<Mutex<Inode>>,
}

impl SimFile {
    /// A handle of a process that is gone does nothing.
    fn check(&self, state: &State) -> io::Result<()> {
        state.alive()?;
        if state.life == self.life { Ok(()) } else { Err(io::Error::other("the process has ended")) }
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        self.check(&self.disk.state.lock())?;
        Ok(self.inode.lock().current.len() as u64)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.check(&state)?;
        state.cost.bytes += buffer.len() as u64;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let inode = self.inode.lock();
        let end = offset.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(inode.current.get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        self.check(&state)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let grows = offset + data.len() > self.inode.lock().current.len();
        if grows {
            state.is_full(&self.path)?;
        }
        let mut taken = data.len();
        if counts_down(&mut state.short_write_in) {
            // The page cache takes whole blocks.
            let end = (offset + state.rng.index(data.len())) / SECTOR_BYTES * SECTOR_BYTES;
            taken = end.saturating_sub(offset);
            state.happened.push(Happening::ShortWrite(self.path.clone()));
            state.note(|| format!("a short write: {taken} of {} bytes", data.len()));
        }
        // The machine may stop when none or all of it is in the page cache.
        if !state.stops_before() {
            self.inode.lock().write(offset, &data[..taken]);
        }
        state.cost.bytes += taken as u64;
        state.hash = fold_bytes(fold(state.hash, offset as u64), &data[..taken]);
        state.operation(Operation::Write, &self.path)?;
        Ok(taken)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.check(&state)?;
        state.cost.syncs += 1;
        if self.inode.lock().failed_in == Some(state.life) {
            let what = format!("{} was synced again after a sync of it had failed", self.path.display());
            state.retried.get_or_insert(what);
        }
        if state.sync_fails(&self.path) {
            let life = state.life;
            self.inode.lock().fail_sync(life, &mut state.rng);
            state.operation(Operation::Sync, &self.path)?;
            return Err(io::Error::from_raw_os_error(5));
        }
        if !state.stops_before() {
            self.inode.lock().sync();
        }
        state.operation(Operation::Sync, &self.path)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
