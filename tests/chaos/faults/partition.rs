//! Partitions between servers: silent ones, in which everything sent arrives after all or is lost, and ones that break and
//! refuse connections.

use super::{Fault, Scene};
use crate::chaos::network::{Wire, stall_one_way};
use crate::chaos::proxy::{Flow, Weather};
use doorbuster_cli::error::CliError;
use doorbuster_protocol::types::NodeId;
use rand::RngExt as _;

/// A leader hears of no other server, nor they of it; clients may reach it still, or not.
pub const ISOLATED: Fault = Fault { name: "partition: a leader isolated", strike: |scene| Box::pin(isolated(scene)) };
/// The same with broken and refused connections, of any server.
pub const CUT_OFF: Fault = Fault { name: "partition: a server cut off", strike: |scene| Box::pin(cut_off(scene)) };
/// What a server says gets through and what it should hear does not, or the other way round.
pub const ONE_WAY: Fault = Fault { name: "partition: one way", strike: |scene| Box::pin(one_way(scene)) };
/// Two servers do not hear each other; both hear the third.
pub const PAIR: Fault = Fault { name: "partition: between two", strike: |scene| Box::pin(pair(scene)) };

async fn isolated(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.some_leader().await;
    let with_clients = scene.rng.random_bool(0.5);
    let meant = |wire: Wire| touches(wire, node) || with_clients && wire == Wire::Clients(node);
    scene.stage.network.change(meant, |_, weather| silence(weather));
    scene.last(500, 3500).await;
    let breaking = scene.rng.random_bool(0.5);
    scene.stage.network.heal(meant, breaking);
    Ok(())
}

async fn cut_off(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.any_node();
    let meant = |wire: Wire| touches(wire, node);
    scene.stage.network.change(meant, |_, weather| {
        weather.refuses = true;
        weather.storm();
    });
    scene.last(500, 3000).await;
    scene.stage.network.heal(meant, false);
    Ok(())
}

async fn one_way(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.some_leader().await;
    let silenced = scene.rng.random_bool(0.5);
    for other in scene.stage.cluster.nodes().into_iter().filter(|other| *other != node) {
        let (from, to) = if silenced { (node, other) } else { (other, node) };
        stall_one_way(&scene.stage.network, from, to);
    }
    scene.last(500, 3500).await;
    let breaking = scene.rng.random_bool(0.3);
    scene.stage.network.heal(|wire| touches(wire, node), breaking);
    Ok(())
}

async fn pair(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let third = scene.any_node();
    let meant = |wire: Wire| matches!(wire, Wire::Peers { from, to } if from != third && to != third);
    scene.stage.network.change(meant, |_, weather| silence(weather));
    scene.last(800, 4000).await;
    let breaking = scene.rng.random_bool(0.5);
    scene.stage.network.heal(meant, breaking);
    Ok(())
}

fn touches(wire: Wire, node: NodeId) -> bool {
    matches!(wire, Wire::Peers { from, to } if from == node || to == node)
}

fn silence(weather: &mut Weather) {
    weather.forth = Flow::Stalled;
    weather.back = Flow::Stalled;
}
