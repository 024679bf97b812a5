//! The network's condition: which ways are cut, and how long what is sent takes.

use super::faults::{Fault, Faults};
use super::rng::Rng;

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

/// Ways between nodes, and chance for what travels on them.
pub struct Net {
    rng: Rng,
    nodes: usize,
    /// How many partitions cut the way from one node to another.
    cuts: Vec<u8>,
    faults: Faults,
}

/// What happens to a frame between peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It arrives after so many nanoseconds, in order.
    Arrives(u64),
    /// It arrives after so many nanoseconds, whatever else arrives.
    Overtakes(u64),
    /// It arrives in order, and once more so many nanoseconds later.
    Twice(u64, u64),
    /// It does not arrive.
    Lost,
}

impl Net {
    /// A whole one.
    #[must_use]
    pub fn new(rng: Rng, nodes: usize, faults: Faults) -> Self {
        Self { rng, nodes, cuts: vec![0; nodes * nodes], faults }
    }

    /// From now on nothing goes wrong by itself; cuts stay until they are mended.
    pub fn calm(&mut self) {
        self.faults = Faults::none();
    }

    /// Cuts ways, each from one node to another.
    pub fn cut(&mut self, ways: &[(usize, usize)]) {
        for (from, to) in ways {
            self.cuts[from * self.nodes + to] += 1;
        }
    }

    /// Mends ways that were cut. Those that are whole again.
    pub fn mend(&mut self, ways: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let mut whole = Vec::new();
        for (from, to) in ways {
            let cuts = &mut self.cuts[from * self.nodes + to];
            *cuts -= 1;
            if *cuts == 0 {
                whole.push((*from, *to));
            }
        }
        whole
    }

    /// Whether nothing gets from one to the other.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.nodes + to] > 0
    }

    /// How long bytes take.
    pub fn latency(&mut self) -> u64 {
        let usual = 50_000 + self.rng.below(300_000);
        if self.rng.below(10_000) < self.faults.of(Fault::MessageDelay) * 5 {
            let most = if self.rng.percent(20) { 1500 } else { 150 };
            return usual + self.rng.below(most) * MS;
        }
        usual
    }

    /// What happens to a frame between peers.
    pub fn passage(&mut self) -> Passage {
        let dice = self.rng.below(100_000);
        let (loss, twice, reordered) = (
            self.faults.of(Fault::MessageLoss) * 80,
            self.faults.of(Fault::MessageDuplication) * 80,
            self.faults.of(Fault::MessageReordering) * 150,
        );
        let latency = self.latency();
        if dice < loss {
            Passage::Lost
        } else if dice < loss + twice {
            let most = if self.rng.percent(10) { 800 } else { 30 };
            Passage::Twice(latency, self.rng.below(most) * MS)
        } else if dice < loss + twice + reordered {
            Passage::Overtakes(latency + self.rng.below(20) * MS)
        } else {
            Passage::Arrives(latency)
        }
    }

    /// Whether a snapshot's stream breaks at this chunk.
    pub fn stream_breaks(&mut self) -> bool {
        self.rng.below(1000) < self.faults.of(Fault::SnapshotBreak) * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_whole_when_every_cut_is_mended() {
        let mut net = Net::new(Rng::new(1), 3, Faults::none());
        net.cut(&[(0, 1), (1, 0)]);
        net.cut(&[(0, 1)]);
        assert!(net.is_cut(0, 1) && net.is_cut(1, 0) && !net.is_cut(0, 2));
        assert_eq!(net.mend(&[(0, 1), (1, 0)]), [(1, 0)]);
        assert!(net.is_cut(0, 1));
        assert_eq!(net.mend(&[(0, 1)]), [(0, 1)]);
    }

    #[test]
    fn a_calm_network_is_in_order_and_quick() {
        let mut net = Net::new(Rng::new(1), 3, Faults::all_high());
        let mut wild: Vec<Passage> = (0..2000).map(|_| net.passage()).collect();
        wild.retain(|passage| !matches!(passage, Passage::Arrives(_)));
        assert!(wild.contains(&Passage::Lost));
        assert!(wild.iter().any(|passage| matches!(passage, Passage::Twice(..))));
        assert!(wild.iter().any(|passage| matches!(passage, Passage::Overtakes(_))));
        net.calm();
        for _ in 0..2000 {
            assert!(matches!(net.passage(), Passage::Arrives(nanos) if nanos < MS));
        }
    }
}
