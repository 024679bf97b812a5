//! A disk in memory that plays out the fault model of [`doorbuster_raft::disk`] to the full.
//!
//! When the machine stops, of what was not synced any subset of sectors and of names is kept. It can be stopped in the
//! middle of the n-th operation, its syncs can fail (once a file's has, a second attempt by the same process is noted as
//! a broken promise), its writes can be short, it can be full, and what is on it can rot, come back stale or be
//! overwritten by what belongs elsewhere. All chance comes from its own stream; every operation goes into a hash.

mod damage;
mod inode;
mod names;
mod operations;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::names::Names;
use super::rng::Rng;
use super::trace::fold;

pub use damage::{Damage, Place};
pub use inode::{Fate, Keep};

/// An operation that changes something, or makes it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A directory is created.
    CreateDir,
    /// A file is created.
    Create,
    /// A file is written to.
    Write,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDir,
    /// A file is renamed.
    Rename,
    /// A file is removed.
    Remove,
}

/// What was done since it was last asked, to be charged as time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations.
    pub operations: u64,
    /// Syncs among them.
    pub syncs: u64,
    /// Bytes written and read.
    pub bytes: u64,
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    names: Names,
    rng: Rng,
    /// Which process has it mounted: one more each time one starts.
    life: u64,
    stopped: bool,
    crash_in: Option<u64>,
    /// The operation that the machine stopped in.
    stopped_in: Option<(Operation, PathBuf)>,
    fail_sync_in: Option<u64>,
    short_write_in: Option<u64>,
    full: bool,
    failed_dirs: Vec<(PathBuf, u64)>,
    /// A sync was repeated after it had failed.
    retried: Option<String>,
    cost: Cost,
    hash: u64,
    happened: Vec<Happening>,
    notes: Option<Vec<String>>,
}

/// A fault that was played out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A sync of this file or directory failed.
    SyncFailed(PathBuf),
    /// A write was cut short.
    ShortWrite(PathBuf),
    /// There was no space.
    Full(PathBuf),
}

impl SimDisk {
    /// An empty one.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        let state = State {
            names: Names::default(),
            rng,
            life: 0,
            stopped: false,
            crash_in: None,
            stopped_in: None,
            fail_sync_in: None,
            short_write_in: None,
            full: false,
            failed_dirs: Vec::new(),
            retried: None,
            cost: Cost::default(),
            hash: 0,
            happened: Vec::new(),
            notes: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// From now on operations are noted in readable form.
    pub fn keep_notes(&self) {
        self.state.lock().notes = Some(Vec::new());
    }

    /// What was noted since it was last asked.
    #[must_use]
    pub fn take_notes(&self) -> Vec<String> {
        self.state.lock().notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The machine stops in the middle of the n-th operation from now.
    pub fn crash_after(&self, operations: u64) {
        self.state.lock().crash_in = Some(operations.max(1));
    }

    /// The n-th sync from now fails.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state.lock().fail_sync_in = Some(syncs.max(1));
    }

    /// The n-th write from now takes only a part.
    pub fn short_write_after(&self, writes: u64) {
        self.state.lock().short_write_in = Some(writes.max(1));
    }

    /// Whether there is space left.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Takes back every fault that was armed and has not happened.
    pub fn disarm(&self) {
        let mut state = self.state.lock();
        (state.crash_in, state.fail_sync_in, state.short_write_in, state.full) = (None, None, None, false);
    }

    /// The process is gone: nothing it still holds does anything any more.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
    }

    /// The operation in which the machine stopped by itself, if it did.
    #[must_use]
    pub fn stopped_in(&self) -> Option<(Operation, PathBuf)> {
        self.state.lock().stopped_in.clone()
    }

    /// A process starts on it; what another wrote is seen, synced or not. Where a sync had failed, the page cache may
    /// have forgotten what the disk has not got.
    pub fn start_process(&self) {
        let mut state = self.state.lock();
        let State { names, rng, .. } = &mut *state;
        for (_, inode) in names.files() {
            let mut inode = inode.lock();
            if inode.failed_in.take().is_some() && rng.percent(50) {
                inode.drop_cache();
            }
        }
        state.failed_dirs.clear();
        state.life += 1;
        (state.stopped, state.stopped_in) = (false, None);
        state.note(|| "a process starts".into());
    }

    /// The machine has lost its power and gets it back. How many sectors and names were kept and lost.
    pub fn power_cycle(&self, keep: Keep) -> (Fate, u64) {
        let mut state = self.state.lock();
        let State { names, rng, .. } = &mut *state;
        let mut fate = Fate::default();
        // Files that only the past or only the future knows are reached through either list of names.
        for (_, inode) in names.files() {
            let one = inode.lock().power_cycle(keep, rng);
            (fate.kept, fate.lost) = (fate.kept + one.kept, fate.lost + one.lost);
        }
        let lost = names.power_cycle(keep, rng);
        for (_, inode) in names.files() {
            inode.lock().power_cycle(keep, rng);
        }
        state.hash = fold(state.hash, fate.kept ^ fate.lost << 32);
        state.note(|| format!("power comes back ({keep:?}): sectors {fate:?}, names lost {lost}"));
        (fate, lost)
    }

    /// Another, empty disk is in its place.
    pub fn replace(&self) {
        self.disarm();
        self.state.lock().names = Names::default();
    }

    /// What was done since it was last asked.
    #[must_use]
    pub fn take_cost(&self) -> Cost {
        std::mem::take(&mut self.state.lock().cost)
    }

    /// Which faults happened since it was last asked.
    #[must_use]
    pub fn take_happened(&self) -> Vec<Happening> {
        std::mem::take(&mut self.state.lock().happened)
    }

    /// The first sync that was tried again by the process for which it had failed.
    #[must_use]
    pub fn retried_sync(&self) -> Option<String> {
        self.state.lock().retried.clone()
    }

    /// Over every operation so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    /// The files, in alphabetical order.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.files().map(|(path, _)| path.to_owned()).collect()
    }

    /// Whether a file has this name.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.state.lock().names.file(path).is_some()
    }
}
