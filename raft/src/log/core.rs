//! The log without threads: appends gather in a buffer, a round writes and syncs them.
//!
//! Contract: [`LogCore::append`] touches no file; [`LogCore::flush_round`] does one write and one sync, after which
//! [`LogCore::take_durable`] tells whose appends are safe. A round is one write, so that after a crash all of it is there
//! or none. Any error is final: the core then answers [`LogError::Failed`] and writes nothing more.
//!
//! An append that is larger than a segment takes several rounds. Its hard state is split, so that a crash between them
//! leaves a shard that commits nothing beyond its last entry.

use std::{collections::VecDeque, sync::Arc, thread};

use doorbuster_planted::{self as planted, Bug};

use super::{
    LogConfig, LogError, LogUsage, Pin,
    extent::Extent,
    record::{self, CHECKPOINT_BYTES, Kind, RECORD_HEADER, ROUND_ALIGN, ROUND_HEADER, Record, RoundPlace},
    recovery::{self, Found},
    segment::{self, DATA_START, Segment},
};
use crate::{
    disk::{Disk, create_durable_dir, write_whole},
    types::{Append, HardState, Recovered, ShardId, SnapshotMark},
};

/// A node's log, driven by one caller. The log thread is one; a simulator is another.
pub struct LogCore {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    /// Number and length in bytes of the segments with rounds, ascending.
    segments: VecDeque<(u64, usize)>,
    obsolete: Vec<(u64, usize)>,
    active: Segment,
    end: usize,
    sequence: u64,
    spares: VecDeque<Segment>,
    /// The shards with all appends, the buffered ones included: what the next append has to fit.
    tip: Vec<Extent>,
    /// The shards as written.
    written: Vec<Extent>,
    /// Room for a round's header, then records.
    buffer: Vec<u8>,
    tickets: VecDeque<Waiting>,
    durable: Vec<(ShardId, u64)>,
    rounds: u64,
    bytes: u64,
    failed: bool,
}

/// A ticket whose append ends at this length of the buffer.
struct Waiting {
    end: usize,
    shard: ShardId,
    ticket: u64,
}

/// Makes a new, empty log in `config.directory` (which is created). The first start of a node does this, once.
///
/// # Errors
/// [`LogError::Exists`] if a log is there, [`LogError::Foreign`] if the configuration makes no sense, [`LogError::Io`].
pub fn format(disk: &dyn Disk, config: &LogConfig) -> Result<(), LogError> {
    let directory = &config.directory;
    check(config)?;
    create_durable_dir(disk, directory).map_err(|e| LogError::io("create directory", directory, e, disk))?;
    if !segment::list(disk, config)?.is_empty() {
        return Err(LogError::Exists { directory: directory.clone() });
    }
    segment::prepare(disk, config, 1)?;
    Ok(())
}

impl LogCore {
    /// Opens a log that was formatted before and recovers it. One [`Recovered`] a shard, in their order.
    ///
    /// # Errors
    /// [`LogError::Missing`] if it was never formatted; [`LogError::Damaged`] or [`LogError::Foreign`] if it cannot be
    /// trusted; [`LogError::Io`].
    pub fn open(disk: Arc<dyn Disk>, config: LogConfig) -> Result<(Self, Vec<Recovered>), LogError> {
        check(&config)?;
        let Found { segments, active, end, sequence, spares, extents, recovered } = recovery::recover(&disk, &config)?;
        let mut core = Self {
            disk,
            config,
            segments,
            obsolete: Vec::new(),
            active,
            end,
            sequence,
            spares,
            tip: extents.clone(),
            written: extents,
            buffer: vec![0; ROUND_HEADER],
            tickets: VecDeque::new(),
            durable: Vec::new(),
            rounds: 0,
            bytes: 0,
            failed: false,
        };
        core.drop_other_sizes()?;
        core.retire();
        Ok((core, recovered))
    }

    /// Takes an append into the buffer.
    ///
    /// # Errors
    /// [`LogError::Misuse`] if it does not fit what the shard has appended before.
    pub fn append(&mut self, append: &Append) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        let result = self.encode(append);
        self.failed |= result.is_err();
        result
    }

    /// Bytes of records that wait for a round.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len().saturating_sub(ROUND_HEADER)
    }

    /// Whether appends wait for a round.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// Writes and syncs one round. `true` if more is left, because it did not fit one segment.
    ///
    /// # Errors
    /// [`LogError::Io`], also for a short write and a full disk. What was not durable before is not durable.
    pub fn flush_round(&mut self) -> Result<bool, LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        // Only success takes it back: a panic or an early return must not leave a core that goes on.
        self.failed = true;
        let cut = self.cut();
        if cut > 0 {
            self.write(cut)?;
        }
        while let Some(Waiting { shard, ticket, .. }) = self.tickets.pop_front_if(|waiting| waiting.end <= cut) {
            self.durable.push((shard, ticket));
        }
        self.tickets.iter_mut().for_each(|waiting| waiting.end -= cut);
        self.retire();
        self.failed = false;
        Ok(self.is_pending())
    }

    /// Shard and ticket of every append that became durable since the last call, in the order of the appends.
    pub fn take_durable(&mut self) -> std::vec::Drain<'_, (ShardId, u64)> {
        self.durable.drain(..)
    }

    /// Prepares the next segment and deletes obsolete ones, on the spot. The log thread has a helper do both instead.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn maintain(&mut self) -> Result<(), LogError> {
        if let Some(number) = self.wants_segment() {
            let segment = segment::prepare(&*self.disk, &self.config, number)?;
            self.provide(segment);
        }
        for number in self.take_obsolete() {
            segment::remove(&*self.disk, &self.config, number)?;
        }
        Ok(())
    }

    /// Syncs what a log with durability memory has only written. For a clean end.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.active.file.sync_data().map_err(|e| self.io("sync", e))
    }

    /// What the log takes on disk, and who keeps its oldest segment.
    #[must_use]
    pub fn usage(&self) -> LogUsage {
        let written = self.segments.iter().chain(&self.obsolete).map(|(_, length)| *length);
        let prepared = self.spares.iter().map(|spare| spare.length);
        let oldest = self.written.iter().enumerate().filter_map(|(shard, extent)| Some((shard, extent.oldest()?)));
        let pin =
            oldest.filter(|(_, oldest)| oldest.segment < self.active.number).min_by_key(|(_, oldest)| oldest.segment);
        LogUsage {
            bytes: written.clone().chain(prepared.clone()).map(|length| length as u64).sum(),
            segments: written.count() + prepared.count(),
            pin: pin.and_then(|(shard, oldest)| {
                Some(Pin { shard: ShardId::try_from(shard).ok()?, first: oldest.first, last: oldest.last })
            }),
            rounds: self.rounds,
            written: self.bytes,
        }
    }

    /// See [`LogConfig::round_bytes`].
    pub(super) fn round_bytes(&self) -> usize {
        self.config.round_bytes
    }

    /// The number of the segment to prepare, if none is prepared.
    pub(super) fn wants_segment(&self) -> Option<u64> {
        self.spares.is_empty().then_some(self.active.number + 1)
    }

    /// Whether the next round cannot be written before a segment is provided.
    pub(super) fn is_stuck(&self) -> bool {
        self.spares.is_empty() && self.needs_roll(self.cut())
    }

    /// Hands over a segment that was wanted.
    pub(super) fn provide(&mut self, segment: Segment) {
        assert_eq!(Some(segment.number), self.wants_segment(), "segments are numbered without gaps");
        self.spares.push_back(segment);
    }

    /// Segments that may be deleted, oldest first.
    pub(super) fn take_obsolete(&mut self) -> Vec<u64> {
        self.obsolete.drain(..).map(|(number, _)| number).collect()
    }

    /// Removes prepared segments of another size than is now configured: a round might not fit them.
    fn drop_other_sizes(&mut self) -> Result<(), LogError> {
        if self.spares.iter().all(|spare| spare.length as u64 == self.config.segment_bytes) {
            return Ok(());
        }
        while let Some(spare) = self.spares.pop_back() {
            segment::remove(&*self.disk, &self.config, spare.number)?;
        }
        Ok(())
    }

    fn encode(&mut self, append: &Append) -> Result<(), LogError> {
        let shard = append.shard;
        let misuse = |what: String| LogError::Misuse { shard, what };
        let large = self.largest_round();
        let Some(tip) = self.tip.get_mut(usize::from(shard)) else {
            return Err(misuse(format!("there are only {} shards", self.config.shards)));
        };
        if let Some(mark) = append.mark.filter(|mark| mark.index > tip.mark.index) {
            let continues = tip.continues(mark);
            if !continues && mark.index <= tip.hard_state.commit {
                let (at, commit) = (mark.index, tip.hard_state.commit);
                return Err(misuse(format!(
                    "a snapshot of another history ends at {at}, {commit} entries are committed"
                )));
            }
            tip.advance(mark, continues);
            record::push_position(&mut self.buffer, shard, Kind::Mark, continues, mark);
        }
        let size: usize = append.entries.iter().map(|entry| RECORD_HEADER + entry.data.len()).sum();
        if let Some(state) = append.hard_state.filter(|_| size > large - CHECKPOINT_BYTES) {
            let commit = tip.hard_state.commit.max(tip.mark.index);
            record::push_hard_state(&mut self.buffer, shard, HardState { commit, ..state });
        }
        for entry in &append.entries {
            if entry.data.len() > large - RECORD_HEADER {
                return Err(misuse(format!("entry {} is larger than a segment: make segments larger", entry.index)));
            }
            if !tip.accepts(entry.index) {
                let (from, to) = (tip.mark.index + 1, tip.last);
                return Err(misuse(format!("entry {} does not fit a log from {from} to {to}", entry.index)));
            }
            if entry.index <= tip.hard_state.commit {
                return Err(misuse(format!("entry {} would replace one that is committed", entry.index)));
            }
            tip.append(entry.index, entry.term, self.active.number);
            record::push_entry(&mut self.buffer, shard, entry);
        }
        if let Some(state) = append.hard_state {
            if state.commit > tip.last {
                return Err(misuse(format!("commits {}, but its log ends at {}", state.commit, tip.last)));
            }
            tip.hard_state = state;
            record::push_hard_state(&mut self.buffer, shard, state);
        }
        self.tickets.push_back(Waiting { end: self.buffer.len() - ROUND_HEADER, shard, ticket: append.ticket });
        Ok(())
    }

    /// How many of the buffered bytes the next round takes: all, or whole appends, or whole records of one large append.
    fn cut(&self) -> usize {
        let largest = self.largest_round();
        if self.buffered() <= largest {
            return self.buffered();
        }
        let appends = self.tickets.iter().map(|waiting| waiting.end).take_while(|end| *end <= largest).last();
        appends.filter(|end| *end > 0).unwrap_or_else(|| {
            let records = &self.buffer[ROUND_HEADER..];
            let mut cut = 0;
            while let Some(record) = Record::first(&records[cut..]).filter(|record| cut + record.size() <= largest) {
                cut += record.size();
            }
            cut
        })
    }

    /// Bytes of records that fit a fresh segment in one round, beside its checkpoint.
    fn largest_round(&self) -> usize {
        let segment = usize::try_from(self.config.segment_bytes).unwrap_or(usize::MAX);
        segment - DATA_START - ROUND_HEADER - ROUND_ALIGN - CHECKPOINT_BYTES * self.written.len()
    }

    fn needs_roll(&self, cut: usize) -> bool {
        let fresh = self.end == DATA_START;
        let checkpoint = if fresh { CHECKPOINT_BYTES * self.written.len() } else { 0 };
        cut > 0 && self.end + (ROUND_HEADER + checkpoint + cut).next_multiple_of(ROUND_ALIGN) > self.active.length
    }

    /// Writes and syncs the first `cut` bytes of records.
    fn write(&mut self, cut: usize) -> Result<(), LogError> {
        if self.needs_roll(cut) {
            self.roll()?;
        }
        let mut round = self.assemble(cut);
        let synced = self.config.sync;
        let place = RoundPlace { nonce: self.active.nonce, sequence: self.sequence, synced };
        let (written, segment) = (&mut self.written, self.active.number);
        record::seal(&mut round, place, |record| note(written, record, segment));
        write_whole(&*self.active.file, self.end as u64, &round).map_err(|e| self.io("write", e))?;
        // Planted: durable because it is written.
        if synced && !planted::on(Bug::AcknowledgeBeforeSync) {
            thread::sleep(self.config.sync_delay);
            self.sync()?;
        }
        self.end += round.len();
        self.sequence += 1;
        self.rounds += 1;
        self.bytes += round.len() as u64;
        self.recycle(round);
        Ok(())
    }

    /// A header's room, the checkpoint if the segment is fresh, and the records; these are left out of the buffer.
    fn assemble(&mut self, cut: usize) -> Vec<u8> {
        let fresh = self.end == DATA_START;
        if !fresh && cut == self.buffered() {
            return std::mem::take(&mut self.buffer);
        }
        let mut round = vec![0; ROUND_HEADER];
        if fresh {
            for (shard, extent) in (0..).zip(&self.written) {
                push_checkpoint(&mut round, shard, extent);
            }
        }
        round.extend(self.buffer.drain(ROUND_HEADER..ROUND_HEADER + cut));
        round
    }

    /// Keeps the memory of a round for the next one.
    fn recycle(&mut self, mut round: Vec<u8>) {
        if self.buffer.is_empty() {
            round.clear();
            round.resize(ROUND_HEADER, 0);
            round.shrink_to(self.config.round_bytes * 2);
            self.buffer = round;
        }
    }

    /// Goes on to the next segment; prepares it now if nobody did ahead of time.
    fn roll(&mut self) -> Result<(), LogError> {
        if let Some(number) = self.wants_segment() {
            let segment = segment::prepare(&*self.disk, &self.config, number)?;
            self.provide(segment);
        }
        if let Some(next) = self.spares.pop_front() {
            self.segments.push_back((next.number, next.length));
            self.active = next;
            self.end = DATA_START;
        }
        Ok(())
    }

    /// Finds the segments that hold nothing that is still needed. Those are always the oldest, so that none goes missing
    /// in the middle; the hard states and marks are in the checkpoint of the active one, or after it.
    fn retire(&mut self) {
        let oldest = self.written.iter().filter_map(|extent| extent.oldest().map(|oldest| oldest.segment)).min();
        let needed = oldest.unwrap_or(self.active.number).min(self.active.number);
        while let Some(segment) = self.segments.pop_front_if(|(number, _)| *number < needed) {
            self.obsolete.push(segment);
        }
    }

    fn io(&self, action: &'static str, source: std::io::Error) -> LogError {
        LogError::io(action, &self.active.path, source, &*self.disk)
    }
}

/// Limits of the format: what a log is made with and opened with must hold a checkpoint and something beside it.
fn check(config: &LogConfig) -> Result<(), LogError> {
    let foreign = |what: String| LogError::Foreign { file: config.directory.clone(), what };
    let least = (DATA_START * 2 + CHECKPOINT_BYTES * usize::from(config.shards)).next_multiple_of(DATA_START) as u64;
    if config.shards == 0 {
        return Err(foreign("a log needs at least 1 shard".into()));
    }
    if !(least..u64::from(u32::MAX)).contains(&config.segment_bytes)
        || !config.segment_bytes.is_multiple_of(DATA_START as u64)
    {
        let given = config.segment_bytes;
        return Err(foreign(format!(
            "segments of {given} bytes: use a multiple of {DATA_START}, at least {least} with {} shards, below 4 GiB",
            config.shards
        )));
    }
    Ok(())
}

fn push_checkpoint(out: &mut Vec<u8>, shard: ShardId, extent: &Extent) {
    record::push_hard_state(out, shard, extent.hard_state);
    record::push_position(out, shard, Kind::Base, false, extent.mark);
    record::push_position(out, shard, Kind::End, false, extent.end());
}

/// Follows a record that is being written. The tip has checked all of it.
fn note(written: &mut [Extent], record: &Record<'_>, segment: u64) {
    let extent = &mut written[usize::from(record.shard)];
    match record.kind {
        Some(Kind::Normal | Kind::ConfChange) => extent.append(record.index, record.term, segment),
        Some(Kind::Mark) => extent.advance(SnapshotMark { index: record.index, term: record.term }, record.flag == 1),
        Some(Kind::HardState) => extent.hard_state = record.hard_state().unwrap_or(extent.hard_state),
        Some(Kind::Base | Kind::End) | None => {}
    }
}
