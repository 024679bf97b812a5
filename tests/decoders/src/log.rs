//! The replicated log's segments: any bytes, and segments that were written by the log and then damaged.

use std::path::PathBuf;
use std::sync::Arc;

use doorbuster_raft::disk::Disk;
use doorbuster_raft::log::{LogConfig, LogCore, LogError, format};
use doorbuster_raft::{Append, Entry, EntryKind, HardState, Recovered, SnapshotMark};

use crate::memory::Memory;

const SHARDS: u16 = 2;
const SEGMENT_BYTES: u64 = 64 << 10;

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, identity: 7, ..LogConfig::new(PathBuf::from("/log"), SHARDS) }
}

fn open(files: Vec<(PathBuf, Vec<u8>)>) -> Result<Vec<Recovered>, LogError> {
    LogCore::open(Memory::with(files) as Arc<dyn Disk>, config()).map(|(_, recovered)| recovered)
}

fn formatted() -> Arc<Memory> {
    let disk = Arc::new(Memory::default());
    format(&*disk, &config()).expect("a disk in memory has room");
    disk
}

/// A segment's front is these bytes.
pub fn segment(bytes: &[u8]) {
    let mut files = formatted().files();
    let (_, first) = files.first_mut().expect("a new log has a segment");
    let length = bytes.len().min(first.len());
    first[..length].copy_from_slice(&bytes[..length]);
    if let Ok(recovered) = open(files) {
        recovered.iter().for_each(assert_contiguous);
    }
}

fn assert_contiguous(shard: &Recovered) {
    let expected = shard.mark.index + 1..;
    assert!(shard.entries.iter().zip(expected).all(|(entry, index)| entry.index == index), "the entries have a gap");
}

/// A log is written as these bytes say, read back, damaged as the last of them say, and read again: what comes back is
/// what was written, or a part that a crash in the last round may have left, or a refusal.
pub fn damage(script: &[u8]) {
    let (script, damage) = script.split_at(script.len().saturating_sub(4));
    let disk = formatted();
    let written = write(&disk, script);
    let files = disk.files();
    let recovered = open(files.clone()).expect("what was written whole is read");
    for (recovered, written) in recovered.iter().zip(&written) {
        assert_eq!((recovered.hard_state, recovered.mark), (written.hard_state, written.mark));
        assert_eq!(recovered.entries, written.entries, "entries come back as they were");
    }
    let &[file, high, low, bits] = damage else { return };
    let mut damaged = files;
    let which = usize::from(file) % damaged.len();
    let bytes = &mut damaged[which].1;
    let at = (usize::from(high) << 8 | usize::from(low)) % bytes.len();
    bytes[at] ^= bits.max(1);
    let Ok(recovered) = open(damaged) else { return };
    for (recovered, written) in recovered.iter().zip(&written) {
        assert_contiguous(recovered);
        let known = recovered
            .entries
            .iter()
            .all(|entry| written.entries.iter().chain(&written.overwritten).any(|known| known == entry));
        assert!(known, "an entry came back that was never written");
    }
}

/// What a shard's log holds.
#[derive(Default)]
struct Written {
    hard_state: HardState,
    mark: SnapshotMark,
    entries: Vec<Entry>,
    overwritten: Vec<Entry>,
}

/// Five bytes an append: shard and whether the round ends, entries, their size, how far back, term.
fn write(disk: &Arc<Memory>, script: &[u8]) -> Vec<Written> {
    let (mut log, _) = LogCore::open(Arc::clone(disk) as Arc<dyn Disk>, config()).expect("it was just formatted");
    let mut shards: Vec<Written> = (0..SHARDS).map(|_| Written::default()).collect();
    for (ticket, step) in script.chunks_exact(5).take(200).enumerate() {
        let &[shard, count, size, back, term] = step else { break };
        let number = u16::from(shard) % SHARDS;
        let written = &mut shards[usize::from(number)];
        let append = written.append(number, ticket as u64 + 1, (count % 8, size, back % 4, term % 3));
        log.append(&append).expect("it follows from what was appended before");
        if shard & 2 == 0 {
            flush(&mut log);
        }
    }
    flush(&mut log);
    shards
}

fn flush(log: &mut LogCore) {
    while log.is_pending() {
        log.flush_round().expect("a disk in memory has room");
    }
    log.maintain().expect("a disk in memory has room");
}

impl Written {
    fn append(&mut self, shard: u16, ticket: u64, (count, size, back, term): (u8, u8, u8, u8)) -> Append {
        let term = self.hard_state.term + u64::from(term);
        let keep = self.entries.len().saturating_sub(usize::from(back));
        let before = self.mark.index + keep as u64;
        let data = |at: u8| vec![at ^ size; usize::from(size) * 3].into();
        let entries: Vec<Entry> = (0..count)
            .map(|at| Entry { index: before + 1 + u64::from(at), term, kind: EntryKind::Normal, data: data(at) })
            .collect();
        if !entries.is_empty() {
            self.overwritten.extend(self.entries.drain(keep..));
            self.entries.extend(entries.iter().cloned());
        }
        self.hard_state = HardState { term, vote: 1, commit: self.hard_state.commit };
        Append { shard, ticket, entries, hard_state: Some(self.hard_state), mark: None }
    }
}

/// The front of a log that was written.
pub fn seeds() -> Vec<Vec<u8>> {
    let fronts = script_seeds().into_iter().map(|script| {
        let disk = formatted();
        write(&disk, &script);
        disk.files().remove(0).1[..8 << 10].to_vec()
    });
    fronts.collect()
}

/// Scripts that write.
pub fn script_seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=250).collect();
    vec![
        all.clone(),
        all.iter().rev().copied().collect(),
        vec![1; 64],
        vec![0, 3, 200, 0, 1, 1, 7, 255, 2, 2, 0, 0, 9, 3],
    ]
}
