//! A network that takes its time.

use super::{Fault, Scene};
use crate::chaos::network::Wire;
use crate::chaos::proxy::Flow;
use doorbuster_cli::error::CliError;
use rand::RngExt as _;
use std::time::Duration;

/// Between servers; each wire its own.
pub const PEERS: Fault = Fault { name: "delay between servers", strike: |scene| Box::pin(peers(scene)) };
/// Between clients and servers.
pub const CLIENTS: Fault = Fault { name: "delay to clients", strike: |scene| Box::pin(clients(scene)) };

async fn peers(scene: &mut Scene<'_>) -> Result<(), CliError> {
    delay(scene, |wire| matches!(wire, Wire::Peers { .. }), 60).await
}

async fn clients(scene: &mut Scene<'_>) -> Result<(), CliError> {
    delay(scene, |wire| matches!(wire, Wire::Clients(_)), 200).await
}

async fn delay(scene: &mut Scene<'_>, meant: fn(Wire) -> bool, most: u64) -> Result<(), CliError> {
    let nodes = scene.stage.cluster.nodes();
    for node in nodes {
        let by = Duration::from_millis(scene.rng.random_range(1..=most));
        let of_node = |wire| match wire {
            Wire::Peers { from, .. } => from == node,
            Wire::Clients(to) => to == node,
            Wire::Database | Wire::Provider | Wire::Webhooks => false,
        };
        scene.stage.network.change(
            |wire| meant(wire) && of_node(wire),
            |_, weather| {
                weather.forth = Flow::Late(by);
                weather.back = Flow::Late(by);
            },
        );
    }
    scene.last(1000, 3000).await;
    scene.stage.network.heal(meant, false);
    Ok(())
}
