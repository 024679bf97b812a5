//! The log against a naive model, on a disk that crashes, rots and fails; and with its threads on the real one.

mod crash;
mod damage;
mod kill;
mod model;
mod threads;

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use super::{LogConfig, LogCore, LogError, format};
use crate::{
    disk::fault::FaultDisk,
    types::{Append, Entry, EntryKind, HardState, Recovered, ShardId, SnapshotMark},
};

const DIRECTORY: &str = "/data/log";
const SHARDS: u16 = 3;

/// Segments so small that a few appends fill one.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 16 << 10, identity: 77, ..LogConfig::new(DIRECTORY, SHARDS) }
}

fn formatted() -> FaultDisk {
    let disk = FaultDisk::default();
    format(&disk, &small()).unwrap();
    disk
}

fn reopen(disk: &FaultDisk) -> Result<(LogCore, Vec<Recovered>), LogError> {
    LogCore::open(Arc::new(disk.clone()), small())
}

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    Entry { index, term, kind: EntryKind::Normal, data: Bytes::copy_from_slice(data) }
}

fn append(shard: ShardId, ticket: u64, entries: Vec<Entry>) -> Append {
    Append { shard, ticket, entries, hard_state: None, mark: None }
}

fn marked(shard: ShardId, ticket: u64, index: u64, term: u64) -> Append {
    Append { mark: Some(SnapshotMark { index, term }), ..append(shard, ticket, Vec::new()) }
}

fn with_state(append: Append, term: u64, vote: u64, commit: u64) -> Append {
    Append { hard_state: Some(HardState { term, vote, commit }), ..append }
}

fn flush(core: &mut LogCore) -> Vec<(ShardId, u64)> {
    while core.flush_round().unwrap() {}
    core.take_durable().collect()
}

fn store(core: &mut LogCore, append: &Append) {
    core.append(append).unwrap();
    assert_eq!(flush(core), [(append.shard, append.ticket)]);
}

/// A log of three shards over several segments, all of it synced.
fn filled() -> FaultDisk {
    let disk = formatted();
    let (mut core, _) = reopen(&disk).unwrap();
    for index in 1..40 {
        for shard in 0..SHARDS {
            let data = vec![u8::try_from(index).unwrap(); 300 + usize::from(shard)];
            let entries = vec![entry(index, 1 + index / 20, &data)];
            store(&mut core, &with_state(append(shard, index, entries), 2, 1, index));
        }
    }
    core.maintain().unwrap();
    disk
}

fn segment(number: u64) -> std::path::PathBuf {
    Path::new(DIRECTORY).join(format!("{number:020}.log"))
}

#[test]
fn a_log_is_formatted_once_and_never_made_up() {
    let disk = FaultDisk::default();
    let missing = reopen(&disk).err().unwrap();
    assert!(matches!(missing, LogError::Missing { .. }), "{missing}");
    format(&disk, &small()).unwrap();
    assert!(matches!(format(&disk, &small()), Err(LogError::Exists { .. })));
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered, (0..SHARDS).map(Recovered::empty).collect::<Vec<_>>());
}

#[test]
fn what_was_stored_comes_back() {
    let disk = formatted();
    let (mut core, _) = reopen(&disk).unwrap();
    store(&mut core, &with_state(append(1, 1, vec![entry(1, 3, b"one"), entry(2, 3, b"")]), 3, 2, 1));
    let change = Entry { kind: EntryKind::ConfChange, ..entry(3, 4, b"three") };
    store(&mut core, &append(1, 2, vec![change.clone()]));
    store(&mut core, &append(1, 3, vec![entry(2, 5, b"two"), Entry { term: 5, ..change.clone() }]));
    store(&mut core, &marked(2, 1, 900, 8));
    let (_, recovered) = reopen(&disk).unwrap();
    let expected = Recovered {
        shard: 1,
        hard_state: HardState { term: 3, vote: 2, commit: 1 },
        mark: SnapshotMark::default(),
        entries: vec![entry(1, 3, b"one"), entry(2, 5, b"two"), Entry { term: 5, ..change }],
    };
    assert_eq!(recovered[0], Recovered::empty(0));
    assert_eq!(recovered[1], expected);
    assert_eq!(recovered[2].mark, SnapshotMark { index: 900, term: 8 });
    assert_eq!(recovered[2].hard_state.commit, 900, "what a snapshot covers is committed");
}

#[test]
fn several_appends_of_one_shard_and_an_empty_one_share_a_round() {
    let disk = formatted();
    let (mut core, _) = reopen(&disk).unwrap();
    core.append(&append(0, 1, Vec::new())).unwrap();
    assert_eq!(flush(&mut core), [(0, 1)], "nothing to write is durable at once");
    assert_eq!(core.usage().rounds, 0);
    core.append(&append(0, 2, vec![entry(1, 1, b"a")])).unwrap();
    core.append(&append(2, 1, vec![entry(1, 1, b"b")])).unwrap();
    core.append(&append(0, 3, vec![entry(2, 1, b"c")])).unwrap();
    assert_eq!(flush(&mut core), [(0, 2), (2, 1), (0, 3)]);
    assert_eq!(core.usage().rounds, 1);
}

#[test]
fn an_append_larger_than_a_segment_takes_several_rounds() {
    let disk = formatted();
    let (mut core, _) = reopen(&disk).unwrap();
    let entries: Vec<Entry> = (1..=100).map(|index| entry(index, 1, &[7; 1000])).collect();
    core.append(&with_state(append(0, 1, entries.clone()), 1, 1, 100)).unwrap();
    core.append(&append(1, 1, vec![entry(1, 1, b"behind")])).unwrap();
    assert_eq!(flush(&mut core), [(0, 1), (1, 1)]);
    assert!(core.usage().rounds > 5);
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered[0].entries, entries);
    assert_eq!(recovered[0].hard_state.commit, 100);
    assert_eq!(recovered[1].entries.len(), 1);
}

#[test]
fn appends_that_break_the_rules_are_refused_and_end_the_log() {
    let cases: [(Append, &str); 8] = [
        (append(0, 9, vec![entry(4, 1, b"")]), "entry 4 does not fit a log from 2 to 2"),
        (append(0, 9, vec![entry(1, 1, b"")]), "entry 1 does not fit a log from 2 to 2"),
        (append(0, 9, vec![entry(3, 1, b""), entry(5, 1, b"")]), "entry 5 does not fit a log from 2 to 3"),
        (with_state(append(0, 9, Vec::new()), 1, 1, 3), "commits 3, but its log ends at 2"),
        (append(1, 9, vec![entry(2, 2, b"")]), "entry 2 would replace one that is committed"),
        (marked(1, 9, 2, 2), "a snapshot of another history ends at 2"),
        (append(0, 9, vec![entry(3, 1, &[0; 20 << 10])]), "entry 3 is larger than a segment"),
        (append(SHARDS, 9, Vec::new()), "there are only 3 shards"),
    ];
    for (wrong, message) in cases {
        let disk = formatted();
        let (mut core, _) = reopen(&disk).unwrap();
        store(&mut core, &append(0, 1, vec![entry(1, 1, b""), entry(2, 1, b"")]));
        store(&mut core, &marked(0, 2, 1, 1));
        let committed = append(1, 1, vec![entry(1, 1, b""), entry(2, 1, b"")]);
        store(&mut core, &with_state(committed, 1, 0, 2));
        let error = core.append(&wrong).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(matches!(core.flush_round(), Err(LogError::Failed)));
        assert_eq!(core.take_durable().count(), 0);
    }
}

#[test]
fn segments_go_when_snapshots_cover_them_and_the_blame_is_known() {
    let disk = formatted();
    let (mut core, _) = reopen(&disk).unwrap();
    store(&mut core, &append(2, 1, vec![entry(1, 1, b"idle since the first day")]));
    for index in 1..=400 {
        store(&mut core, &append(0, index, vec![entry(index, 1, &[3; 400])]));
        if index % 10 == 0 {
            store(&mut core, &marked(0, 1000 + index, index, 1));
        }
        core.maintain().unwrap();
    }
    let before = core.usage();
    assert_eq!(before.pin, Some(super::Pin { shard: 2, first: 1, last: 1 }));
    assert!(before.segments > 10 && before.bytes == before.segments as u64 * (16 << 10), "{before:?}");
    store(&mut core, &marked(2, 2, 1, 1));
    core.maintain().unwrap();
    let after = core.usage();
    assert!(after.segments <= 3, "{after:?}");
    assert_eq!(disk.files().len(), after.segments);
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered[2].mark.index, 1);
    assert_eq!(recovered[0].mark.index, 400);
    assert!(recovered.iter().all(|shard| shard.entries.is_empty()));
}

#[test]
fn another_segment_size_is_used_from_the_next_segment_on() {
    let disk = filled();
    let larger = LogConfig { segment_bytes: 64 << 10, ..small() };
    let (mut core, before) = LogCore::open(Arc::new(disk.clone()), larger.clone()).unwrap();
    store(&mut core, &append(0, 1, vec![entry(40, 2, &[9; 40 << 10])]));
    let (_, after) = LogCore::open(Arc::new(disk), larger).unwrap();
    assert_eq!(after[0].entries.len(), before[0].entries.len() + 1);
    assert_eq!(after[1..], before[1..]);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    for (config, message) in [
        (LogConfig { segment_bytes: 8192, ..small() }, "at least 12288"),
        (LogConfig { segment_bytes: 20_000, ..small() }, "multiple of 4096"),
        (LogConfig { segment_bytes: 1 << 32, ..small() }, "below 4 GiB"),
        (LogConfig { shards: 0, ..small() }, "at least 1 shard"),
    ] {
        let error = format(&FaultDisk::default(), &config).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
