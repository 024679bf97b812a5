//! Gateways killed and stopped while they pay and write orders.

use super::{Fault, Scene};
use doorbuster_cli::error::CliError;
use rand::RngExt as _;

/// One.
pub const KILLED: Fault = Fault { name: "gateway killed", strike: |scene| Box::pin(killed(scene)) };
/// All at once.
pub const ALL_KILLED: Fault = Fault { name: "all gateways killed", strike: |scene| Box::pin(all_killed(scene)) };
/// One, longer than the others wait for its lock in the database.
pub const PAUSED: Fault = Fault { name: "gateway stopped (SIGSTOP)", strike: |scene| Box::pin(paused(scene)) };

async fn killed(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let gateway = scene.rng.random_range(0..scene.stage.gateways.len());
    scene.stage.gateways[gateway].lock().await.kill()?;
    scene.last(0, 1500).await;
    scene.stage.gateways[gateway].lock().await.start_again()
}

async fn all_killed(scene: &mut Scene<'_>) -> Result<(), CliError> {
    for gateway in &scene.stage.gateways {
        gateway.lock().await.kill()?;
    }
    for gateway in &scene.stage.gateways {
        scene.last(0, 500).await;
        gateway.lock().await.start_again()?;
    }
    Ok(())
}

async fn paused(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let gateway = scene.rng.random_range(0..scene.stage.gateways.len());
    scene.stage.gateways[gateway].lock().await.freeze()?;
    scene.last(500, 3000).await;
    scene.stage.gateways[gateway].lock().await.unfreeze()
}
