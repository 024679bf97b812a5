//! Trouble between the gateways and a payment provider that is well: charges that arrive when nobody waits for them any
//! more, answers that never come.

use super::webhooks::webhooks;
use super::{Fault, Scene};
use crate::chaos::network::Wire;
use crate::chaos::proxy::{Flow, Weather};
use doorbuster_cli::error::CliError;
use rand::RngExt as _;

/// Connections break, some times.
pub const BROKEN: Fault = Fault { name: "provider's connections broken", strike: |scene| Box::pin(broken(scene)) };
/// Requests, or answers, do not arrive; then they do, or their connection is gone. Half the times nobody hears of what came of
/// it, either: somebody before the gateways says that webhooks have arrived, and loses them.
pub const STALLED: Fault = Fault { name: "provider stalled one way", strike: |scene| Box::pin(stalled(scene)) };

fn provider(wire: Wire) -> bool {
    wire == Wire::Provider
}

async fn broken(scene: &mut Scene<'_>) -> Result<(), CliError> {
    for _ in 0..scene.rng.random_range(2..=10) {
        scene.stage.network.change(provider, |_, weather| Weather::storm(weather));
        scene.last(5, 300).await;
    }
    Ok(())
}

async fn stalled(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let (requests, breaking) = (scene.rng.random_bool(0.6), scene.rng.random_bool(0.3));
    let silent = scene.rng.random_bool(0.5);
    scene.stage.network.change(webhooks, |_, weather| weather.swallows = silent);
    scene.stage.network.change(provider, |_, weather| match requests {
        true => weather.forth = Flow::Stalled,
        false => weather.back = Flow::Stalled,
    });
    scene.last(500, 3000).await;
    scene.stage.network.heal(provider, breaking);
    if silent {
        // Charges that have arrived now are decided, and told of, in this time.
        scene.last(400, 1200).await;
        scene.stage.network.heal(webhooks, false);
    }
    Ok(())
}
