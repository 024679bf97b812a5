//! Reading a snapshot, block by block, each verified before it is handed out.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use crc32fast::Hasher;

use super::{
    Inner, SnapshotError, SnapshotFile, failed,
    format::{self, BLOCK, HEADER, Header, TRAILER},
};
use crate::{disk::DiskFile, types::SnapshotMark};

/// Reads a snapshot piece by piece. A newer snapshot that takes its place meanwhile does not disturb it.
pub struct SnapshotReader {
    file: SnapshotFile,
    handle: Arc<dyn DiskFile>,
    blocks: u64,
    position: u64,
    left: u64,
    checksum: Hasher,
}

impl SnapshotReader {
    pub(super) fn open(store: &Inner, mark: SnapshotMark) -> Result<Self, SnapshotError> {
        let path = format::path(&store.directory, mark);
        let damaged = |offset, what: &str| SnapshotError::Damaged { file: path.clone(), offset, what: what.into() };
        let handle = store.disk.open(&path).map_err(|e| failed("open", &path, e))?;
        let actual = handle.length().map_err(|e| failed("measure", &path, e))?;
        if actual < HEADER as u64 {
            return Err(damaged(actual, "the file ends inside its header"));
        }
        let mut bytes = [0; HEADER];
        handle.read_exact_at(0, &mut bytes).map_err(|e| failed("read", &path, e))?;
        let header = Header::decode(&bytes).map_err(|what| damaged(0, what))?;
        if (header.shard, header.mark) != (store.shard, mark) {
            return Err(damaged(0, "it is of another shard or index than its name says"));
        }
        if header.file_length() != Some(actual) {
            return Err(damaged(actual, "the file does not have the length that its header gives"));
        }
        let Header { shard, mark, length, checksum } = header;
        Ok(Self {
            file: SnapshotFile { shard, mark, length, checksum, path },
            handle,
            blocks: 0,
            position: HEADER as u64,
            left: length,
            checksum: Hasher::new(),
        })
    }

    /// What is being read.
    #[must_use]
    pub fn file(&self) -> &SnapshotFile {
        &self.file
    }

    /// The next verified piece, at most 64 KiB; `None` at the end.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], [`SnapshotError::Io`].
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.left == 0 {
            let whole = self.checksum.clone().finalize() == self.file.checksum;
            return if whole { Ok(None) } else { Err(self.damaged("the contents as a whole have a wrong checksum")) };
        }
        let size = usize::try_from(self.left).map_or(BLOCK, |left| left.min(BLOCK));
        let mut block = vec![0; size + TRAILER];
        let read = self.handle.read_exact_at(self.position, &mut block);
        read.map_err(|e| failed("read", &self.file.path, e))?;
        let stored = block.split_off(size);
        if format::block_checksum(self.file.mark, self.blocks, &block).to_le_bytes() != stored[..] {
            return Err(self.damaged("a block has a wrong checksum"));
        }
        self.checksum.update(&block);
        self.blocks += 1;
        self.position += (size + TRAILER) as u64;
        self.left -= size as u64;
        Ok(Some(Bytes::from(block)))
    }

    fn damaged(&self, what: &str) -> SnapshotError {
        let file: PathBuf = self.file.path.clone();
        SnapshotError::Damaged { file, offset: self.position, what: what.into() }
    }
}
