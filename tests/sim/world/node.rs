//! A node of the cluster: its machine (disk, clocks), and its process while it runs.

use std::path::PathBuf;

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_raft::transport::Incarnation;
use doorbuster_server::solo::{Solo, SoloConfig};

use super::super::clocks::Clocks;
use super::super::disk::{Place, SimDisk};
use super::events::Event;
use super::shadow::Shadow;
use crate::history::Moment;

/// How a node that is down will come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It starts again, sooner or later.
    Returns,
    /// It has refused to serve from what its disk is, and stays down.
    Refused,
}

/// What happened to the disk as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// Nothing.
    No,
    /// There is an empty one in its place.
    Empty,
    /// Somebody has formatted the new one.
    Formatted,
}

/// A node.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) config: SoloConfig,
    pub(super) disk: SimDisk,
    pub(super) clocks: Clocks,
    pub(super) incarnation: Incarnation,
    /// The process, while it runs.
    pub(super) solo: Option<Solo>,
    /// One more with every process.
    pub(super) life: u64,
    pub(super) fate: Fate,
    pub(super) replaced: Replaced,
    pub(super) damaged: Vec<Place>,
    /// It crashes again while it starts, so many times.
    pub(super) loops: u64,
    /// The process stands still until then.
    pub(super) paused_until: Moment,
    /// What will happen to it when it goes on.
    pub(super) deferred: Vec<Event>,
    /// What its last turn before a pause wanted goes out only after it.
    pub(super) turn_at: Option<Moment>,
    pub(super) flushing: bool,
    pub(super) archiving: bool,
    pub(super) slow_disk: bool,
    pub(super) slow_node: bool,
    /// How many wall clocks its process was last seen to have heard of.
    pub(super) clocks_heard: usize,
    /// By shard: the last index seen applied, and the term it was last seen leading in.
    pub(super) applied: Vec<u64>,
    pub(super) led: Vec<Option<u64>>,
    /// By shard: what its log must have.
    pub(super) shadows: Vec<Shadow>,
}

impl Node {
    pub(super) fn new(config: SoloConfig, disk: SimDisk, incarnation: Incarnation) -> Self {
        let shards = usize::from(config.shards);
        Self {
            id: config.node,
            config,
            disk,
            clocks: Clocks::default(),
            incarnation,
            solo: None,
            life: 0,
            fate: Fate::Returns,
            replaced: Replaced::No,
            damaged: Vec::new(),
            loops: 0,
            paused_until: Moment(0),
            deferred: Vec::new(),
            turn_at: None,
            flushing: false,
            archiving: false,
            slow_disk: false,
            slow_node: false,
            clocks_heard: 0,
            applied: vec![0; shards],
            led: vec![None; shards],
            shadows: vec![Shadow::default(); shards],
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.solo.is_some()
    }

    /// Whether a process of this life runs.
    pub(super) fn lives(&self, life: u64) -> bool {
        self.is_up() && self.life == life
    }

    pub(super) fn leads(&self, shard: ShardId) -> Option<u64> {
        self.solo.as_ref()?.shard(shard)?.leads_in()
    }

    pub(super) fn leads_any(&self) -> bool {
        (0..self.config.shards).any(|shard| self.leads(ShardId(shard)).is_some())
    }

    /// Whether `text` names a file of its data folder. What is missing in one may show in the next.
    pub(super) fn names_a_file(&self, text: &str) -> bool {
        self.disk.files().iter().any(|file| text.contains(&file.display().to_string()))
    }

    /// Damage that is still on disk, as far as file names tell.
    pub(super) fn damaged_files(&self) -> Vec<PathBuf> {
        let present = self.damaged.iter().filter(|place| self.disk.has(&place.file));
        present.map(|place| place.file.clone()).collect()
    }
}
