//! `kill -9` of servers: of one, of a leader, of all, and of one again and again as it starts.

use super::{Fault, Scene};
use doorbuster_cli::error::CliError;
use doorbuster_protocol::types::NodeId;
use rand::RngExt as _;

/// Any one, for a while.
pub const ONE: Fault = Fault { name: "server killed", strike: |scene| Box::pin(one(scene)) };
/// One that leads.
pub const LEADER: Fault = Fault { name: "leader killed", strike: |scene| Box::pin(leader(scene)) };
/// Every one; they come back in any order.
pub const ALL: Fault = Fault { name: "all servers killed", strike: |scene| Box::pin(all(scene)) };
/// One, as often as it starts, for some starts.
pub const LOOP: Fault = Fault { name: "server killed as it starts", strike: |scene| Box::pin(again_and_again(scene)) };

async fn one(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.any_node();
    kill_for_a_while(scene, node).await
}

async fn leader(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.some_leader().await;
    kill_for_a_while(scene, node).await
}

async fn kill_for_a_while(scene: &mut Scene<'_>, node: NodeId) -> Result<(), CliError> {
    scene.stage.cluster.kill(node)?;
    scene.last(0, 2000).await;
    scene.stage.cluster.start_node(node)
}

async fn all(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let mut nodes = scene.stage.cluster.nodes();
    for node in &nodes {
        scene.stage.cluster.kill(*node)?;
    }
    while !nodes.is_empty() {
        scene.last(0, 400).await;
        let node = nodes.swap_remove(scene.rng.random_range(0..nodes.len()));
        scene.stage.cluster.start_node(node)?;
    }
    Ok(())
}

async fn again_and_again(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.any_node();
    for _ in 0..scene.rng.random_range(3..=5) {
        scene.stage.cluster.kill(node)?;
        scene.stage.cluster.start_node(node)?;
        scene.last(5, 400).await;
    }
    Ok(())
}
