//! What a run is made from, besides its actors. A seed draws one; to shrink a violation, take things out of it.

use std::time::Duration;

use super::faults::{Fault, Faults};
use super::rng::Rng;

/// All there is to know before the world begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Everything that happens by chance comes from it.
    pub seed: u64,
    /// Nodes of the cluster: 3 or 5.
    pub nodes: u16,
    /// Shards of the cluster.
    pub shards: u16,
    /// What goes wrong.
    pub faults: Faults,
    /// How long it goes wrong, in virtual time; then everything heals, and the cluster must come back.
    pub span: Duration,
    /// Time between two ticks of a node.
    pub tick: Duration,
    /// Base election timeout.
    pub election: Duration,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// A shard's snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// ... or after so many bytes of them. A sixteenth of it is kept behind a snapshot.
    pub snapshot_bytes: u64,
    /// Bound of each of a shard's queues, in requests.
    pub queue: usize,
    /// Most commands in one log entry.
    pub batch: usize,
    /// A node, by its place, whose machine stops in this disk operation since its first start, counted from 1.
    pub crash_at: Option<(usize, u64)>,
    /// Print every event.
    pub trace: bool,
}

impl Scenario {
    /// The one that belongs to a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Self::with(seed, Faults::draw(&Rng::new(seed)))
    }

    /// The one that belongs to a seed, with every fault at its highest rate.
    #[must_use]
    pub fn draw_all_high(seed: u64) -> Self {
        Self::with(seed, Faults::all_high())
    }

    /// The one that belongs to a seed, with other faults.
    #[must_use]
    pub fn with(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed).stream("scenario");
        let nodes = if rng.percent(70) { 3 } else { 5 };
        let shards = u16::try_from(rng.between(1, 3)).unwrap_or(1);
        let span = Duration::from_secs(rng.between(8, 20));
        let election = Duration::from_millis(200 * rng.between(1, 3));
        let segment_bytes = [64 << 10, 128 << 10, 1 << 20][rng.index(3)];
        let often = rng.between(20, 400);
        let bad = faults.on(Fault::BadSnapshots);
        let queue = [16, 64, 1024][rng.index(3)];
        let batch = [8, 64, 256][rng.index(3)];
        Self {
            seed,
            nodes,
            shards,
            faults,
            span,
            tick: Duration::from_millis(20),
            election,
            segment_bytes,
            snapshot_entries: if bad { 1 } else { often },
            snapshot_bytes: if bad { 16 } else { 1 << 20 },
            queue,
            batch,
            crash_at: None,
            trace: false,
        }
    }
}
