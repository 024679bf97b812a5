//! One file's bytes: what a process sees of them, what the disk surely has, and what is between the two.

use doorbuster_raft::disk::SECTOR_BYTES;

use super::super::rng::Rng;

/// Sectors whose former contents are kept, for blocks that come back stale.
const FORMER: usize = 16;

/// How much of what was not synced a stopped machine finds again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything: the disk was quick.
    All,
    /// Nothing.
    Nothing,
    /// Each sector and each name by itself, with this chance in percent.
    Percent(u64),
}

impl Keep {
    pub(super) fn draw(self, rng: &mut Rng) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Percent(percent) => rng.percent(percent),
        }
    }
}

/// What became of the unsynced sectors of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Sectors that were kept.
    pub kept: u64,
    /// Sectors that were lost.
    pub lost: u64,
}

/// The bytes of a file.
#[derive(Default)]
pub(super) struct Inode {
    /// As processes see it.
    pub(super) current: Vec<u8>,
    /// As it is on disk for certain.
    pub(super) durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Sectors that a sync replaced, with what they were before; the newest last.
    former: Vec<(usize, Vec<u8>)>,
    /// Where the last write ended that reached furthest.
    pub(super) high: usize,
    /// The first byte of the last sync that had anything to do.
    pub(super) last_sync: usize,
    /// The life of the process in which a sync of it failed.
    pub(super) failed_in: Option<u64>,
}

impl Inode {
    pub(super) fn zeroed(length: usize) -> Self {
        Self { current: vec![0; length], ..Self::default() }
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        put(&mut self.current, offset, data);
        self.high = self.high.max(offset + data.len());
        self.unsynced.push((offset, data.to_vec()));
    }

    pub(super) fn sync(&mut self) {
        if self.durable.is_empty() {
            // The first sync of a new file: nothing of it can come back as it was.
            self.durable.clone_from(&self.current);
            self.last_sync = self.unsynced.iter().map(|(offset, _)| *offset).min().unwrap_or(0);
            self.unsynced.clear();
            return;
        }
        self.durable.resize(self.current.len(), 0);
        if let Some(first) = self.unsynced.iter().map(|(offset, _)| *offset).min() {
            self.last_sync = first;
        }
        for (offset, data) in std::mem::take(&mut self.unsynced) {
            self.remember(offset, data.len());
            put(&mut self.durable, offset, &data);
        }
    }

    /// A sync that fails: the pages count as clean, the page cache goes on showing them, and the disk has what it has.
    pub(super) fn fail_sync(&mut self, life: u64, rng: &mut Rng) {
        self.settle(Keep::Percent([0, 50, 100][rng.index(3)]), rng);
        self.failed_in = Some(life);
    }

    /// Power comes back.
    pub(super) fn power_cycle(&mut self, keep: Keep, rng: &mut Rng) -> Fate {
        let fate = self.settle(keep, rng);
        self.current.clone_from(&self.durable);
        self.failed_in = None;
        fate
    }

    /// What a failed sync left in the page cache may be dropped from it at any time.
    pub(super) fn drop_cache(&mut self) {
        self.current.clone_from(&self.durable);
    }

    /// Each sector becomes what it was after some number of the writes that touched it.
    fn settle(&mut self, keep: Keep, rng: &mut Rng) -> Fate {
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut fate = Fate::default();
        if self.current.len() != self.durable.len() && keep.draw(rng) {
            self.durable.resize(self.current.len(), 0);
        }
        let mut touching: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
        for (number, (offset, data)) in unsynced.iter().enumerate() {
            for sector in offset / SECTOR_BYTES..(offset + data.len()).div_ceil(SECTOR_BYTES) {
                touching.entry(sector).or_default().push(number);
            }
        }
        for (sector, writes) in touching {
            if !keep.draw(rng) {
                fate.lost += 1;
                continue;
            }
            fate.kept += 1;
            let kept = if keep == Keep::All { writes.len() } else { 1 + rng.index(writes.len()) };
            for (offset, data) in writes[..kept].iter().map(|number| &unsynced[*number]) {
                let from = (sector * SECTOR_BYTES).max(*offset);
                let to = ((sector + 1) * SECTOR_BYTES).min(offset + data.len()).min(self.durable.len());
                if from < to {
                    self.durable[from..to].copy_from_slice(&data[from - offset..to - offset]);
                }
            }
        }
        fate
    }

    fn remember(&mut self, offset: usize, length: usize) {
        for sector in offset / SECTOR_BYTES..(offset + length).div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            if let Some(was) = self.durable.get(start..(start + SECTOR_BYTES).min(self.durable.len())) {
                self.former.push((sector, was.to_vec()));
            }
        }
        let surplus = self.former.len().saturating_sub(FORMER);
        self.former.drain(..surplus);
    }

    /// Turns a sector before `end` back to what it was. Its first byte, if one could be turned back.
    pub(super) fn turn_back(&mut self, end: usize, rng: &mut Rng) -> Option<usize> {
        let candidates: Vec<usize> = (0..self.former.len())
            .filter(|at| {
                let (sector, was) = &self.former[*at];
                let start = sector * SECTOR_BYTES;
                start + SECTOR_BYTES <= end && self.durable.get(start..start + was.len()).is_some_and(|now| now != was)
            })
            .collect();
        let (sector, was) = self.former.remove(*rng.pick(&candidates)?);
        self.overwrite(sector * SECTOR_BYTES, &was);
        Some(sector * SECTOR_BYTES)
    }

    /// The disk's own doing, seen at once.
    pub(super) fn overwrite(&mut self, offset: usize, data: &[u8]) {
        for version in [&mut self.current, &mut self.durable] {
            let end = (offset + data.len()).min(version.len());
            if offset < end {
                version[offset..end].copy_from_slice(&data[..end - offset]);
            }
        }
    }

    /// Flips a bit on disk.
    pub(super) fn flip(&mut self, offset: usize, bit: u8) {
        for version in [&mut self.current, &mut self.durable] {
            if let Some(byte) = version.get_mut(offset) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

fn put(contents: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(data);
}
