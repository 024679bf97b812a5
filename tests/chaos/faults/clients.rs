//! Trouble between clients, gateways among them, and servers that are well.

use super::{Fault, Scene};
use crate::chaos::network::Wire;
use crate::chaos::proxy::{Flow, Weather};
use doorbuster_cli::error::CliError;
use rand::RngExt as _;

/// Requests to one server, or its answers, do not arrive, or much too late.
pub const STALLED: Fault = Fault { name: "clients stalled one way", strike: |scene| Box::pin(stalled(scene)) };
/// Every client's connections break, some times.
pub const BROKEN: Fault = Fault { name: "clients' connections broken", strike: |scene| Box::pin(broken(scene)) };

async fn stalled(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.some_leader().await;
    let (requests, breaking) = (scene.rng.random_bool(0.5), scene.rng.random_bool(0.5));
    let meant = |wire: Wire| wire == Wire::Clients(node);
    scene.stage.network.change(meant, |_, weather| match requests {
        true => weather.forth = Flow::Stalled,
        false => weather.back = Flow::Stalled,
    });
    scene.last(300, 3000).await;
    scene.stage.network.heal(meant, breaking);
    Ok(())
}

async fn broken(scene: &mut Scene<'_>) -> Result<(), CliError> {
    for _ in 0..scene.rng.random_range(2..=8) {
        scene.stage.network.change(|wire| matches!(wire, Wire::Clients(_)), |_, weather| Weather::storm(weather));
        scene.last(20, 400).await;
    }
    Ok(())
}
