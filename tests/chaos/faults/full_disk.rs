//! A disk that is full: its server may end by itself, saying so; once there is room it comes back.

use super::{Fault, Scene};
use crate::chaos::stage::ON_SMALL_DISK;
use doorbuster_cli::error::CliError;
use std::time::Duration;

/// How long it stays full, unless its server ends before.
const FULL_FOR: Duration = Duration::from_secs(6);

/// The small disk's server.
pub const FULL: Fault = Fault { name: "disk full", strike: |scene| Box::pin(full(scene)) };

async fn full(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let Some(disk) = &scene.stage.disk else { return Err(CliError::failed("there is no small disk")) };
    disk.fill()?;
    let ended = scene.ends_by_itself(ON_SMALL_DISK, FULL_FOR).await;
    disk.make_room()?;
    if !ended {
        return Ok(()); // it had enough prepared
    }
    let said = scene.stage.cluster.log_tail(ON_SMALL_DISK, 40);
    scene.last(0, 500).await;
    scene.stage.cluster.start_node(ON_SMALL_DISK)?;
    match said.contains("full") || said.contains("No space left") {
        true => Ok(()),
        false => Err(CliError::wrong(format!("node {ON_SMALL_DISK} ended on a full disk without saying so:\n{said}"))),
    }
}
