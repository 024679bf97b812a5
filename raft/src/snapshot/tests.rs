//! Snapshots are there as a whole or not at all, and never silently wrong.

use std::{io::Write, path::Path, sync::Arc};

use super::{SnapshotError, SnapshotStore, format::BLOCK};
use crate::{
    disk::{
        Disk, RealDisk,
        fault::{Dice, Fault, FaultDisk},
    },
    types::SnapshotMark,
};

const DIRECTORY: &str = "/data/snapshots/5";

fn mark(index: u64) -> SnapshotMark {
    SnapshotMark { index, term: 3 }
}

fn store(disk: &FaultDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone()), Path::new(DIRECTORY), 5).unwrap()
}

fn contents(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..length).map(|_| dice.next().to_le_bytes()[0]).collect()
}

fn loaded(store: &SnapshotStore) -> Option<(u64, Vec<u8>)> {
    store.load().unwrap().map(|(file, contents)| (file.mark.index, contents))
}

#[test]
fn what_was_written_is_read_back_in_whole_and_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(Arc::new(RealDisk), &directory.path().join("a/5"), 5).unwrap();
    assert!(store.newest().unwrap().is_none() && store.load().unwrap().is_none());
    for (index, length) in [(1, 0), (2, 1), (3, BLOCK), (4, BLOCK + 1), (5, 3 * BLOCK - 7)] {
        let bytes = contents(index, length);
        let file = store.write_with(mark(index), |out| out.write_all(&bytes)).unwrap();
        assert_eq!((file.length, file.checksum), (length as u64, crc32fast::hash(&bytes)));
        assert_eq!(store.newest().unwrap(), Some(file));
        assert_eq!(loaded(&store), Some((index, bytes.clone())));
        let mut reader = store.read().unwrap().unwrap();
        let mut pieces = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            assert!(!chunk.is_empty() && chunk.len() <= BLOCK);
            pieces.extend_from_slice(&chunk);
        }
        assert_eq!(pieces, bytes);
        assert_eq!(std::fs::read_dir(directory.path().join("a/5")).unwrap().count(), 1, "older ones are deleted");
    }
}

#[test]
fn a_snapshot_received_in_chunks_must_be_what_was_sent() {
    let disk = FaultDisk::default();
    let store = store(&disk);
    let bytes = contents(1, 150_000);
    let sent = (bytes.len() as u64, crc32fast::hash(&bytes));
    let receive = |bytes: &[u8]| {
        let mut writer = store.begin(mark(9)).unwrap();
        for chunk in bytes.chunks(1000) {
            writer.write_all(chunk).unwrap();
        }
        assert_eq!(writer.written(), bytes.len() as u64);
        writer.finish(Some(sent))
    };
    let mut wrong = bytes.clone();
    wrong[70_000] ^= 1;
    for wrong in [&wrong[..], &bytes[1..]] {
        assert!(matches!(receive(wrong), Err(SnapshotError::Transfer { shard: 5, .. })));
        assert!(disk.files().is_empty(), "nothing is left of it");
    }
    receive(&bytes).unwrap();
    assert_eq!(loaded(&store), Some((9, bytes)));
}

#[test]
fn an_older_snapshot_never_replaces_a_newer_one() {
    let disk = FaultDisk::default();
    let store = store(&disk);
    let mut slow = store.begin(mark(4)).unwrap();
    slow.write_all(b"old").unwrap();
    store.write_with(mark(7), |out| out.write_all(b"new")).unwrap();
    assert!(matches!(slow.finish(None), Err(SnapshotError::Superseded { shard: 5, newest: 7 })));
    assert!(matches!(store.begin(mark(6)), Err(SnapshotError::Superseded { .. })));
    store.write_with(mark(7), |out| out.write_all(b"again")).unwrap();
    assert_eq!(loaded(&store), Some((7, b"again".to_vec())));
    assert_eq!(disk.files().len(), 1);
}

#[test]
fn a_reader_is_not_disturbed_by_a_newer_snapshot() {
    let disk = FaultDisk::default();
    let store = store(&disk);
    let bytes = contents(1, 2 * BLOCK);
    store.write_with(mark(1), |out| out.write_all(&bytes)).unwrap();
    let mut reader = store.read().unwrap().unwrap();
    let first = reader.next_chunk().unwrap().unwrap();
    store.write_with(mark(2), |out| out.write_all(b"newer")).unwrap();
    let second = reader.next_chunk().unwrap().unwrap();
    assert_eq!([first, second].concat(), bytes);
    assert!(reader.next_chunk().unwrap().is_none());
}

#[test]
fn a_dropped_or_failed_snapshot_leaves_nothing() {
    let disk = FaultDisk::default();
    let store = store(&disk);
    store.write_with(mark(1), |out| out.write_all(b"kept")).unwrap();
    drop(store.begin(mark(2)).unwrap());
    let error = store.write_with(mark(3), |_| Err(std::io::Error::other("cannot freeze"))).unwrap_err();
    assert!(error.to_string().contains("cannot freeze"));
    for fault in [Fault::Sync, Fault::ShortWrite, Fault::Full] {
        let mut writer = store.begin(mark(4)).unwrap();
        writer.write_all(b"some").unwrap();
        disk.arm(fault);
        assert!(matches!(writer.finish(None), Err(SnapshotError::Io { .. })), "{fault:?}");
    }
    assert_eq!(loaded(&store), Some((1, b"kept".to_vec())));
    assert_eq!(disk.files().len(), 1);
}

#[test]
fn after_a_failed_write_a_snapshot_cannot_be_finished() {
    let disk = FaultDisk::default();
    let store = store(&disk);
    let mut writer = store.begin(mark(1)).unwrap();
    disk.arm(Fault::ShortWrite);
    writer.write_all(&vec![1; BLOCK]).unwrap_err();
    assert!(writer.write_all(b"more").is_err());
    assert!(writer.finish(None).is_err());
    assert!(disk.files().is_empty());
}

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_one() {
    let (old, new) = (contents(1, 70_000), contents(2, 80_000));
    let (mut olds, mut news) = (0, 0);
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let disk = FaultDisk::default();
        let before = store(&disk);
        before.write_with(mark(1), |out| out.write_all(&old)).unwrap();
        disk.crash_after(1 + seed % 10);
        let acknowledged = before.write_with(mark(2), |out| out.write_all(&new)).is_ok();
        disk.crash(&mut dice);
        let after = store(&disk);
        let found = loaded(&after).unwrap();
        if found.0 == 2 {
            assert!(found.1 == new);
            news += 1;
        } else {
            assert!(found == (1, old.clone()) && !acknowledged);
            olds += 1;
        }
        assert!(disk.files().iter().all(|path| path.extension().unwrap() == "snap"), "no leftovers");
        after.write_with(mark(3), |out| out.write_all(b"next")).unwrap();
        disk.crash(&mut dice);
        assert_eq!(loaded(&store(&disk)), Some((3, b"next".to_vec())));
    }
    assert!(olds > 50 && news > 50, "{olds} {news}");
}

#[test]
fn what_an_ended_process_left_behind_is_never_taken_for_a_snapshot() {
    let (begun, whole) = (contents(1, 1_000), contents(2, 900));
    for seed in 0..600 {
        let disk = FaultDisk::default();
        store(&disk).write_with(mark(1), |out| out.write_all(b"old")).unwrap();
        // A process is killed while it writes. The next one begins the same snapshot, and then power goes.
        let mut writer = store(&disk).begin(mark(2)).unwrap();
        writer.write_all(&begun).unwrap();
        std::mem::forget(writer);
        disk.sync_dir(Path::new(DIRECTORY)).unwrap();
        let again = store(&disk);
        disk.crash_after(4 + seed % 3);
        let _ = again.write_with(mark(2), |out| out.write_all(&whole));
        disk.crash(&mut Dice(seed));
        let found = store(&disk).load().unwrap_or_else(|error| panic!("seed {seed}: a crash is not damage: {error}"));
        let contents = found.map(|(file, contents)| (file.mark.index, contents));
        assert!(contents == Some((1, b"old".to_vec())) || contents == Some((2, whole.clone())), "seed {seed}");
    }
}

#[test]
fn a_snapshot_that_was_seen_survives_the_next_power_cut() {
    let mut seen = 0;
    for seed in 0..100 {
        let disk = FaultDisk::default();
        let before = store(&disk);
        before.write_with(mark(1), |out| out.write_all(b"old")).unwrap();
        disk.crash_after(1 + seed % 8);
        let _ = before.write_with(mark(2), |out| out.write_all(b"new"));
        // The process ends, the machine goes on; later power goes.
        disk.restart();
        let found = loaded(&store(&disk)).unwrap();
        seen += u32::from(found.0 == 2);
        disk.crash(&mut Dice(seed));
        assert_eq!(loaded(&store(&disk)).unwrap(), found, "seed {seed}");
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn every_flipped_bit_is_damage_with_file_and_offset() {
    let disk = FaultDisk::default();
    store(&disk).write_with(mark(12), |out| out.write_all(&contents(3, BLOCK + 300))).unwrap();
    let path = disk.files().remove(0);
    let length = disk.contents(&path).len();
    let second = 64 + BLOCK + 4;
    let bits = (0..64 * 8).chain((64 * 8..second * 8).step_by(4099)).chain(second * 8..length * 8);
    for bit in bits {
        disk.flip(&path, bit);
        let error = store(&disk).load().unwrap_err();
        let SnapshotError::Damaged { file, offset, .. } = &error else { panic!("{error}") };
        let block = if bit / 8 < 64 {
            0
        } else if bit / 8 < second {
            64
        } else {
            second
        };
        assert_eq!((file, *offset), (&path, block as u64), "bit {bit}");
        disk.flip(&path, bit);
    }
    assert!(store(&disk).load().is_ok());
}

#[test]
fn truncated_renamed_and_foreign_files_are_damage() {
    let disk = FaultDisk::default();
    store(&disk).write_with(mark(12), |out| out.write_all(&contents(3, 500))).unwrap();
    let path = disk.files().remove(0);
    let whole = disk.contents(&path);
    for length in [0, 63, 64, whole.len() - 1] {
        disk.overwrite(&path, &whole[..length]);
        let error = store(&disk).load().unwrap_err().to_string();
        assert!(error.contains(&format!("{} at offset {length}", path.display())), "{error}");
    }
    disk.overwrite(&path, &whole);
    let other = SnapshotStore::open(Arc::new(disk.clone()), Path::new(DIRECTORY), 6).unwrap();
    assert!(other.load().unwrap_err().to_string().contains("another shard"));
    disk.rename(&path, &path.with_file_name("00000000000000000099-00000000000000000003.snap")).unwrap();
    assert!(store(&disk).newest().unwrap_err().to_string().contains("another shard or index"));
}
