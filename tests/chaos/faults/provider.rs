//! The payment provider killed, stopped, out of order, and asked for more than it answers. Gateways wait for it for
//! 700 ms, and buyers for as long as their reservations are pinned: 400 to 1500 ms.

use super::{Fault, Scene};
use doorbuster_cli::error::CliError;
use rand::RngExt as _;
use serde_json::Value;

/// `kill -9`; it comes back with its ledger.
pub const KILLED: Fault = Fault { name: "provider killed", strike: |scene| Box::pin(killed(scene)) };
/// Longer than a gateway waits.
pub const STOPPED: Fault = Fault { name: "provider stopped (SIGSTOP)", strike: |scene| Box::pin(stopped(scene)) };
/// It answers 503, and tells nothing.
pub const DOWN: Fault = Fault { name: "provider answers 503", strike: |scene| Box::pin(down(scene)) };
/// It answers 429 to most.
pub const LIMITED: Fault = Fault { name: "provider answers 429", strike: |scene| Box::pin(limited(scene)) };

async fn killed(scene: &mut Scene<'_>) -> Result<(), CliError> {
    scene.stage.provider.lock().await.kill().await?;
    scene.last(0, 2500).await;
    scene.stage.provider.lock().await.up().await
}

async fn stopped(scene: &mut Scene<'_>) -> Result<(), CliError> {
    scene.stage.provider.lock().await.freeze()?;
    scene.last(900, 3000).await;
    scene.stage.provider.lock().await.unfreeze()
}

async fn down(scene: &mut Scene<'_>) -> Result<(), CliError> {
    with(scene, "is_down", true.into(), false.into()).await
}

async fn limited(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let rate = scene.rng.random_range(1..=8_u32);
    with(scene, "requests_per_second", rate.into(), 0.into()).await
}

async fn with(scene: &mut Scene<'_>, fault: &str, on: Value, off: Value) -> Result<(), CliError> {
    scene.stage.provider.lock().await.set(fault, on).await?;
    scene.last(500, 3000).await;
    scene.stage.provider.lock().await.set(fault, off).await
}
