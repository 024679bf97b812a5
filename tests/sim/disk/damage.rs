//! What a disk does to data that was written, synced and is at rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorbuster_raft::disk::SECTOR_BYTES;
use parking_lot::Mutex;

use super::inode::Inode;
use super::{SimDisk, State};

/// Where the rounds of a log segment start; the first holds every shard's hard state.
const FIRST_ROUND: usize = 4096;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Bits flip somewhere in the log.
    Log,
    /// Bits flip where a log segment keeps terms, votes and commit indexes.
    HardState,
    /// Bits flip in a snapshot.
    Snapshot,
    /// A sector comes back as it was before it was last written.
    Stale,
    /// A sector is overwritten with another one.
    Misdirected,
}

/// Where something was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The first byte.
    pub offset: usize,
}

/// A file of the log, or a snapshot.
type File = (PathBuf, Arc<Mutex<Inode>>);

impl SimDisk {
    /// Damages something, if there is anything of the kind that can be. Whole sectors go wrong only before the last one
    /// that was synced: losing that one cannot be told from a round that was never finished, and no disk that loses it
    /// has kept what it promised to a quorum (see RELIABILITY.md).
    pub fn damage(&self, kind: Damage) -> Option<Place> {
        let mut state = self.state.lock();
        let (logs, snapshots) = (log_files(&state), snapshots(&state));
        let place = match kind {
            Damage::Log => state.rot(&logs, FIRST_ROUND),
            Damage::HardState => state.rot_at(&logs, FIRST_ROUND),
            Damage::Snapshot => state.rot(&snapshots, 0),
            Damage::Stale => state.turn_back(),
            Damage::Misdirected => state.misdirect(),
        }?;
        state.note(|| format!("{kind:?} damage in {} at {}", place.file.display(), place.offset));
        Some(place)
    }
}

fn log_files(state: &State) -> Vec<File> {
    files(state, |path| path.extension().is_some_and(|end| end == "log"))
}

fn snapshots(state: &State) -> Vec<File> {
    files(state, |path| path.components().any(|part| part.as_os_str() == "snapshots") && !temporary(path))
}

fn temporary(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tmp" || end == "new")
}

fn files(state: &State, wanted: impl Fn(&Path) -> bool) -> Vec<File> {
    let all = state.names.files().filter(|(path, inode)| wanted(path) && !inode.lock().durable.is_empty());
    all.map(|(path, inode)| (path.to_owned(), Arc::clone(inode))).collect()
}

impl State {
    fn rot(&mut self, files: &[File], start: usize) -> Option<Place> {
        let written: Vec<File> = files.iter().filter(|(_, inode)| inode.lock().high > start).cloned().collect();
        let (file, inode) = self.rng.pick(&written)?.clone();
        let mut inode = inode.lock();
        let end = inode.high.min(inode.durable.len()).max(start + 1);
        let offset = start + self.rng.index(end - start);
        inode.flip(offset, u8::try_from(self.rng.below(8)).unwrap_or(0));
        Some(Place { file, offset })
    }

    fn rot_at(&mut self, files: &[File], start: usize) -> Option<Place> {
        let written: Vec<File> = files.iter().filter(|(_, inode)| inode.lock().high > start).cloned().collect();
        let (file, inode) = self.rng.pick(&written)?.clone();
        let mut inode = inode.lock();
        let length = (inode.high - start).min(SECTOR_BYTES);
        let offset = start + self.rng.index(length);
        inode.flip(offset, u8::try_from(self.rng.below(8)).unwrap_or(0));
        Some(Place { file, offset })
    }

    /// How far sectors of a log file may go wrong: all of the older segments, the newest one up to its last synced round.
    fn bounds(&self) -> Vec<(File, usize)> {
        let logs = log_files(self);
        let newest = logs.iter().rposition(|(_, inode)| inode.lock().high > FIRST_ROUND);
        let bounded = logs.into_iter().enumerate().map(|(at, (file, inode))| {
            let end = match newest {
                Some(newest) if at < newest => inode.lock().high,
                Some(newest) if at == newest => inode.lock().last_sync / SECTOR_BYTES * SECTOR_BYTES,
                _ => 0,
            };
            ((file, inode), end)
        });
        bounded.filter(|(_, end)| *end > FIRST_ROUND).collect()
    }

    fn turn_back(&mut self) -> Option<Place> {
        let bounds = self.bounds();
        let ((file, inode), end) = self.rng.pick(&bounds)?.clone();
        let offset = inode.lock().turn_back(end, &mut self.rng)?;
        Some(Place { file, offset })
    }

    fn misdirect(&mut self) -> Option<Place> {
        let bounds = self.bounds();
        let ((_, source), high) = self.rng.pick(&bounds)?.clone();
        let ((file, inode), end) = self.rng.pick(&bounds)?.clone();
        let from = FIRST_ROUND + self.rng.index((high - FIRST_ROUND).div_ceil(SECTOR_BYTES)) * SECTOR_BYTES;
        let to = FIRST_ROUND + self.rng.index((end - FIRST_ROUND) / SECTOR_BYTES) * SECTOR_BYTES;
        let sector = source.lock().durable.get(from..from + SECTOR_BYTES)?.to_vec();
        let mut inode = inode.lock();
        if inode.durable.get(to..to + SECTOR_BYTES) == Some(&sector[..]) || to + SECTOR_BYTES > end {
            return None;
        }
        inode.overwrite(to, &sector);
        Some(Place { file, offset: to })
    }
}
