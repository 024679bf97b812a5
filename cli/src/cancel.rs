//! `doorbuster cancel`: undo a sale. If it was paid for, gateways give the money back.

use crate::error::CliError;
use crate::output::Output;
use crate::target::TargetArgs;
use crate::view::{reservation_reply_json, reservation_table};
use clap::{Args, ValueEnum};
use doorbuster_protocol::command::{Cancel, CancelReason, Cancellation};

/// `doorbuster cancel ...`
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  doorbuster cancel 7-000000000000000000000000000000ff --units return --reason fraud\n\n\
                        A sale can be cancelled for 24 hours. What was paid for is refund_due until a gateway has given the \
                        money back; what was confirmed by `doorbuster confirm` is cancelled: give its money back where you took it."
)]
pub struct CancelArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// What becomes of its units
    #[arg(long, value_enum)]
    units: Units,
    /// Why, for the books
    #[arg(long, value_enum, default_value_t = Reason::Shop)]
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Units {
    /// They go back on sale
    Return,
    /// They are lost: the stock is so much less
    WriteOff,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reason {
    /// Its customer wanted it
    Customer,
    /// The shop cannot deliver, or does not want to
    Shop,
    /// It was bought by fraud
    Fraud,
    /// It was bought twice
    Duplicate,
}

/// Runs it.
pub async fn run(args: CancelArgs, output: Output) -> Result<(), CliError> {
    let client = args.target.connection.open().await?;
    let reason = match args.reason {
        Reason::Customer => CancelReason::Customer,
        Reason::Shop => CancelReason::Shop,
        Reason::Fraud => CancelReason::Fraud,
        Reason::Duplicate => CancelReason::Duplicate,
    };
    let how = Cancellation { reason, return_stock: args.units == Units::Return };
    let reply = client.cancel(Cancel { target: args.target.target(), how }).await?;
    output.print(|| reservation_table(&reply), || reservation_reply_json(&reply));
    Ok(())
}
