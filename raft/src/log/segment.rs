//! Segment files: `00000000000000000007.log`, numbered without gaps, all zeros before they are written to.
//!
//! A segment gets its name only when it is whole (zeros and header synced), so that a file with that name and a wrong
//! header is damage. The first 4096 bytes hold a header of 64; rounds follow. Segments are deleted oldest first, one
//! directory sync each, so that no crash leaves a gap.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    LogConfig, LogError,
    record::{GOLDEN, mixed, seeded},
};
use crate::disk::{Disk, DiskFile, write_whole};

/// Where a segment's rounds start; a page, so that writing them never touches the header's.
pub(super) const DATA_START: usize = 4096;

const HEADER: usize = 64;
const MAGIC: &[u8; 8] = b"DBRLOG\0\x01";
const TEMPORARY: &str = ".log.tmp";
const NAMED: &str = ".log";

/// An open segment.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) length: usize,
    /// What its checksums start with: differs for every segment of every log.
    pub(super) nonce: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

/// Makes a segment, durable under its name. Slow: writes and syncs the whole file.
pub(super) fn prepare(disk: &dyn Disk, config: &LogConfig, number: u64) -> Result<Segment, LogError> {
    let path = path(&config.directory, number);
    let temporary = config.directory.join(format!("{number:020}{TEMPORARY}"));
    let failed = |action, source| LogError::io(action, &temporary, source, disk);
    let file = disk.create(&temporary, config.segment_bytes).map_err(|e| failed("prepare segment", e))?;
    let nonce = nonce(config.identity, number);
    write_whole(&*file, 0, &header(config, number, nonce)).map_err(|e| failed("write the header of", e))?;
    file.sync_all().map_err(|e| failed("sync", e))?;
    disk.rename(&temporary, &path).map_err(|e| failed("rename", e))?;
    disk.sync_dir(&config.directory).map_err(|e| LogError::io("sync directory", &config.directory, e, disk))?;
    Ok(Segment { number, length: size(config.segment_bytes, &path)?, nonce, path, file })
}

/// Deletes a segment, durably.
pub(super) fn remove(disk: &dyn Disk, config: &LogConfig, number: u64) -> Result<(), LogError> {
    let path = path(&config.directory, number);
    disk.remove(&path).map_err(|e| LogError::io("delete obsolete segment", &path, e, disk))?;
    disk.sync_dir(&config.directory).map_err(|e| LogError::io("sync directory", &config.directory, e, disk))
}

/// The numbers of the segments in the log's directory, ascending, without gaps; leftovers of preparing are removed.
pub(super) fn list(disk: &dyn Disk, config: &LogConfig) -> Result<Vec<u64>, LogError> {
    let directory = &config.directory;
    let names = match disk.list(directory) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(LogError::io("list", directory, e, disk)),
    };
    let leftovers: Vec<_> = names.iter().filter(|name| name.ends_with(TEMPORARY)).collect();
    for name in &leftovers {
        let path = directory.join(name);
        disk.remove(&path).map_err(|e| LogError::io("remove leftover", &path, e, disk))?;
    }
    if !leftovers.is_empty() {
        // Else a crash may keep the next segment's rename and not this: the leftover would get the segment's name.
        disk.sync_dir(directory).map_err(|e| LogError::io("sync directory", directory, e, disk))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(NAMED)?.parse().ok()).collect();
    numbers.sort_unstable();
    if let Some(gap) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        let file = path(directory, gap[0] + 1);
        let what = format!("this segment is missing, although {} and {} are there", gap[0], gap[1]);
        return Err(LogError::Damaged { file, offset: 0, shard: None, index: None, what });
    }
    Ok(numbers)
}

/// Opens a segment and reads all of it into `bytes`.
pub(super) fn open(disk: &dyn Disk, config: &LogConfig, number: u64, bytes: &mut Vec<u8>) -> Result<Segment, LogError> {
    let path = path(&config.directory, number);
    let failed = |action, source| LogError::io(action, &path, source, disk);
    let file = disk.open(&path).map_err(|e| failed("open", e))?;
    let length = size(file.length().map_err(|e| failed("measure", e))?, &path)?;
    bytes.clear();
    bytes.resize(length, 0);
    file.read_exact_at(0, bytes).map_err(|e| failed("read", e))?;
    let nonce = check_header(config, number, bytes, &path)?;
    Ok(Segment { number, length, nonce, path, file })
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}{NAMED}"))
}

/// Magic, identity, number, length, shards; CRC-32 at the end.
fn header(config: &LogConfig, number: u64, nonce: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&config.identity.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&config.segment_bytes.to_le_bytes());
    header[32..34].copy_from_slice(&config.shards.to_le_bytes());
    let checksum = checksum(&header, nonce);
    header[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The segment's nonce, if the header is whole and of this very log.
fn check_header(config: &LogConfig, number: u64, bytes: &[u8], path: &Path) -> Result<u64, LogError> {
    let damaged = |offset: usize, what: &str| LogError::Damaged {
        file: path.to_owned(),
        offset: offset as u64,
        shard: None,
        index: None,
        what: what.to_owned(),
    };
    let foreign = |what: String| LogError::Foreign { file: path.to_owned(), what };
    let Some(header) = bytes.get(..HEADER).filter(|_| bytes.len() >= DATA_START) else {
        return Err(damaged(bytes.len(), "the file ends before its first record"));
    };
    let word = |at: usize| <[u8; 8]>::try_from(&header[at..at + 8]).map_or(0, u64::from_le_bytes);
    let (identity, shards) = (word(8), u16::from_le_bytes([header[32], header[33]]));
    let nonce = nonce(identity, word(16));
    if checksum(header, nonce).to_le_bytes() != header[HEADER - 4..] {
        return Err(damaged(0, "the header of the segment has a wrong checksum"));
    }
    if header[..8] != *MAGIC {
        return Err(foreign("written by another version of the log; use the version that wrote it".into()));
    }
    if identity != config.identity {
        return Err(foreign("this segment belongs to the log of another node; put back the right data folder".into()));
    }
    if shards != config.shards {
        return Err(foreign(format!("this log has {shards} shards, the configuration {}; set it back", config.shards)));
    }
    if word(16) != number {
        return Err(damaged(16, "the header has another number than the file name"));
    }
    if word(24) != bytes.len() as u64 {
        return Err(damaged(bytes.len(), "the file does not have the length that its header gives"));
    }
    Ok(nonce)
}

/// The nonce that a segment's header leads to.
#[cfg(test)]
pub(super) fn segment_nonce(bytes: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    nonce(word(8), word(16))
}

fn checksum(header: &[u8], nonce: u64) -> u32 {
    let mut hasher = seeded(nonce);
    hasher.update(&header[..HEADER - 4]);
    hasher.finalize()
}

/// No two segments share one, neither of the same log nor of two.
fn nonce(identity: u64, number: u64) -> u64 {
    mixed(identity ^ number.wrapping_mul(GOLDEN))
}

fn size(bytes: u64, path: &Path) -> Result<usize, LogError> {
    let fits = usize::try_from(bytes).ok().filter(|bytes| u32::try_from(*bytes).is_ok());
    fits.ok_or_else(|| LogError::Foreign {
        file: path.to_owned(),
        what: format!("a segment of {bytes} bytes is larger than the limit of 4 GiB - 1"),
    })
}
