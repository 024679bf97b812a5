//! From the files of a log back to what the shards had appended.
//!
//! Segments are read in order, round by round, each of which must carry the next sequence number. Where the rounds end,
//! one of three things is found:
//! * zeros: the log simply ends here;
//! * a torn round, and no sign of anything written after it: the last round, which nobody was told is durable. It is cut
//!   off and its place overwritten with zeros, so that the next round finds what it counts on and a second crash cannot
//!   bring parts of it back;
//! * anything else is damage, and the log is refused.
//!
//! What is accepted is made certain before anybody relies on it: the last round may have been written but never synced, or
//! its sync may have failed and only the page cache still shows it. It is written again and synced, and so is the
//! directory.
//!
//! One thing cannot be told by one log alone: when the last sector that was synced is lost as a whole, what began in it
//! looks torn.

use std::{collections::VecDeque, sync::Arc};

use doorbuster_planted::{self as planted, Bug};

use super::{
    LogConfig, LogError,
    extent::{DELETED, Extent},
    record::{self, Damage, Kind, ROUND_HEADER, Record, Round, Stop},
    segment::{self, DATA_START, Segment},
};
use crate::{
    disk::{Disk, write_whole},
    types::{Entry, HardState, Recovered, ShardId, SnapshotMark},
};

/// Zeros are written in pieces of this size when a tail is cut.
const ZERO_CHUNK: usize = 1 << 20;

/// A log as found, ready to be written to.
pub(super) struct Found {
    /// Number and length in bytes of the segments that hold rounds, ascending; the last is `active`.
    pub(super) segments: VecDeque<(u64, usize)>,
    pub(super) active: Segment,
    /// Where the next round goes in `active`.
    pub(super) end: usize,
    /// Sequence number of the next round.
    pub(super) sequence: u64,
    /// Segments after `active`, all zeros.
    pub(super) spares: VecDeque<Segment>,
    pub(super) extents: Vec<Extent>,
    pub(super) recovered: Vec<Recovered>,
}

/// Reads, checks and settles the log. On disk only the torn tail changes.
pub(super) fn recover(disk: &Arc<dyn Disk>, config: &LogConfig) -> Result<Found, LogError> {
    let numbers = segment::list(&**disk, config)?;
    if numbers.is_empty() {
        return Err(LogError::Missing { directory: config.directory.clone() });
    }
    let mut walk = Walk::new(config);
    let mut bytes = Vec::new();
    for number in numbers {
        let segment = segment::open(&**disk, config, number, &mut bytes)?;
        if config.sync {
            // An earlier life may have run with durability memory.
            segment.file.sync_data().map_err(|e| LogError::io("sync", &segment.path, e, &**disk))?;
        }
        walk.segment(&segment, &bytes)?;
    }
    let (cut, last_round) = (walk.cut.take(), walk.last_round.take());
    let found = walk.finish(last_round.as_ref())?;
    settle(&**disk, config, cut, last_round)?;
    Ok(found)
}

/// The place of a round or of a torn tail.
struct Span {
    segment: Segment,
    start: usize,
    end: usize,
}

struct Walk<'a> {
    config: &'a LogConfig,
    segments: VecDeque<(u64, usize)>,
    spares: VecDeque<Segment>,
    last_round: Option<Span>,
    cut: Option<Span>,
    sequence: Option<u64>,
    replay: Replay,
}

impl<'a> Walk<'a> {
    fn new(config: &'a LogConfig) -> Self {
        Self {
            config,
            segments: VecDeque::new(),
            spares: VecDeque::new(),
            last_round: None,
            cut: None,
            sequence: None,
            replay: Replay::new(config.shards),
        }
    }

    fn segment(&mut self, segment: &Segment, bytes: &[u8]) -> Result<(), LogError> {
        if segment.number == 1 {
            self.sequence = Some(1);
        }
        let mut at = DATA_START;
        let stop = loop {
            match record::read_round(bytes, at, segment.nonce, self.sequence) {
                Ok(round) => at = self.round(segment, at, &round)?,
                Err(stop) => break stop,
            }
        };
        match stop {
            Stop::Blank => {}
            // Planted: whatever cannot be read is taken for a torn tail.
            Stop::Damaged(_) | Stop::Torn(_) if planted::on(Bug::CutAtDamage) => self.cut_off(segment, bytes, at),
            Stop::Damaged(damage) => return Err(damaged(segment, damage)),
            Stop::Torn(end) => self.torn(segment, bytes, at, end)?,
        }
        self.spares.push_back(segment.clone());
        if at > DATA_START {
            self.segments.extend(self.spares.drain(..).map(|segment| (segment.number, segment.length)));
        }
        Ok(())
    }

    fn round(&mut self, segment: &Segment, at: usize, round: &Round) -> Result<usize, LogError> {
        if let Some(cut) = &self.cut {
            let what = format!("a round is torn or missing here, but segment {} goes on after it", segment.number);
            return Err(damaged(&cut.segment, Damage { offset: cut.start, record: None, what }));
        }
        self.replay.round(segment.number, round).map_err(|(record, what)| {
            let offset = at + ROUND_HEADER;
            damaged(segment, Damage { offset, record: Some(record), what })
        })?;
        self.last_round = Some(Span { segment: segment.clone(), start: at, end: round.end });
        self.sequence = Some(round.sequence + 1);
        Ok(round.end)
    }

    /// Only the last round of all can be torn: whatever was written after it proves that it had been synced.
    fn torn(&mut self, segment: &Segment, bytes: &[u8], at: usize, end: Option<usize>) -> Result<(), LogError> {
        if end.is_some_and(|end| !record::is_zero(&bytes[end..])) {
            let what = "a part of a round is missing here, but something was written after it".into();
            return Err(damaged(segment, Damage { offset: at, record: None, what }));
        }
        if let Some(later) = record::find_header(bytes, at + ROUND_HEADER, segment.nonce) {
            let what = format!("a round is missing here, but a later one is intact at offset {later}");
            return Err(damaged(segment, Damage { offset: at, record: None, what }));
        }
        if let Some(first) = &self.cut {
            let what = format!("a round is torn here, but segment {} was written to after it", segment.number);
            return Err(damaged(&first.segment, Damage { offset: first.start, record: None, what }));
        }
        self.cut_off(segment, bytes, at);
        Ok(())
    }

    fn cut_off(&mut self, segment: &Segment, bytes: &[u8], at: usize) {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(at, |last| last + 1);
        self.cut = Some(Span { segment: segment.clone(), start: at, end });
    }

    fn finish(mut self, last_round: Option<&Span>) -> Result<Found, LogError> {
        let (active, end) = match last_round {
            Some(round) => (round.segment.clone(), round.end),
            None => (self.unwritten()?, DATA_START),
        };
        let (extents, recovered) = self.replay.finish().map_err(|(record, what)| {
            let offset = end;
            damaged(&active, Damage { offset, record: Some(record), what })
        })?;
        let sequence = self.sequence.unwrap_or(1);
        Ok(Found { segments: self.segments, active, end, sequence, spares: self.spares, extents, recovered })
    }

    /// The first segment of a log that was formatted and never written to.
    fn unwritten(&mut self) -> Result<Segment, LogError> {
        let Some(first) = self.spares.pop_front() else {
            return Err(LogError::Missing { directory: self.config.directory.clone() });
        };
        if first.number != 1 {
            let what = "the oldest segment holds no records, so older ones are missing".into();
            return Err(damaged(&first, Damage { offset: DATA_START, record: None, what }));
        }
        self.segments.push_back((first.number, first.length));
        Ok(first)
    }
}

/// Makes what was accepted certain and what was cut gone; see the head of this file.
fn settle(disk: &dyn Disk, config: &LogConfig, cut: Option<Span>, last_round: Option<Span>) -> Result<(), LogError> {
    if let Some(Span { segment, start, end }) = cut {
        zero(disk, &segment, start, end)?;
    }
    if let Some(Span { segment, start, end }) = last_round {
        let mut round = vec![0; end - start];
        let failed = |action, source| LogError::io(action, &segment.path, source, disk);
        segment.file.read_exact_at(start as u64, &mut round).map_err(|e| failed("read", e))?;
        write_whole(&*segment.file, start as u64, &round).map_err(|e| failed("write the last round again to", e))?;
        segment.file.sync_data().map_err(|e| failed("sync", e))?;
    }
    disk.sync_dir(&config.directory).map_err(|e| LogError::io("sync directory", &config.directory, e, disk))
}

fn zero(disk: &dyn Disk, segment: &Segment, start: usize, end: usize) -> Result<(), LogError> {
    let zeros = vec![0; (end - start).min(ZERO_CHUNK)];
    let mut at = start;
    while at < end {
        let step = (end - at).min(ZERO_CHUNK);
        write_whole(&*segment.file, at as u64, &zeros[..step])
            .map_err(|e| LogError::io("cut the torn tail of", &segment.path, e, disk))?;
        at += step;
    }
    segment.file.sync_data().map_err(|e| LogError::io("sync", &segment.path, e, disk))
}

fn damaged(segment: &Segment, damage: Damage) -> LogError {
    LogError::Damaged {
        file: segment.path.clone(),
        offset: damage.offset as u64,
        shard: damage.record.map(|(shard, _)| shard),
        index: damage.record.map(|(_, index)| index),
        what: damage.what,
    }
}

/// Whose record contradicts what was read before, and how.
type Wrong = ((ShardId, u64), String);

/// The shards as the records read so far leave them.
struct Replay {
    started: bool,
    shards: Vec<Shard>,
}

#[derive(Clone, Default)]
struct Shard {
    extent: Extent,
    entries: VecDeque<Entry>,
}

impl Replay {
    fn new(shards: u16) -> Self {
        Self { started: false, shards: vec![Shard::default(); usize::from(shards)] }
    }

    fn round(&mut self, segment: u64, round: &Round) -> Result<(), Wrong> {
        for record in round.records() {
            let wrong = |what: String| ((record.shard, record.index), what);
            let Some(shard) = self.shards.get_mut(usize::from(record.shard)) else {
                return Err(wrong("there is no such shard".into()));
            };
            shard.record(&record, segment, !self.started).map_err(wrong)?;
        }
        self.started = true;
        Ok(())
    }

    fn finish(self) -> Result<(Vec<Extent>, Vec<Recovered>), Wrong> {
        let (mut extents, mut recovered) = (Vec::new(), Vec::new());
        for (number, shard) in (0..).zip(self.shards) {
            let hard_state = shard.settled().map_err(|(index, what)| ((number, index), what))?;
            let (mut extent, entries) = (shard.extent, Vec::from(shard.entries));
            extent.hard_state = hard_state;
            recovered.push(Recovered { shard: number, hard_state, mark: extent.mark, entries });
            extents.push(extent);
        }
        Ok((extents, recovered))
    }
}

impl Shard {
    /// `first`: this is the first round read, whose checkpoint is all that is known of the time before it.
    fn record(&mut self, record: &Record<'_>, segment: u64, first: bool) -> Result<(), String> {
        let differs = |what: &str, has: SnapshotMark| {
            format!("the checkpoint puts the {what} at index {}, the records before it at {}", record.index, has.index)
        };
        match record.kind {
            Some(Kind::Normal | Kind::ConfChange) => self.entry(record, segment)?,
            Some(Kind::HardState) => {
                self.extent.hard_state = record.hard_state().ok_or("a hard state without a vote")?;
            }
            Some(Kind::Mark) => self.mark(record.mark(), record.flag == 1),
            Some(Kind::Base) if first => self.extent.restart(record.mark()),
            Some(Kind::End) if first => self.extent.assume(record.mark()),
            Some(Kind::Base) if self.extent.mark != record.mark() => return Err(differs("mark", self.extent.mark)),
            Some(Kind::End) if self.extent.end() != record.mark() => return Err(differs("end", self.extent.end())),
            Some(Kind::Base | Kind::End) => {}
            None => return Err("a record of an unknown kind; use the version that wrote it".into()),
        }
        Ok(())
    }

    fn entry(&mut self, record: &Record<'_>, segment: u64) -> Result<(), String> {
        let Extent { mark, last, .. } = &self.extent;
        if !self.extent.accepts(record.index) {
            return Err(format!("this entry does not fit a log from {} to {last}", mark.index + 1));
        }
        self.extent.append(record.index, record.term, segment);
        while self.entries.back().is_some_and(|entry| entry.index >= record.index) {
            self.entries.pop_back();
        }
        self.entries.extend(record.entry());
        Ok(())
    }

    fn mark(&mut self, mark: SnapshotMark, continues: bool) {
        self.extent.advance(mark, continues);
        if self.extent.last <= mark.index {
            self.entries.clear();
        }
        while self.entries.front().is_some_and(|entry| entry.index <= mark.index) {
            self.entries.pop_front();
        }
    }

    /// The hard state, if everything that it and the checkpoints speak of is here.
    fn settled(&self) -> Result<HardState, (u64, String)> {
        let Extent { hard_state, mark, last, .. } = &self.extent;
        if let Some(oldest) = self.extent.oldest().filter(|oldest| oldest.segment == DELETED) {
            let what =
                format!("entries {} to {} are missing: segments that held them are gone", oldest.first, oldest.last);
            return Err((oldest.first, what));
        }
        if hard_state.commit > *last {
            return Err((*last, format!("entries up to {} are committed, but the log ends here", hard_state.commit)));
        }
        // Planted: the vote is not among what survives a restart.
        let vote = if planted::on(Bug::VoteNotPersisted) { 0 } else { hard_state.vote };
        Ok(HardState { commit: hard_state.commit.max(mark.index), vote, ..*hard_state })
    }
}
