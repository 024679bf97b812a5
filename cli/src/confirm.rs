//! `doorbuster confirm`: sell a reservation's units; the money was taken elsewhere.

use crate::error::CliError;
use crate::output::Output;
use crate::target::TargetArgs;
use crate::view::{reservation_reply_json, reservation_table};

/// Runs it.
pub async fn run(args: TargetArgs, output: Output) -> Result<(), CliError> {
    let client = args.connection.open().await?;
    let reply = client.confirm(args.target()).await?;
    output.print(|| reservation_table(&reply), || reservation_reply_json(&reply));
    Ok(())
}
