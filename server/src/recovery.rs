//! From a data folder to replicas: identity → snapshots → log → state. On any [`Disk`], without threads.
//!
//! Nothing is served from a folder that is missing, another node's or damaged; the error says what is wrong
//! and what to do. Whatever was recovered is what a quorum may have been told is durable, so nothing of it is
//! skipped to get going.

use std::sync::Arc;

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::types::ShardId;
use doorbuster_raft::disk::Disk;
use doorbuster_raft::log::{self, LogConfig, LogError};
use doorbuster_raft::snapshot::SnapshotStore;
use doorbuster_raft::transport::Incarnation;
use doorbuster_raft::{Monotonic, Node, Recovered, SnapshotMark};

use crate::error::ServerError;
use crate::identity::{self, DataFolder, Identity};
use crate::settings::NodeSettings;
use crate::shard::{Machine, Shard, Surroundings};

/// Makes an empty or missing folder a node's. Done once, before its first start, with an incarnation that was never
/// used before.
///
/// # Errors
/// The folder is not empty, or the disk refuses.
pub fn format(disk: &dyn Disk, settings: &NodeSettings, incarnation: Incarnation) -> Result<Identity, ServerError> {
    let identity = identity::format(disk, &settings.data, &settings.owner(), incarnation)?;
    log::format(disk, &settings.log(incarnation))?;
    Ok(identity)
}

/// What was found on disk, and the log that goes on from there.
pub struct Recovery<L> {
    /// Whose folder it is.
    pub folder: Arc<DataFolder>,
    /// One store a shard.
    pub stores: Vec<SnapshotStore>,
    /// The log.
    pub log: L,
    /// One replica a shard, in its state at the newest snapshot, and the entries behind that.
    pub replicas: Vec<(Recovered, Machine)>,
}

/// Opens and reads the data folder. Blocks for as long as the disk takes.
///
/// # Errors
/// The folder cannot be served from.
pub fn recover<L>(
    disk: Arc<dyn Disk>,
    settings: &NodeSettings,
    open_log: impl FnOnce(Arc<dyn Disk>, LogConfig) -> Result<(L, Vec<Recovered>), LogError>,
) -> Result<Recovery<L>, ServerError> {
    let folder = Arc::new(identity::open(Arc::clone(&disk), &settings.data, &settings.owner())?);
    let stores = (0..settings.shards)
        .map(|shard| SnapshotStore::open(Arc::clone(&disk), &settings.snapshot_folder(shard), shard))
        .collect::<Result<Vec<_>, _>>()?;
    let (log, recovered) = open_log(disk, settings.log(folder.identity().incarnation))?;
    let replicas = recovered.into_iter().zip(&stores);
    let replicas = replicas.map(|(shard, store)| replica(shard, store, settings)).collect::<Result<_, _>>()?;
    Ok(Recovery { folder, stores, log, replicas })
}

/// The state at the newest snapshot, and the entries behind it.
fn replica(
    recovered: Recovered,
    store: &SnapshotStore,
    settings: &NodeSettings,
) -> Result<(Recovered, Machine), ServerError> {
    let shard = ShardId(recovered.shard);
    let Some((file, bytes)) = store.load()? else {
        if recovered.mark.index > 0 {
            return Err(ServerError::SnapshotMissing { shard, index: recovered.mark.index });
        }
        return Ok((recovered, Machine::new(shard, settings.limits)));
    };
    if file.mark.index < recovered.mark.index {
        return Err(ServerError::SnapshotMissing { shard, index: recovered.mark.index });
    }
    let machine = Machine::restored(shard, settings.limits, &bytes)
        .map_err(|reason| ServerError::SnapshotUnusable { file: file.path.clone(), reason })?;
    // Planted: how much is applied is taken from the log, not from the state.
    let committed = recovered.entries.iter().find(|entry| entry.index == recovered.hard_state.commit);
    let mark = match committed {
        Some(entry) if planted::on(Bug::AppliedIndexApart) => SnapshotMark { index: entry.index, term: entry.term },
        _ => file.mark,
    };
    Ok((recovered.with_snapshot(mark), machine))
}

/// The shards of the recovered replicas, in order.
///
/// # Errors
/// A log that contradicts itself, or settings that cannot work.
pub fn shards(
    settings: &NodeSettings,
    replicas: Vec<(Recovered, Machine)>,
    around: &Surroundings,
    now: Monotonic,
) -> Result<Vec<Shard>, ServerError> {
    let start = |(recovered, machine): (Recovered, Machine)| {
        let id = ShardId(recovered.shard);
        let node = Node::new(settings.replica(recovered.shard), recovered, machine)?;
        Ok(Shard::new(id, node, around.clone(), settings.queues, settings.snapshots, now))
    };
    replicas.into_iter().map(start).collect()
}
