//! Snapshots: the file that carries one, and the state in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::types::{LogIndex, ShardId, Timestamp};
use doorbuster_raft::SnapshotMark;
use doorbuster_raft::disk::Disk;
use doorbuster_raft::snapshot::SnapshotStore;
use doorbuster_server::shard::entry;

use crate::client;
use crate::memory::Memory;

const SHARD: u16 = 0;
const FOLDER: &str = "/snapshots";
const MARK: SnapshotMark = SnapshotMark { index: 9, term: 2 };

fn stored(contents: &[u8]) -> (PathBuf, Vec<u8>) {
    let disk = Arc::new(Memory::default());
    let store = SnapshotStore::open(Arc::clone(&disk) as Arc<dyn Disk>, Path::new(FOLDER), SHARD);
    let store = store.expect("a disk in memory has room");
    store.write_with(MARK, |out| out.write_all(contents)).expect("a disk in memory has room");
    disk.files().remove(0)
}

/// A snapshot's file is these bytes; then: its contents are, and one byte of it is changed.
pub fn file(bytes: &[u8]) {
    let (path, written) = stored(bytes);
    let load = |bytes: Vec<u8>| {
        let disk = Memory::with([(path.clone(), bytes)]) as Arc<dyn Disk>;
        SnapshotStore::open(disk, Path::new(FOLDER), SHARD).and_then(|store| store.load())
    };
    let whole = load(written.clone()).expect("just written").expect("just written");
    assert_eq!(whole.1, bytes, "contents come back as they were");
    if let Ok(Some((file, contents))) = load(bytes.to_vec()) {
        assert_eq!((file.mark, file.length), (MARK, contents.len() as u64));
    }
    let Some((&bits, rest)) = bytes.split_last() else { return };
    let at = rest.iter().take(3).fold(0, |at, byte| at << 8 | usize::from(*byte)) % written.len();
    let mut damaged = written;
    damaged[at] ^= bits.max(1);
    assert!(load(damaged).is_err(), "the change at {at} was not noticed");
}

/// A state as bytes, with the checksum they should have at their end: what is restored is frozen to the same bytes.
pub fn state(bytes: &[u8]) {
    let _ = Inventory::restore(ShardId(SHARD), Limits::default(), bytes);
    let mut bytes = bytes.to_vec();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    let Ok(mut inventory) = Inventory::restore(ShardId(SHARD), Limits::default(), &bytes) else { return };
    let mut written = Vec::new();
    inventory.freeze().write_to(&mut written).expect("memory has room");
    assert_eq!(written, bytes, "a state comes back as it was");
    assert_eq!(inventory.audit().problems, Vec::<String>::new(), "a state that does not add up was taken");
}

/// Contents of every size that matters to a file of blocks.
pub fn file_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = [0, 1, 100, 65_535, 65_536, 65_537, 70_000].map(|size| vec![7; size]).into();
    seeds.extend(["", "contents"].map(|contents| stored(contents.as_bytes()).1));
    seeds
}

/// States after the commands of the golden vectors, without their checksum.
pub fn state_seeds() -> Vec<Vec<u8>> {
    let mut inventory = Inventory::new(ShardId(SHARD), Limits::default());
    let mut seeds = Vec::new();
    let mut index = 0;
    for payload in client::command_seeds() {
        let Ok((_, commands)) = entry::decode(&payload) else { continue };
        for command in commands.flatten() {
            index += 1;
            let _ = inventory.apply(LogIndex(index), Timestamp(1_795_000_000_000 + index), &command);
        }
        let mut bytes = Vec::new();
        inventory.freeze().write_to(&mut bytes).expect("memory has room");
        bytes.truncate(bytes.len() - 4);
        seeds.push(bytes);
    }
    seeds
}
