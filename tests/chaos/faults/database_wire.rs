//! Trouble between the gateways and a database that is well: a commit whose answer never comes.

use super::{Fault, Scene};
use crate::chaos::network::Wire;
use crate::chaos::proxy::{Flow, Weather};
use doorbuster_cli::error::CliError;
use rand::RngExt as _;

/// Connections break, some times.
pub const BROKEN: Fault = Fault { name: "database connections broken", strike: |scene| Box::pin(broken(scene)) };
/// Statements, or their results, do not arrive; then they do, or their connection is gone.
pub const STALLED: Fault = Fault { name: "database stalled one way", strike: |scene| Box::pin(stalled(scene)) };

fn database(wire: Wire) -> bool {
    wire == Wire::Database
}

async fn broken(scene: &mut Scene<'_>) -> Result<(), CliError> {
    for _ in 0..scene.rng.random_range(2..=10) {
        scene.stage.network.change(database, |_, weather| Weather::storm(weather));
        scene.last(5, 300).await;
    }
    Ok(())
}

async fn stalled(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let (statements, breaking) = (scene.rng.random_bool(0.5), scene.rng.random_bool(0.7));
    scene.stage.network.change(database, |_, weather| match statements {
        true => weather.forth = Flow::Stalled,
        false => weather.back = Flow::Stalled,
    });
    scene.last(200, 2500).await;
    scene.stage.network.heal(database, breaking);
    Ok(())
}
