//! Operations that have been done, so that doing one again has no second effect: remembered by id with
//! a fingerprint of their contents, and forgotten in the order they were done in.

use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::types::{Millis, OperationId, Timestamp};

use crate::digest::{Digest, Kind, key};
use crate::directory::{Directory, Hashed};
use crate::journal::Journal;

/// See the module.
pub(crate) struct Operations {
    done: Journal<Operation>,
    index: Directory<Indexed>,
    digest: u64,
}

/// An operation that has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    /// Digest of what it was asked to do.
    pub(crate) fingerprint: u64,
    pub(crate) at: Timestamp,
}

/// Index entry: 8 bytes.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    /// Top half of the id's hash.
    hash: u32,
    /// Low half of the position in `done`.
    position: u32,
}

impl Hashed for Indexed {
    fn hash(&self) -> u64 {
        u64::from(self.hash) << 32
    }
}

impl Operation {
    pub(crate) fn digest(&self) -> u64 {
        Digest::of(Kind::Operation).wide(self.id.get()).word(self.fingerprint).word(self.at.get()).finish()
    }
}

impl Operations {
    pub(crate) fn new() -> Self {
        Self { done: Journal::starting_at(0), index: Directory::new(), digest: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.done.len()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// In the order they were done.
    pub(crate) fn journal(&self) -> &Journal<Operation> {
        &self.done
    }

    /// Whether it has been done before. With other contents it is refused.
    pub(crate) fn is_replay(&self, id: OperationId, fingerprint: u64) -> Result<bool, Refusal> {
        match self.find(id) {
            None => Ok(false),
            Some(operation) if operation.fingerprint == fingerprint => Ok(true),
            Some(_) => Err(Refusal::ConflictingRetry),
        }
    }

    pub(crate) fn find(&self, id: OperationId) -> Option<&Operation> {
        let entry = self.index.find(indexed_hash(id), |entry| self.at(entry).is_some_and(|done| done.id == id))?;
        self.at(entry)
    }

    /// Remembers an operation that is not known.
    pub(crate) fn remember(&mut self, operation: Operation) {
        let hash = (indexed_hash(operation.id) >> 32) as u32;
        let position = low_half(self.done.next());
        self.index.insert(Indexed { hash, position });
        self.digest = self.digest.wrapping_add(operation.digest());
        self.done.push(operation);
    }

    /// When the oldest may be forgotten.
    pub(crate) fn next_forgotten(&self, retention: Millis) -> Option<Timestamp> {
        self.done.front().map(|operation| operation.at.plus(retention))
    }

    /// Forgets those whose time is over, at most `limit` of them.
    pub(crate) fn forget(&mut self, now: Timestamp, retention: Millis, limit: usize) {
        for _ in 0..limit {
            if self.next_forgotten(retention).is_none_or(|end| end > now) {
                return;
            }
            let position = low_half(self.done.first());
            if let Some(operation) = self.done.pop() {
                self.digest = self.digest.wrapping_sub(operation.digest());
                let removed = self.index.remove(indexed_hash(operation.id), |entry| entry.position == position);
                assert!(removed.is_some(), "operation {} was not in the index", operation.id);
            }
        }
    }

    fn at(&self, entry: &Indexed) -> Option<&Operation> {
        let first = self.done.first();
        let offset = entry.position.wrapping_sub(low_half(first));
        self.done.get(first + u64::from(offset))
    }
}

fn indexed_hash(id: OperationId) -> u64 {
    key(id.get()) >> 32 << 32
}

/// Enough of a position to tell it from the others in memory, of which there are fewer than 2^32.
#[allow(clippy::cast_possible_truncation)]
fn low_half(position: u64) -> u32 {
    position as u32
}
