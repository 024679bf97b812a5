//! Writing a snapshot: into a temporary file, which gets its name when it is complete and synced.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use crc32fast::Hasher;

use super::{
    Inner, SnapshotError, SnapshotFile, failed,
    format::{self, BLOCK, HEADER, Header, TRAILER},
};
use crate::{
    disk::{DiskFile, write_whole},
    types::SnapshotMark,
};

/// After so many bytes the file is synced, so that the log's own syncs never have to wait for a whole snapshot.
const BURST: u64 = 8 << 20;

/// A snapshot on its way to disk, in pieces of any size. Dropped without [`finish`](Self::finish), it never was.
pub struct SnapshotWriter {
    store: Arc<Inner>,
    mark: SnapshotMark,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    /// The block being filled.
    block: Vec<u8>,
    blocks: u64,
    /// Contents handed over so far, in bytes.
    length: u64,
    /// Where the next block goes in the file.
    position: u64,
    checksum: Hasher,
    broken: bool,
}

impl SnapshotWriter {
    pub(super) fn new(store: Arc<Inner>, mark: SnapshotMark) -> Result<Self, SnapshotError> {
        let temporary = store.temporary(mark);
        let file = store.disk.create(&temporary, 0).map_err(|e| failed("create", &temporary, e))?;
        Ok(Self {
            store,
            mark,
            temporary,
            file,
            block: Vec::with_capacity(BLOCK + TRAILER),
            blocks: 0,
            length: 0,
            position: HEADER as u64,
            checksum: Hasher::new(),
            broken: false,
        })
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.length
    }

    /// Makes the snapshot durable under its name and deletes older ones. `expected` is what the sender says of it: its
    /// length and checksum.
    ///
    /// # Errors
    /// [`SnapshotError::Transfer`] if it differs from `expected`; [`SnapshotError::Superseded`]; [`SnapshotError::Io`].
    pub fn finish(mut self, expected: Option<(u64, u32)>) -> Result<SnapshotFile, SnapshotError> {
        let (shard, mark, length) = (self.store.shard, self.mark, self.length);
        let checksum = self.checksum.clone().finalize();
        if let Some((sent_length, sent_checksum)) = expected.filter(|sent| *sent != (length, checksum)) {
            let what = format!(
                "{length} bytes with checksum {checksum:08x} came, {sent_length} with {sent_checksum:08x} were sent"
            );
            return Err(SnapshotError::Transfer { shard, what });
        }
        self.complete(&Header { shard, mark, length, checksum }).map_err(|e| failed("write", &self.temporary, e))?;
        let path = self.store.publish(&self.temporary, mark)?;
        Ok(SnapshotFile { shard, mark, length, checksum, path })
    }

    fn complete(&mut self, header: &Header) -> io::Result<()> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        self.alive()?;
        write_whole(&*self.file, 0, &header.encode())?;
        self.file.sync_all()
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.alive()?;
        // After a failed write or sync nothing is known of the file.
        self.broken = true;
        let checksum = format::block_checksum(self.mark, self.blocks, &self.block);
        self.block.extend_from_slice(&checksum.to_le_bytes());
        write_whole(&*self.file, self.position, &self.block)?;
        let before = self.position / BURST;
        self.position += self.block.len() as u64;
        if before != self.position / BURST {
            self.file.sync_data()?;
        }
        self.blocks += 1;
        self.block.clear();
        self.broken = false;
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("an earlier write of this snapshot failed")) } else { Ok(()) }
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.alive()?;
        let taken = &data[..data.len().min(BLOCK - self.block.len())];
        self.block.extend_from_slice(taken);
        self.checksum.update(taken);
        self.length += taken.len() as u64;
        if self.block.len() == BLOCK {
            self.write_block()?;
        }
        Ok(taken.len())
    }

    /// Nothing to do: only `finish` makes anything durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // After `finish` it is not there any more; what stays behind is removed when the store is opened next.
        let _ = self.store.disk.remove(&self.temporary);
    }
}
