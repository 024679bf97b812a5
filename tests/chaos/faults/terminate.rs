//! A server asked to end, as in an upgrade: it hands over, and is started again.

use super::{Fault, Scene};
use doorbuster_cli::error::CliError;

/// Any one.
pub const ONE: Fault = Fault { name: "server restarted in good order", strike: |scene| Box::pin(one(scene)) };

async fn one(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let node = scene.any_node();
    scene.stage.cluster.terminate(node).await?;
    scene.last(0, 800).await;
    scene.stage.cluster.start_node(node)
}
