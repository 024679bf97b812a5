//! `doorbuster reserve`: claim units for a user.

use crate::connect::Connection;
use crate::entropy;
use crate::error::CliError;
use crate::names::{parse_duration, parse_product, parse_reservation_id, parse_user};
use crate::output::Output;
use crate::view::{reservation_reply_json, reservation_table};
use clap::Args;
use doorbuster_protocol::command::Reserve;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, UserId};

/// `doorbuster reserve ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster reserve 7 --user alice\n  \
    doorbuster reserve 7 --user alice --quantity 2 --ttl 30s --id 1f   # run it again: same outcome, one effect")]
pub struct ReserveArgs {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The product's id
    #[arg(value_parser = parse_product, value_name = "PRODUCT")]
    product: ProductId,
    /// For whom: the `sub` of the user's tokens, or id: and 32 hex digits
    #[arg(long, value_parser = parse_user)]
    user: UserId,
    /// How many units
    #[arg(long, default_value_t = 1)]
    quantity: u32,
    /// How long to hold them, with a unit; at most the product's TTL [default: the product's TTL]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    ttl: Option<Millis>,
    /// The reservation's id, 1 to 32 hex digits; it is the idempotency key [default: a fresh one]
    #[arg(long, value_parser = parse_reservation_id, value_name = "HEX")]
    id: Option<ReservationId>,
}

/// Runs it.
pub async fn run(args: ReserveArgs, output: Output) -> Result<(), CliError> {
    let client = args.connection.open().await?;
    let reserve = Reserve {
        product: args.product,
        reservation: args.id.unwrap_or_else(entropy::reservation_id),
        user: args.user,
        quantity: Quantity(args.quantity),
        ttl: args.ttl.unwrap_or_default(),
    };
    let reply = client.reserve(reserve).await.map_err(|error| with_id(CliError::from(error), reserve.reservation))?;
    output.print(|| reservation_table(&reply), || reservation_reply_json(&reply));
    Ok(())
}

/// Whoever does not know the outcome needs the id to ask again.
fn with_id(mut error: CliError, reservation: ReservationId) -> CliError {
    if error.exit == crate::error::EXIT_UNKNOWN {
        error.message = format!("{} (--id {:x})", error.message, reservation.0);
    }
    error
}
