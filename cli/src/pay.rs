//! `doorbuster pay`: the whole payment of a reservation with a card that exists only here: begin the
//! payment (which pins the reservation), charge, and confirm, or tell that the card was declined.
//!
//! Fault model: it may die between any two steps. Run again, it takes up the payment that is under way:
//! the reservation's own state says where it stood.

use crate::error::CliError;
use crate::output::Output;
use crate::target::TargetArgs;
use crate::view::{reservation_reply_json, reservation_table};
use clap::Args;
use doorbuster_client::Client;
use doorbuster_protocol::command::{Payment, Target};
use doorbuster_protocol::reply::{ReservationReply, ReservationState};

/// `doorbuster pay ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster pay 7-000000000000000000000000000000ff\n  \
    doorbuster pay 7-000000000000000000000000000000ff --decline   # the reservation stays held")]
pub struct PayArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Pay with a card that is declined
    #[arg(long)]
    decline: bool,
}

/// Runs it.
pub async fn run(args: PayArgs, output: Output) -> Result<(), CliError> {
    let client = args.target.connection.open().await?;
    let reply = pay(&client, args.target.target(), args.decline).await?;
    output.print(|| reservation_table(&reply), || reservation_reply_json(&reply));
    Ok(())
}

async fn pay(client: &Client, target: Target, decline: bool) -> Result<ReservationReply, CliError> {
    let now = client.reservation(target).await?.reservation;
    let attempt = match now.state {
        ReservationState::Paying => now.payment_attempts,
        _ => now.payment_attempts.saturating_add(1),
    };
    let payment = Payment { target, attempt };
    client.begin_payment(payment).await?;
    if decline {
        return Ok(client.payment_failed(payment).await?);
    }
    Ok(client.confirm(target).await?)
}
