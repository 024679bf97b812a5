//! Names and bytes of snapshot files: `<index>-<term>.snap`.
//!
//! A header of 64 bytes (magic, shard, index, term, length, CRC-32 of the contents, CRC-32 of the header), then the contents
//! in blocks of 64 KiB, each followed by a CRC-32 over the snapshot's index, the block's number and its data. All numbers
//! are little-endian.

use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use crate::types::{ShardId, SnapshotMark};

/// Bytes before the first block.
pub(super) const HEADER: usize = 64;
/// Contents of a block; the last one may be shorter.
pub(super) const BLOCK: usize = 64 << 10;
/// The checksum after a block.
pub(super) const TRAILER: usize = 4;

const MAGIC: &[u8; 8] = b"DBRSNAP\x01";
const NAMED: &str = ".snap";
const TEMPORARY: &str = ".snap.tmp";

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) shard: ShardId,
    pub(super) mark: SnapshotMark,
    /// Length of the contents in bytes.
    pub(super) length: u64,
    /// CRC-32 of the contents.
    pub(super) checksum: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0..8].copy_from_slice(MAGIC);
        header[8..10].copy_from_slice(&self.shard.to_le_bytes());
        header[16..24].copy_from_slice(&self.mark.index.to_le_bytes());
        header[24..32].copy_from_slice(&self.mark.term.to_le_bytes());
        header[32..40].copy_from_slice(&self.length.to_le_bytes());
        header[40..44].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32fast::hash(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    pub(super) fn decode(header: &[u8; HEADER]) -> Result<Self, &'static str> {
        let word = |at: usize| <[u8; 8]>::try_from(&header[at..at + 8]).map_or(0, u64::from_le_bytes);
        let half = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).map_or(0, u32::from_le_bytes);
        if half(HEADER - 4) != crc32fast::hash(&header[..HEADER - 4]) {
            return Err("the header has a wrong checksum");
        }
        if header[..8] != *MAGIC {
            return Err("written by another version; use the version that wrote it");
        }
        Ok(Self {
            shard: u16::from_le_bytes([header[8], header[9]]),
            mark: SnapshotMark { index: word(16), term: word(24) },
            length: word(32),
            checksum: half(40),
        })
    }

    /// The length that the file must have.
    pub(super) fn file_length(&self) -> Option<u64> {
        let trailers = self.length.div_ceil(BLOCK as u64).checked_mul(TRAILER as u64)?;
        self.length.checked_add(trailers)?.checked_add(HEADER as u64)
    }
}

/// The checksum after a block.
pub(super) fn block_checksum(mark: SnapshotMark, number: u64, data: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&mark.index.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(data);
    hasher.finalize()
}

pub(super) fn path(directory: &Path, mark: SnapshotMark) -> PathBuf {
    directory.join(format!("{:020}-{:020}{NAMED}", mark.index, mark.term))
}

pub(super) fn parse_name(name: &str) -> Option<SnapshotMark> {
    let (index, term) = name.strip_suffix(NAMED)?.split_once('-')?;
    Some(SnapshotMark { index: index.parse().ok()?, term: term.parse().ok()? })
}

pub(super) fn temporary_name(mark: SnapshotMark, attempt: u64) -> String {
    format!("{:020}-{attempt}{TEMPORARY}", mark.index)
}

pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}
