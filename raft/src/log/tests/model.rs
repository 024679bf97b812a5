//! What a log means, written down so simply that it is obviously right, and random work for it.

use bytes::Bytes;

use super::SHARDS;
use crate::{
    disk::fault::Dice,
    types::{Append, Entry, EntryKind, HardState, Recovered, ShardId, SnapshotMark},
};

/// All shards as they should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model(pub(super) Vec<Recovered>);

impl Model {
    pub(super) fn apply(&mut self, append: &Append) {
        let shard = &mut self.0[usize::from(append.shard)];
        if let Some(mark) = append.mark.filter(|mark| mark.index > shard.mark.index) {
            let held = shard.entries.iter().any(|entry| (entry.index, entry.term) == (mark.index, mark.term));
            shard.entries.retain(|entry| held && entry.index > mark.index);
            shard.mark = mark;
            shard.hard_state.commit = shard.hard_state.commit.max(mark.index);
        }
        for entry in &append.entries {
            shard.entries.retain(|old| old.index < entry.index);
            shard.entries.push(entry.clone());
        }
        if let Some(state) = append.hard_state {
            shard.hard_state = HardState { commit: state.commit.max(shard.mark.index), ..state };
        }
    }

    /// What may be found when a crash comes in the middle of an append that takes several rounds.
    pub(super) fn parts(&self, append: &Append) -> Vec<Self> {
        let size: usize = append.entries.iter().map(|entry| entry.data.len()).sum();
        if size < 8000 {
            return Vec::new();
        }
        let part = |entries: usize| {
            let mut part = self.clone();
            part.apply(&Append { hard_state: None, entries: Vec::new(), ..append.clone() });
            let commit = part.0[usize::from(append.shard)].hard_state.commit;
            part.apply(&Append {
                mark: None,
                entries: append.entries[..entries].to_vec(),
                hard_state: append.hard_state.map(|state| HardState { commit, ..state }),
                ..append.clone()
            });
            part
        };
        (0..=append.entries.len()).map(part).collect()
    }

    /// An append that a raft node might make now.
    pub(super) fn random_append(&self, dice: &mut Dice, ticket: u64) -> Append {
        let number = ShardId::try_from(dice.below(u64::from(SHARDS))).unwrap();
        let mut after = self.clone();
        let mut append = Append { shard: number, ticket, entries: Vec::new(), hard_state: None, mark: None };
        if dice.chance(15) {
            append.mark = Some(random_mark(&self.0[usize::from(number)], dice));
            after.apply(&append);
        }
        let shard = &after.0[usize::from(number)];
        if dice.chance(80) {
            append.entries = random_entries(shard, dice);
            after.apply(&append);
        }
        let shard = &after.0[usize::from(number)];
        if dice.chance(40) {
            let commit = shard.hard_state.commit + dice.below(end(shard).index - shard.hard_state.commit + 1);
            append.hard_state = Some(HardState { term: dice.below(9), vote: dice.below(4), commit });
        }
        append
    }
}

fn end(shard: &Recovered) -> SnapshotMark {
    shard.entries.last().map_or(shard.mark, |last| SnapshotMark { index: last.index, term: last.term })
}

/// Of this log, of another history, or beyond the end.
fn random_mark(shard: &Recovered, dice: &mut Dice) -> SnapshotMark {
    let end = end(shard);
    if shard.entries.is_empty() || dice.chance(15) {
        return SnapshotMark { index: end.index + 1 + dice.below(5), term: end.term };
    }
    let entry = &shard.entries[dice.index(shard.entries.len())];
    let other = entry.index > shard.hard_state.commit && dice.chance(30);
    SnapshotMark { index: entry.index, term: entry.term + u64::from(other) }
}

/// A few entries, mostly at the end; now and then replacing some that are not committed, now and then a whole lot.
fn random_entries(shard: &Recovered, dice: &mut Dice) -> Vec<Entry> {
    let end = end(shard);
    let back = if dice.chance(25) { dice.below(end.index - shard.hard_state.commit + 1) } else { 0 };
    let (first, term) = (end.index + 1 - back, end.term + u64::from(back > 0 || dice.chance(5)));
    let (count, largest) = if dice.chance(3) { (20 + dice.below(20), 2000) } else { (1 + dice.below(4), 1500) };
    (first..first + count).map(|index| random_entry(index, term, largest, dice)).collect()
}

/// Random bytes, one byte over and over, or zeros: what a missing sector would look like.
fn random_entry(index: u64, term: u64, largest: u64, dice: &mut Dice) -> Entry {
    let length = if dice.chance(30) { dice.below(largest) } else { dice.below(80) };
    let fill = [None, Some(0), Some(0xff), Some(0)][dice.index(4)];
    let data: Vec<u8> = (0..length).map(|_| fill.unwrap_or_else(|| dice.next().to_le_bytes()[3])).collect();
    let kind = if dice.chance(5) { EntryKind::ConfChange } else { EntryKind::Normal };
    Entry { index, term, kind, data: Bytes::from(data) }
}
