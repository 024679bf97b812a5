//! PostgreSQL stopped in good order, ended at once, and killed; in the middle of a batch, because each of the
//! transaction's steps takes long then.

use super::{Fault, Scene};
use crate::chaos::network::Wire;
use crate::chaos::postgres::Ending;
use crate::chaos::proxy::Flow;
use doorbuster_cli::error::CliError;
use std::time::Duration;

/// In good order.
pub const STOPPED: Fault = Fault { name: "PostgreSQL stopped", strike: |scene| Box::pin(end(scene, Ending::Fast)) };
/// As a power cut would.
pub const IMMEDIATE: Fault =
    Fault { name: "PostgreSQL stopped at once", strike: |scene| Box::pin(end(scene, Ending::Immediate)) };
/// `kill -9`.
pub const KILLED: Fault = Fault { name: "PostgreSQL killed", strike: |scene| Box::pin(end(scene, Ending::Killed)) };

async fn end(scene: &mut Scene<'_>, ending: Ending) -> Result<(), CliError> {
    let database = |wire| wire == Wire::Database;
    scene.stage.network.change(database, |_, weather| weather.back = Flow::Late(Duration::from_millis(40)));
    scene.last(200, 600).await;
    scene.stage.postgres.lock().await.down(ending).await?;
    scene.stage.network.heal(database, false);
    scene.last(0, 2500).await;
    scene.stage.postgres.lock().await.up().await
}
