//! Servers stopped in their tracks for longer than their lease and than an election takes (300 to 500 ms).

use super::{Fault, Scene};
use doorbuster_cli::error::CliError;

/// One that leads.
pub const ONE: Fault = Fault { name: "leader stopped (SIGSTOP)", strike: |scene| Box::pin(one(scene)) };
/// Two of three.
pub const MAJORITY: Fault = Fault { name: "majority stopped (SIGSTOP)", strike: |scene| Box::pin(majority(scene)) };

async fn one(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.some_leader().await;
    scene.stage.cluster.freeze(node)?;
    scene.last(600, 3000).await;
    scene.stage.cluster.unfreeze(node)
}

async fn majority(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let spared = scene.any_node();
    let others: Vec<_> = scene.stage.cluster.nodes().into_iter().filter(|node| *node != spared).collect();
    for node in &others {
        scene.stage.cluster.freeze(*node)?;
    }
    scene.last(600, 1500).await;
    for node in others {
        scene.stage.cluster.unfreeze(node)?;
        scene.last(0, 300).await;
    }
    Ok(())
}
