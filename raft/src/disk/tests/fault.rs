//! A disk in memory that plays out the fault model of [`Disk`] to the full: for tests.
//!
//! At a crash every sector of every unsynced write, and every unsynced change of a name, is kept or lost by the dice.
//! Faults can be armed: a crash at the n-th operation, a failing sync, a short write, a full disk, a slow `create`.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, SECTOR_BYTES};

/// Repeatable chance: splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the next fitting operation does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A sync fails, its data is lost.
    Sync,
    /// A write takes half of what it is offered.
    ShortWrite,
    /// A write or create finds no space.
    Full,
}

#[derive(Clone, Default)]
pub(crate) struct FaultDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of their directory.
    changes: Vec<Change>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fault: Option<Fault>,
    create_delay: Duration,
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl FaultDisk {
    /// The machine stops in the middle of the n-th operation from now that changes something.
    pub(crate) fn crash_after(&self, operations: u64) {
        let mut world = self.world.lock();
        world.crash_at = Some(world.operations + operations);
    }

    pub(crate) fn arm(&self, fault: Fault) {
        self.world.lock().fault = Some(fault);
    }

    pub(crate) fn delay_create(&self, delay: Duration) {
        self.world.lock().create_delay = delay;
    }

    /// Power comes back: what was not synced is there or not.
    pub(crate) fn crash(&self, dice: &mut Dice) {
        let mut world = self.world.lock();
        // All, nothing, or a mixture: the extremes are likely in practice and must not be rare here.
        let keep = [0, 100, 50, 90][dice.index(4)];
        for inode in &mut world.inodes {
            inode.crash(dice, keep);
        }
        let mut names = std::mem::take(&mut world.durable_names);
        for change in world.changes.drain(..) {
            if dice.chance(keep) {
                change.apply(&mut names);
            }
        }
        world.durable_names = names.clone();
        world.names = names;
        world.crash_at = None;
        world.crashed = false;
    }

    /// The process stops, the machine goes on: everything written is still seen.
    pub(crate) fn restart(&self) {
        let mut world = self.world.lock();
        (world.crash_at, world.crashed, world.fault) = (None, false, None);
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.world.lock().names.keys().cloned().collect()
    }

    pub(crate) fn contents(&self, path: &Path) -> Vec<u8> {
        let world = self.world.lock();
        world.inodes[world.names[path]].current.clone()
    }

    /// Bit rot, or a test's hand: durable at once.
    pub(crate) fn overwrite(&self, path: &Path, contents: &[u8]) {
        let mut world = self.world.lock();
        let inode = world.names[path];
        world.inodes[inode] = Inode { durable: contents.to_vec(), current: contents.to_vec(), unsynced: Vec::new() };
    }

    pub(crate) fn flip(&self, path: &Path, bit: usize) {
        let mut world = self.world.lock();
        let inode = world.names[path];
        let inode = &mut world.inodes[inode];
        for version in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = version.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Another disk with the same durable and visible state.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        for path in self.files() {
            copy.create(&path, 0).unwrap();
            copy.overwrite(&path, &self.contents(&path));
            copy.sync_dir(path.parent().unwrap()).unwrap();
        }
        copy
    }
}

impl Inode {
    fn write(&mut self, offset: usize, data: &[u8]) {
        write(&mut self.current, offset, data);
        self.unsynced.push((offset, data.to_vec()));
    }

    fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for (offset, data) in self.unsynced.drain(..) {
            write(&mut self.durable, offset, &data);
        }
    }

    /// Each sector becomes what it was after some number of the writes that touched it.
    fn crash(&mut self, dice: &mut Dice, keep: u64) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut touching: HashMap<usize, Vec<usize>> = HashMap::new();
        for (number, (offset, data)) in unsynced.iter().enumerate() {
            for sector in offset / SECTOR_BYTES..(offset + data.len()).div_ceil(SECTOR_BYTES) {
                touching.entry(sector).or_default().push(number);
            }
        }
        if self.current.len() != self.durable.len() && dice.chance(keep) {
            self.durable.resize(self.current.len(), 0);
        }
        let mut sectors: Vec<usize> = touching.keys().copied().collect();
        sectors.sort_unstable();
        for sector in sectors {
            let writes = &touching[&sector];
            let kept = if dice.chance(keep) { 1 + dice.index(writes.len()) } else { 0 };
            for (offset, data) in writes[..kept].iter().map(|number| &unsynced[*number]) {
                let from = (sector * SECTOR_BYTES).max(*offset);
                let to = ((sector + 1) * SECTOR_BYTES).min(offset + data.len()).min(self.durable.len());
                if from < to {
                    self.durable[from..to].copy_from_slice(&data[from - offset..to - offset]);
                }
            }
        }
        self.current.clone_from(&self.durable);
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path, inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }

    fn directory(&self) -> Option<&Path> {
        let (Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path)) = self;
        path.parent()
    }
}

impl World {
    /// Counts an operation; an error when the machine stops with it.
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        self.crashed |= self.crash_at.is_some_and(|at| self.operations >= at);
        self.alive()
    }

    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn takes(&mut self, fault: Fault) -> bool {
        self.fault.take_if(|armed| *armed == fault).is_some()
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change, visible: Change) {
        visible.apply(&mut self.names);
        self.changes.push(change);
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, _directory: &Path) -> io::Result<()> {
        self.world.lock().alive()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        world.alive()?;
        let inside = world.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>> {
        let delay = self.world.lock().create_delay;
        thread::sleep(delay);
        let mut world = self.world.lock();
        world.operation()?;
        if world.takes(Fault::Full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode { current: vec![0; usize::try_from(zeroed).unwrap()], ..Inode::default() });
        world.change(Change::Create(path.to_owned(), inode), Change::Create(path.to_owned(), inode));
        Ok(Arc::new(FaultFile { world: Arc::clone(&self.world), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world.lock();
        world.alive()?;
        Ok(Arc::new(FaultFile { world: Arc::clone(&self.world), inode: world.find(path)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.find(from)?;
        let rename = || Change::Rename(from.to_owned(), to.to_owned());
        world.change(rename(), rename());
        world.operation()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.find(path)?;
        world.change(Change::Remove(path.to_owned()), Change::Remove(path.to_owned()));
        world.operation()
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operation()?;
        let (synced, rest): (Vec<_>, Vec<_>) =
            world.changes.drain(..).partition(|change| change.directory() == Some(directory));
        world.changes = rest;
        for change in synced {
            change.apply(&mut world.durable_names);
        }
        Ok(())
    }

    fn free_space(&self, _directory: &Path) -> io::Result<u64> {
        Ok(1000)
    }
}

struct FaultFile {
    world: Arc<Mutex<World>>,
    inode: usize,
}

impl DiskFile for FaultFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.world.lock().inodes[self.inode].current.len() as u64)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let world = self.world.lock();
        world.alive()?;
        let offset = usize::try_from(offset).unwrap();
        let bytes = world.inodes[self.inode].current.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let mut world = self.world.lock();
        world.alive()?;
        if world.takes(Fault::Full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = if world.takes(Fault::ShortWrite) { data.len() / 2 } else { data.len() };
        world.inodes[self.inode].write(usize::try_from(offset).unwrap(), &data[..taken]);
        // The machine may stop when part of the data is on its way already.
        world.operation()?;
        Ok(taken)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operation()?;
        let failed = world.takes(Fault::Sync);
        let inode = &mut world.inodes[self.inode];
        if failed {
            // As Linux does it: the pages count as clean, the page cache goes on showing them, the disk has not got them.
            inode.unsynced.clear();
            return Err(io::Error::from_raw_os_error(5));
        }
        inode.sync();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

fn write(contents: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(data);
}
