//! Disks whose syncs are slow, and one whose sync fails: its server must end, and never sync again.

use super::{Fault, Scene};
use crate::chaos::sync::Syncs;
use doorbuster_cli::error::CliError;
use rand::RngExt as _;
use std::time::Duration;

/// How long a server may take to end after its first failed sync.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Of any servers, all of them at times.
pub const SLOW: Fault = Fault { name: "syncs slowed", strike: |scene| Box::pin(slow(scene)) };
/// Of one server.
pub const FAILED: Fault = Fault { name: "sync failed", strike: |scene| Box::pin(failed(scene)) };

async fn slow(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let syncs = built(scene)?.clone();
    for node in scene.stage.cluster.nodes() {
        if scene.rng.random_bool(0.6) {
            syncs.slow(node, Duration::from_millis(scene.rng.random_range(2..=150)))?;
        }
    }
    scene.last(800, 3000).await;
    scene.stage.cluster.nodes().into_iter().try_for_each(|node| syncs.plain(node))
}

async fn failed(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let syncs = built(scene)?.clone();
    let node = scene.any_node();
    syncs.fail(node)?;
    let ended = scene.ends_by_itself(node, ENDS_WITHIN).await;
    syncs.plain(node)?;
    if !ended {
        let what = format!("node {node} runs on {}s after its syncs began to fail", ENDS_WITHIN.as_secs());
        return Err(CliError::wrong(what));
    }
    scene.stage.noted("server ended by its failed sync");
    scene.last(0, 500).await;
    scene.stage.cluster.start_node(node)
}

fn built<'a>(scene: &Scene<'a>) -> Result<&'a Syncs, CliError> {
    scene.stage.syncs.as_ref().ok_or_else(|| CliError::failed("syncs cannot be slowed here"))
}
