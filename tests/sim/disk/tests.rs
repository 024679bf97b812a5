//! The disk keeps what it promises, and loses what it may lose.

use std::io::ErrorKind;
use std::path::Path;

use doorbuster_raft::disk::{Disk, DiskFile, SECTOR_BYTES};

use super::*;

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(Rng::new(seed));
    disk.start_process();
    disk.create_dir_all(Path::new("/data/log")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    disk
}

fn path() -> &'static Path {
    Path::new("/data/log/1.log")
}

fn durable_file(disk: &SimDisk, zeroed: u64) -> Arc<dyn DiskFile> {
    let file = disk.create(path(), zeroed).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(Path::new("/data/log")).unwrap();
    file
}

fn contents(disk: &SimDisk) -> Vec<u8> {
    let file = disk.open(path()).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn restart(disk: &SimDisk, keep: Keep) {
    disk.stop();
    disk.power_cycle(keep);
    disk.start_process();
}

#[test]
fn what_was_synced_stays_and_the_rest_may_go() {
    for (keep, expected) in [(Keep::Nothing, 1), (Keep::All, 2)] {
        let disk = disk(1);
        let file = durable_file(&disk, 4096);
        file.write_at(0, &[1; 4096]).unwrap();
        file.sync_data().unwrap();
        file.write_at(512, &[2; 512]).unwrap();
        restart(&disk, keep);
        let bytes = contents(&disk);
        assert_eq!((bytes[0], bytes[512], bytes[1023], bytes[1024]), (1, expected, expected, 1));
    }
}

#[test]
fn torn_writes_lose_whole_sectors_and_every_mixture_occurs() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = disk(seed);
        let file = durable_file(&disk, 4096);
        file.write_at(0, &[7; 3 * SECTOR_BYTES]).unwrap();
        restart(&disk, Keep::Percent(50));
        let bytes = contents(&disk);
        let sectors: Vec<bool> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0] == 7).collect();
        for sector in bytes.chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is old or new");
        }
        seen.insert(sectors[..3].to_vec());
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_name_is_certain_only_when_its_directory_was_synced() {
    let disk = disk(1);
    let file = disk.create(path(), 10).unwrap();
    file.sync_all().unwrap();
    restart(&disk, Keep::Nothing);
    assert_eq!(disk.open(path()).err().unwrap().kind(), ErrorKind::NotFound);
    durable_file(&disk, 10);
    disk.remove(path()).unwrap();
    assert!(!disk.has(path()));
    restart(&disk, Keep::Nothing);
    assert!(disk.has(path()), "a removal that was not synced may be undone");
    disk.rename(path(), Path::new("/data/log/2.log")).unwrap();
    disk.sync_dir(Path::new("/data/log")).unwrap();
    restart(&disk, Keep::Nothing);
    assert_eq!(disk.list(Path::new("/data/log")).unwrap(), ["2.log"]);
}

#[test]
fn a_directory_that_was_not_synced_goes_with_all_that_is_in_it() {
    let disk = SimDisk::new(Rng::new(1));
    disk.start_process();
    disk.create_dir_all(Path::new("/data/log")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    durable_file(&disk, 10);
    restart(&disk, Keep::Nothing);
    assert_eq!(disk.list(Path::new("/data")).err().unwrap().kind(), ErrorKind::NotFound);
    assert!(disk.files().is_empty());
}

#[test]
fn a_process_that_ends_loses_nothing_but_its_handles() {
    let disk = disk(1);
    let file = durable_file(&disk, 4096);
    file.write_at(0, b"unsynced").unwrap();
    disk.stop();
    assert!(file.write_at(0, b"late").is_err());
    disk.start_process();
    assert!(file.write_at(0, b"later").is_err(), "a handle of an earlier process is dead");
    assert_eq!(&contents(&disk)[..8], b"unsynced");
}

#[test]
fn it_stops_in_the_operation_that_was_asked_for() {
    let reaches = |operations| {
        let disk = disk(1);
        disk.crash_after(operations);
        let result = (|| {
            let file = disk.create(path(), 4096)?;
            file.write_at(0, &[1; 100])?;
            file.sync_all()?;
            disk.sync_dir(Path::new("/data/log"))?;
            disk.rename(path(), Path::new("/data/log/2.log"))?;
            disk.remove(Path::new("/data/log/2.log"))
        })();
        (result.is_err(), disk.stopped_in().map(|(operation, _)| operation))
    };
    use Operation::{Create, Remove, Rename, Sync, SyncDir, Write};
    for (operations, operation) in (1..).zip([Create, Write, Sync, SyncDir, Rename, Remove]) {
        assert_eq!(reaches(operations), (true, Some(operation)));
    }
    assert_eq!(reaches(7), (false, None));
}

#[test]
fn a_failed_sync_promises_nothing_and_its_repetition_is_noted() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let disk = disk(seed);
        let file = durable_file(&disk, 4096);
        disk.fail_sync_after(1);
        file.write_at(0, &[9; 512]).unwrap();
        assert!(file.sync_data().is_err());
        assert_eq!(disk.take_happened(), [Happening::SyncFailed(path().to_owned())]);
        assert_eq!(contents(&disk)[0], 9, "the page cache still shows it");
        assert_eq!(disk.retried_sync(), None);
        assert!(file.sync_data().is_ok());
        assert!(disk.retried_sync().unwrap().contains("1.log"));
        restart(&disk, Keep::All);
        kept.insert(contents(&disk)[0]);
    }
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [0, 9]);
}

#[test]
fn another_process_may_sync_what_failed_before() {
    let disk = disk(1);
    let file = durable_file(&disk, 4096);
    disk.fail_sync_after(1);
    assert!(file.sync_data().is_err());
    disk.stop();
    disk.start_process();
    disk.open(path()).unwrap().sync_data().unwrap();
    assert_eq!(disk.retried_sync(), None);
}

#[test]
fn full_disks_and_short_writes() {
    let disk = disk(1);
    let file = durable_file(&disk, 4096);
    disk.set_full(true);
    assert_eq!(disk.create(Path::new("/data/log/2.log"), 1).err().unwrap().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(4096, b"more").err().unwrap().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(0, b"in place").unwrap(), 8);
    assert_eq!(disk.free_space(path()).unwrap(), 0);
    disk.disarm();
    disk.short_write_after(2);
    assert_eq!(file.write_at(0, &[1; 100]).unwrap(), 100);
    assert!(file.write_at(0, &[1; 100]).unwrap() < 100);
    assert_eq!(file.write_at(0, &[1; 100]).unwrap(), 100);
}

#[test]
fn rot_flips_a_bit_of_what_was_written() {
    let disk = disk(1);
    let file = durable_file(&disk, 1 << 16);
    assert_eq!(disk.damage(Damage::Log), None, "nothing was written behind the header");
    file.write_at(4096, &[0xaa; 1000]).unwrap();
    file.sync_data().unwrap();
    let before = contents(&disk);
    let place = disk.damage(Damage::Log).unwrap();
    let after = contents(&disk);
    let differing: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(differing, [place.offset]);
    assert!((4096..5096).contains(&place.offset));
    restart(&disk, Keep::All);
    assert_eq!(contents(&disk), after, "it is on disk");
}

#[test]
fn a_stale_sector_is_what_it_was_and_never_the_last_one_synced() {
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable_file(&disk, 1 << 16);
        for round in 0..20_u8 {
            file.write_at(4096 + u64::from(round) * 512, &[round + 1; 512]).unwrap();
            file.sync_data().unwrap();
        }
        let place = disk.damage(Damage::Stale).unwrap();
        assert!(place.offset < 4096 + 19 * 512);
        assert_eq!(contents(&disk)[place.offset..place.offset + 512], [0; 512]);
    }
}

#[test]
fn a_misdirected_sector_lies_over_another() {
    let disk = disk(3);
    let file = durable_file(&disk, 1 << 16);
    for round in 0..20_u8 {
        file.write_at(4096 + u64::from(round) * 512, &[round + 1; 512]).unwrap();
        file.sync_data().unwrap();
    }
    let before = contents(&disk);
    let place = std::iter::repeat_with(|| disk.damage(Damage::Misdirected)).take(20).flatten().next().unwrap();
    let after = contents(&disk);
    assert_ne!(before[place.offset], after[place.offset]);
    assert!(before.chunks(512).any(|sector| sector == &after[place.offset..place.offset + 512]));
}

#[test]
fn equal_seeds_make_equal_disks() {
    let run = |seed| {
        let disk = disk(seed);
        let file = durable_file(&disk, 4096);
        for round in 0..10_u8 {
            file.write_at(u64::from(round) * 100, &[round; 300]).unwrap();
        }
        restart(&disk, Keep::Percent(50));
        (disk.hash(), contents(&disk))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
}

#[test]
fn the_real_log_recovers_from_every_crash_on_it() {
    use doorbuster_raft::log::{self, LogConfig, LogCore};
    use doorbuster_raft::{Append, Entry, EntryKind, HardState};
    let config = LogConfig { segment_bytes: 16 << 10, ..LogConfig::new("/data/log", 1) };
    let append = |index: u64| Append {
        shard: 0,
        ticket: index,
        entries: vec![Entry { index, term: 1, kind: EntryKind::Normal, data: vec![1; 300].into() }],
        hard_state: Some(HardState { term: 1, vote: 1, commit: 0 }),
        mark: None,
    };
    for crash_in in 1..120 {
        let disk = disk(crash_in);
        log::format(&disk, &config).unwrap();
        disk.crash_after(crash_in);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut reported = 0;
        if let Ok((mut core, _)) = LogCore::open(shared, config.clone()) {
            for index in 1..=60 {
                let done = core.append(&append(index)).and_then(|()| core.maintain()).and_then(|()| core.flush_round());
                if done.is_err() {
                    break;
                }
                reported = core.take_durable().next_back().map_or(reported, |(_, ticket)| ticket);
            }
        }
        restart(&disk, Keep::Percent(50));
        let (_, recovered) = LogCore::open(Arc::new(disk), config.clone()).unwrap();
        let last = recovered[0].entries.last().map_or(0, |entry| entry.index);
        assert!(last >= reported, "crash in operation {crash_in}: {last} of {reported} came back");
    }
}
