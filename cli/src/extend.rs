//! `doorbuster extend`: hold a reservation longer.

use crate::entropy;
use crate::error::CliError;
use crate::names::{parse_duration, parse_reservation_id};
use crate::output::Output;
use crate::target::TargetArgs;
use crate::view::{reservation_reply_json, reservation_table};
use clap::Args;
use doorbuster_protocol::command::Extend;
use doorbuster_protocol::types::{Millis, OperationId, ReservationId};

/// `doorbuster extend ...`
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  doorbuster extend 7-000000000000000000000000000000ff --by 1m")]
pub struct ExtendArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How much later its deadline shall be, with a unit; the product's longest life bounds it
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    by: Millis,
    /// Idempotency key, 1 to 32 hex digits: the same key again extends once [default: a fresh one]
    #[arg(long, value_parser = parse_reservation_id, value_name = "HEX")]
    operation: Option<ReservationId>,
}

/// Runs it.
pub async fn run(args: ExtendArgs, output: Output) -> Result<(), CliError> {
    let client = args.target.connection.open().await?;
    let operation = args.operation.map_or_else(entropy::operation_id, |id| OperationId(id.0));
    let reply = client.extend(Extend { target: args.target.target(), operation, by: args.by }).await?;
    output.print(|| reservation_table(&reply), || reservation_reply_json(&reply));
    Ok(())
}
