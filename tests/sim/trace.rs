//! What happened, in order: a running hash of all of it, and, if wanted, lines to read.

use std::collections::VecDeque;

use super::rng::mix;
use crate::history::Moment;

/// Lines kept for whoever asks what led to a violation.
const CONTEXT: usize = 200;

/// Adds a word to a hash.
#[must_use]
pub const fn fold(hash: u64, word: u64) -> u64 {
    mix(hash.rotate_left(5) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Adds bytes to a hash.
#[must_use]
pub fn fold_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29)
    });
    let last = rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    fold(hash, last)
}

/// The record of a run.
pub struct Trace {
    hash: u64,
    printing: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty one.
    #[must_use]
    pub fn new(printing: bool) -> Self {
        Self { hash: 0, printing, lines: VecDeque::new() }
    }

    /// Whether lines are wanted.
    #[must_use]
    pub fn is_printing(&self) -> bool {
        self.printing
    }

    /// Something happened, told by a few numbers.
    pub fn event(&mut self, at: Moment, kind: u64, numbers: &[u64]) {
        self.hash = numbers.iter().fold(fold(fold(self.hash, at.0), kind), |hash, number| fold(hash, *number));
    }

    /// Bytes that went from one place to another.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash = fold_bytes(self.hash, bytes);
    }

    /// A line to read. Not part of the hash.
    pub fn line(&mut self, at: Moment, text: impl FnOnce() -> String) {
        if !self.printing {
            return;
        }
        let (millis, micros) = (at.0 / 1_000_000, at.0 / 1_000 % 1_000);
        let line = format!("{:>4}.{:03}.{micros:03} {}", millis / 1000, millis % 1000, text());
        println!("{line}");
        self.lines.push_back(line);
        if self.lines.len() > CONTEXT {
            self.lines.pop_front();
        }
    }

    /// Over all that happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    #[must_use]
    pub fn context(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
