//! The real disk does what the trait says, and the fault disk does its worst.

pub(crate) mod fault;

use std::{io, path::Path};

use super::{Disk, RealDisk, read_small, replace_small, write_whole};
use fault::{Dice, Fault, FaultDisk};

fn keeps_the_contract(disk: &dyn Disk, directory: &Path) {
    disk.create_dir_all(directory).unwrap();
    assert!(disk.list(directory).unwrap().is_empty());
    let (first, second) = (directory.join("first"), directory.join("second"));
    assert_eq!(disk.open(&first).err().unwrap().kind(), io::ErrorKind::NotFound);
    let file = disk.create(&first, 9 << 20).unwrap();
    assert_eq!(disk.create(&first, 1).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(file.length().unwrap(), 9 << 20);
    write_whole(&*file, 5, b"five").unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    disk.rename(&first, &second).unwrap();
    disk.sync_dir(directory).unwrap();
    assert_eq!(disk.list(directory).unwrap(), ["second"]);
    let mut read = [1; 12];
    disk.open(&second).unwrap().read_exact_at(0, &mut read).unwrap();
    assert_eq!(&read, b"\0\0\0\0\0five\0\0\0");
    assert_eq!(file.read_exact_at((9 << 20) - 3, &mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    disk.remove(&second).unwrap();
    assert!(disk.list(directory).unwrap().is_empty());
    file.read_exact_at(5, &mut read[..4]).unwrap();
    assert_eq!(&read[..4], b"five", "who has it open can go on");
    assert!(disk.free_space(directory).unwrap() > 0);
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    keeps_the_contract(&RealDisk, &directory.path().join("a/b"));
}

#[test]
fn the_fault_disk_keeps_the_contract() {
    keeps_the_contract(&FaultDisk::default(), Path::new("/a/b"));
}

#[test]
fn prepared_files_are_real_bytes() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    RealDisk.create(&path, 3 << 20).unwrap().sync_all().unwrap();
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 >= 3 << 20, "not a sparse file");
}

#[test]
fn a_crash_keeps_any_subset_of_unsynced_sectors_and_all_synced_ones() {
    let path = Path::new("/d/file");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let disk = FaultDisk::default();
        let file = disk.create(path, 2048).unwrap();
        write_whole(&*file, 0, &[1; 2048]).unwrap();
        file.sync_all().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        write_whole(&*file, 300, &[2; 1000]).unwrap();
        disk.crash(&mut Dice(seed));
        let contents = disk.contents(path);
        assert!(contents[..300].iter().chain(&contents[1300..]).all(|byte| *byte == 1), "what was synced stays");
        let sectors = [(300, 512), (512, 1024), (1024, 1300)].map(|(from, to)| {
            assert!(contents[from..to].iter().all(|byte| *byte == contents[from]), "a sector is old or new");
            contents[from]
        });
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 8, "every subset happens: {seen:?}");
}

#[test]
fn a_failed_sync_leaves_data_that_only_the_page_cache_has() {
    let path = Path::new("/d/file");
    let disk = FaultDisk::default();
    let file = disk.create(path, 512).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    write_whole(&*file, 0, &[1; 512]).unwrap();
    disk.arm(Fault::Sync);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.contents(path), [1; 512]);
    for seed in 0..8 {
        disk.crash(&mut Dice(seed));
        assert_eq!(disk.contents(path), [0; 512]);
    }
}

#[test]
fn a_short_write_is_an_error_that_says_so() {
    let disk = FaultDisk::default();
    let file = disk.create(Path::new("/file"), 100).unwrap();
    disk.arm(Fault::ShortWrite);
    let error = write_whole(&*file, 0, &[1; 100]).unwrap_err();
    assert!(error.to_string().contains("50 of 100 bytes"), "{error}");
}

#[test]
fn a_small_file_is_the_old_one_or_the_new_one() {
    let directory = Path::new("/d");
    let contents = |version: u8| vec![version; 700 + 100 * usize::from(version)];
    for seed in 0..3_000 {
        let (disk, mut dice) = (FaultDisk::default(), Dice(seed));
        replace_small(&disk, directory, "file", &contents(0)).unwrap();
        let mut sure = 0;
        for version in 1..=4 {
            // First while it is written, then while it gets its name: the second time finds what the first left behind.
            disk.crash_after(if version % 2 == 1 { 2 + dice.below(2) } else { 5 + dice.below(5) });
            let replaced = replace_small(&disk, directory, "file", &contents(version)).is_ok();
            // A process that stops, and a machine that does.
            if dice.chance(30) {
                disk.restart();
            } else {
                disk.crash(&mut dice);
            }
            let found = read_small(&disk, &directory.join("file")).unwrap();
            let is = (0..=4).find(|known| contents(*known) == found).expect("one of them, in whole");
            assert!(
                (sure..=version).contains(&is) && (!replaced || is == version),
                "seed {seed}: {is} after {version}"
            );
            if replaced {
                sure = version;
            }
        }
    }
}
