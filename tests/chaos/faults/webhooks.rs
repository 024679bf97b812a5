//! Webhooks that do not arrive, arrive much too late and all at once, or arrive and are not known to have.

use super::{Fault, Scene};
use crate::chaos::network::Wire;
use crate::chaos::proxy::{Flow, Weather};
use doorbuster_cli::error::CliError;
use rand::RngExt as _;

/// None gets through, and the provider knows or does not; or all do, and it does not know.
pub const LOST: Fault = Fault { name: "webhooks lost", strike: |scene| Box::pin(lost(scene)) };
/// What is sent meanwhile comes when it is over.
pub const HELD_BACK: Fault = Fault { name: "webhooks held back", strike: |scene| Box::pin(held_back(scene)) };

/// Whether it is theirs.
pub(super) fn webhooks(wire: Wire) -> bool {
    wire == Wire::Webhooks
}

async fn lost(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let how = scene.rng.random_range(0..3);
    scene.stage.network.change(webhooks, |_, weather| match how {
        0 => weather.back = Flow::Stalled,
        1 => weather.swallows = true,
        _ => {
            weather.refuses = true;
            Weather::storm(weather);
        }
    });
    scene.last(500, 3000).await;
    scene.stage.network.heal(webhooks, true);
    Ok(())
}

async fn held_back(scene: &mut Scene<'_>) -> Result<(), CliError> {
    scene.stage.network.change(webhooks, |_, weather| weather.forth = Flow::Stalled);
    scene.last(500, 3000).await;
    scene.stage.network.heal(webhooks, false);
    Ok(())
}
