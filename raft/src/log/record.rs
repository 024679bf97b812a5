//! Bytes of the log: records, and the rounds that hold them.
//!
//! A *round* is what one write put on disk: a header of 32 bytes, records, zeros up to a multiple of 32. It starts at a
//! multiple of 32, so that its header never lies across two sectors. All numbers are little-endian.
//!
//! | round header | | record | |
//! | --- | --- | --- | --- |
//! | magic `DBRN` | u32 | length of the data | u32 |
//! | length of records and padding | u32 | CRC-32 of all else in the record | u32 |
//! | sequence number | u64 | shard | u16 |
//! | records | u32 | kind | u8 |
//! | zero | u32 | flag | u8 |
//! | flags: 1 = was not synced | u32 | term | u64 |
//! | CRC-32 of the above | u32 | index | u64 |
//!
//! Every checksum starts with the segment's nonce, a record's also with the round's sequence number: bytes of another
//! segment, another log or another round never look valid.
//!
//! *Torn or damaged?* Before a round is written, its place is all zeros. A sector is written as a whole or not at all, so a
//! torn round misses whole sectors: those are zeros still. To tell such zeros from data, what follows the header is masked
//! with pseudorandom bits, after which no part of it, however short, is zeros or close to it. A round that is invalid
//! although no sector of it is missing was damaged after it had been written.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::{
    disk::SECTOR_BYTES,
    types::{Entry, EntryKind, HardState, ShardId, SnapshotMark},
};

/// Rounds start at multiples of this.
pub(super) const ROUND_ALIGN: usize = 32;
/// Bytes of a round's header.
pub(super) const ROUND_HEADER: usize = 32;
/// Bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 28;
/// Bytes of one shard's three checkpoint records.
pub(super) const CHECKPOINT_BYTES: usize = 3 * RECORD_HEADER + 8;

const MAGIC: u32 = u32::from_le_bytes(*b"DBRN");
const UNSYNCED: u32 = 1;
/// Step of splitmix64.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const _: () = assert!(SECTOR_BYTES.is_multiple_of(ROUND_ALIGN) && ROUND_HEADER <= ROUND_ALIGN);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry for the state machine.
    Normal = 1,
    /// An entry that changes the membership.
    ConfChange = 2,
    /// Term, vote (8 bytes of data) and commit (as index).
    HardState = 3,
    /// A snapshot covers up to here. Flag 1: the log goes on after it; 0: all of the log is obsolete.
    Mark = 4,
    /// Checkpoint at the start of a segment: the mark at that time.
    Base = 5,
    /// Checkpoint: the last entry at that time.
    End = 6,
}

/// One record in a buffer; taken apart, not verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) shard: ShardId,
    /// `None`: a number this version does not know.
    pub(super) kind: Option<Kind>,
    pub(super) flag: u8,
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) data: &'a [u8],
    checksum: u32,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, if its length stays inside.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..RECORD_HEADER)?;
        let length = usize::try_from(u32_at(header, 0)).ok()?;
        let bytes = bytes.get(..RECORD_HEADER.checked_add(length)?)?;
        Some(Self {
            shard: u16::from_le_bytes([header[8], header[9]]),
            kind: Kind::from_number(header[10]),
            flag: header[11],
            term: u64_at(header, 12),
            index: u64_at(header, 20),
            data: &bytes[RECORD_HEADER..],
            checksum: u32_at(header, 4),
            bytes,
        })
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The entry it carries, if it is of that kind. The data is copied: a record's buffer is a whole segment.
    pub(super) fn entry(&self) -> Option<Entry> {
        let kind = match self.kind? {
            Kind::Normal => EntryKind::Normal,
            Kind::ConfChange => EntryKind::ConfChange,
            _ => return None,
        };
        Some(Entry { index: self.index, term: self.term, kind, data: Bytes::copy_from_slice(self.data) })
    }

    /// The hard state it carries, if it is of that kind.
    pub(super) fn hard_state(&self) -> Option<HardState> {
        let vote = <[u8; 8]>::try_from(self.data).ok().filter(|_| self.kind == Some(Kind::HardState))?;
        Some(HardState { term: self.term, vote: u64::from_le_bytes(vote), commit: self.index })
    }

    /// Term and index as a mark.
    pub(super) fn mark(&self) -> SnapshotMark {
        SnapshotMark { index: self.index, term: self.term }
    }

    fn computed(&self, seed: &Hasher) -> u32 {
        let mut hasher = seed.clone();
        hasher.update(&self.bytes[..4]);
        hasher.update(&self.bytes[8..]);
        hasher.finalize()
    }
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Normal, Self::ConfChange, Self::HardState, Self::Mark, Self::Base, Self::End]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Appends an entry's record, not yet sealed.
pub(super) fn push_entry(out: &mut Vec<u8>, shard: ShardId, entry: &Entry) {
    let kind = match entry.kind {
        EntryKind::Normal => Kind::Normal,
        EntryKind::ConfChange => Kind::ConfChange,
    };
    push(out, shard, kind, 0, (entry.term, entry.index), &entry.data);
}

/// Appends a hard state's record, not yet sealed.
pub(super) fn push_hard_state(out: &mut Vec<u8>, shard: ShardId, state: HardState) {
    push(out, shard, Kind::HardState, 0, (state.term, state.commit), &state.vote.to_le_bytes());
}

/// Appends a record that consists of a position: [`Kind::Mark`], [`Kind::Base`], [`Kind::End`].
pub(super) fn push_position(out: &mut Vec<u8>, shard: ShardId, kind: Kind, flag: bool, at: SnapshotMark) {
    push(out, shard, kind, u8::from(flag), (at.term, at.index), &[]);
}

fn push(out: &mut Vec<u8>, shard: ShardId, kind: Kind, flag: u8, (term, index): (u64, u64), data: &[u8]) {
    out.extend_from_slice(&length(data.len()).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&shard.to_le_bytes());
    out.extend_from_slice(&[kind as u8, flag]);
    out.extend_from_slice(&term.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(data);
}

/// Where a round goes: what its checksums depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundPlace {
    pub(super) nonce: u64,
    pub(super) sequence: u64,
    pub(super) synced: bool,
}

/// Turns a buffer that starts with room for the header and goes on with records into a round: pads it, fills in header
/// and checksums, and shows every record to `each`.
pub(super) fn seal(round: &mut Vec<u8>, place: RoundPlace, mut each: impl FnMut(&Record<'_>)) {
    let seed = record_seed(place.nonce, place.sequence);
    let (mut at, mut records) = (ROUND_HEADER, 0u32);
    while let Some(record) = Record::first(&round[at..]) {
        each(&record);
        let (checksum, size) = (record.computed(&seed), record.size());
        round[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        at += size;
        records += 1;
    }
    assert_eq!(at, round.len(), "the buffer holds whole records");
    round.resize(round.len().next_multiple_of(ROUND_ALIGN), 0);
    let (header, payload) = round.split_at_mut(ROUND_HEADER);
    mask(payload, place.nonce, place.sequence);
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&length(payload.len()).to_le_bytes());
    header[8..16].copy_from_slice(&place.sequence.to_le_bytes());
    header[16..20].copy_from_slice(&records.to_le_bytes());
    header[20..24].fill(0);
    header[24..28].copy_from_slice(&(if place.synced { 0 } else { UNSYNCED }).to_le_bytes());
    let checksum = header_checksum(header, place.nonce);
    header[28..32].copy_from_slice(&checksum.to_le_bytes());
}

/// A verified round in a segment's bytes.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) sequence: u64,
    /// Position after it.
    pub(super) end: usize,
    records: Vec<u8>,
    count: u32,
}

impl Round {
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        walk(&self.records, self.count).map(|(_, record)| record)
    }
}

/// Why there is no valid round at some place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing was ever written from here on.
    Blank,
    /// A round was begun here and sectors of it are missing. Where it ends, if its header is there to say.
    Torn(Option<usize>),
    /// All sectors of a round are here and do not hold what was written.
    Damaged(Damage),
}

/// What is wrong, where, and with whose record if that can be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) record: Option<(ShardId, u64)>,
    pub(super) what: String,
}

/// The round at `at` of a segment's bytes. `expected` is its sequence number, if known.
pub(super) fn read_round(bytes: &[u8], at: usize, nonce: u64, expected: Option<u64>) -> Result<Round, Stop> {
    let Some(header) = bytes.get(at..at + ROUND_HEADER) else { return Err(Stop::Blank) };
    if is_zero(header) {
        return Err(if is_zero(&bytes[at..]) { Stop::Blank } else { Stop::Torn(None) });
    }
    let start = at + ROUND_HEADER;
    let damaged = |what: String| {
        let record = expected.and_then(|sequence| first_owner(&bytes[start..], nonce, sequence));
        Stop::Damaged(Damage { offset: at, record, what })
    };
    if !is_header(header, nonce) {
        return Err(damaged("the header of a round has a wrong checksum".into()));
    }
    let sequence = u64_at(header, 8);
    if let Some(expected) = expected.filter(|expected| *expected != sequence) {
        return Err(damaged(format!("round {sequence} stands where round {expected} belongs")));
    }
    let end = usize::try_from(u32_at(header, 4)).ok().and_then(|payload| start.checked_add(payload));
    let Some(masked) = end.and_then(|end| bytes.get(start..end)) else {
        return Err(damaged("a round is longer than its segment".into()));
    };
    let (mut records, count) = (masked.to_vec(), u32_at(header, 16));
    mask(&mut records, nonce, sequence);
    match verify(&records, count, &record_seed(nonce, sequence)) {
        Ok(()) => Ok(Round { sequence, end: start + records.len(), records, count }),
        Err(_) if portions(start, masked).any(is_zero) => Err(Stop::Torn(end)),
        Err((offset, record)) => {
            let hint = if u32_at(header, 24) & UNSYNCED == 0 { "" } else { " (it was written with durability memory)" };
            let what = format!("a record has a wrong checksum in round {sequence}{hint}");
            Err(Stop::Damaged(Damage { offset: start + offset, record, what }))
        }
    }
}

/// The position of the first header of a round at or after `at`, which is where only zeros or a torn round may be.
pub(super) fn find_header(bytes: &[u8], at: usize, nonce: u64) -> Option<usize> {
    (at..bytes.len().saturating_sub(ROUND_HEADER - 1))
        .step_by(ROUND_ALIGN)
        .find(|at| u32_at(bytes, *at) == MAGIC && is_header(&bytes[*at..*at + ROUND_HEADER], nonce))
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && rest.iter().all(|byte| *byte == 0)
}

/// A CRC-32 that starts with a segment's nonce.
pub(super) fn seeded(nonce: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher
}

fn record_seed(nonce: u64, sequence: u64) -> Hasher {
    let mut hasher = seeded(nonce);
    hasher.update(&sequence.to_le_bytes());
    hasher
}

fn header_checksum(header: &[u8], nonce: u64) -> u32 {
    let mut hasher = seeded(nonce);
    hasher.update(&header[..ROUND_HEADER - 4]);
    hasher.finalize()
}

fn is_header(header: &[u8], nonce: u64) -> bool {
    u32_at(header, 0) == MAGIC && u32_at(header, 28) == header_checksum(header, nonce)
}

/// Checks every record and the padding; else where the first wrong one is, and whose it says to be.
fn verify(records: &[u8], count: u32, seed: &Hasher) -> Result<(), (usize, Option<(ShardId, u64)>)> {
    let (mut end, mut found) = (0, 0);
    for (at, record) in walk(records, count) {
        if record.kind.is_none() || record.computed(seed) != record.checksum {
            return Err((at, Some((record.shard, record.index))));
        }
        end = at + record.size();
        found += 1;
    }
    let padding = &records[end..];
    if found == count && padding.len() < ROUND_ALIGN && is_zero(padding) { Ok(()) } else { Err((end, None)) }
}

fn walk(records: &[u8], count: u32) -> impl Iterator<Item = (usize, Record<'_>)> {
    let mut at = 0;
    (0..count).map_while(move |_| {
        let record = Record::first(&records[at..])?;
        let found = (at, record);
        at += record.size();
        Some(found)
    })
}

/// Whose record follows a header that cannot be trusted: only a hint for the message.
fn first_owner(masked: &[u8], nonce: u64, sequence: u64) -> Option<(ShardId, u64)> {
    let mut bytes = masked.to_vec();
    mask(&mut bytes, nonce, sequence);
    let record = Record::first(&bytes)?;
    record.kind?;
    Some((record.shard, record.index))
}

/// Adds pseudorandom bits (splitmix64), or takes them away again.
fn mask(payload: &mut [u8], nonce: u64, sequence: u64) {
    let mut state = nonce ^ sequence.rotate_left(32);
    for word in payload.as_chunks_mut::<8>().0 {
        state = state.wrapping_add(GOLDEN);
        *word = (u64::from_le_bytes(*word) ^ mixed(state)).to_le_bytes();
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the number.
pub(super) fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The parts of `bytes`, which lie at `offset` of a file, by sector.
fn portions(offset: usize, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).filter(|head| !head.is_empty()).chain(rest.chunks(SECTOR_BYTES))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("segments are smaller than 4 GiB, and nothing in them is larger")
}
