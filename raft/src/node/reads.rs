//! Reads on their way to a quorum's confirmation. All that are requested between two polls ask as one.

use std::collections::VecDeque;

use crate::effects::ReadReady;

#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Requested since the last poll.
    requested: Vec<u64>,
    /// Asked, not answered; each under its own number.
    asked: VecDeque<(u64, Vec<u64>)>,
    /// Confirmed; `index` is not applied yet.
    confirmed: VecDeque<ReadReady>,
    number: u64,
    count: usize,
}

impl Reads {
    /// Tokens that have not come back yet.
    pub(super) fn waiting(&self) -> usize {
        self.count
    }

    pub(super) fn request(&mut self, token: u64) {
        self.requested.push(token);
        self.count += 1;
    }

    /// What to ask the quorum with, if anything was requested.
    pub(super) fn ask(&mut self) -> Option<u64> {
        if self.requested.is_empty() {
            return None;
        }
        self.number += 1;
        self.asked.push_back((self.number, std::mem::take(&mut self.requested)));
        Some(self.number)
    }

    /// A quorum has answered `number`: those reads see the state at `index`.
    pub(super) fn confirm(&mut self, number: u64, index: u64) {
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == number) else { return };
        let tokens = self.asked.remove(at).map(|(_, tokens)| tokens).unwrap_or_default();
        self.confirmed.extend(tokens.into_iter().map(|token| ReadReady { token, index }));
    }

    /// Those whose index is applied.
    pub(super) fn take(&mut self, applied: u64, ready: &mut Vec<ReadReady>) {
        let before = ready.len();
        self.confirmed.retain(|read| {
            let done = read.index <= applied;
            if done {
                ready.push(*read);
            }
            !done
        });
        self.count -= ready.len() - before;
    }

    /// Leadership is lost: who was not confirmed never will be.
    pub(super) fn give_up(&mut self) {
        self.requested.clear();
        self.asked.clear();
        self.count = self.confirmed.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_once_their_index_is_applied() {
        let mut reads = Reads::default();
        assert_eq!(reads.ask(), None);
        reads.request(7);
        reads.request(8);
        let number = reads.ask().unwrap();
        reads.confirm(number, 5);
        reads.confirm(number, 5);
        let mut ready = Vec::new();
        reads.take(4, &mut ready);
        assert_eq!((ready.len(), reads.waiting()), (0, 2));
        reads.take(5, &mut ready);
        assert_eq!(ready, [ReadReady { token: 7, index: 5 }, ReadReady { token: 8, index: 5 }]);
        assert_eq!(reads.waiting(), 0);
    }

    #[test]
    fn what_is_not_confirmed_is_lost_with_leadership() {
        let mut reads = Reads::default();
        reads.request(1);
        let first = reads.ask().unwrap();
        reads.confirm(first, 9);
        reads.request(2);
        let second = reads.ask().unwrap();
        reads.give_up();
        reads.confirm(second, 9);
        let mut ready = Vec::new();
        reads.take(9, &mut ready);
        assert_eq!(ready, [ReadReady { token: 1, index: 9 }]);
    }
}
