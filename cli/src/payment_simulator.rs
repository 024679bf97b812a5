//! `doorbuster payment-simulator`: the payment provider that takes no money, as a process.

use crate::error::CliError;
use crate::signals;
use clap::Args;
use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::{Config, PaymentSimulator, StartError};
use std::net::SocketAddr;

/// `doorbuster payment-simulator ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster payment-simulator                      then: doorbuster gateway --set payment.simulator.url=http://127.0.0.1:8090\n  \
    doorbuster payment-simulator --seed 7 --decline-rate 0.1 --lost-after-rate 0.05 --late-rate 0.03\n  \
    curl -s http://127.0.0.1:8090/v1/charges          its ledger\n  \
    curl -s -X PUT http://127.0.0.1:8090/admin/faults -d '{\"is_down\": true}'\n\n\
    It takes no money. Shares are of idempotency keys, drawn from the seed and the key alone. It stops at Ctrl-C or SIGTERM.")]
pub struct PaymentSimulatorArgs {
    /// Where HTTP is served; loopback only
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where the ledger is
    #[arg(long, default_value = "sqlite:doorbuster-payments.db", value_name = "sqlite:PATH")]
    ledger: String,
    /// What everything that goes wrong is drawn from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Shortest time that a charge or refund takes, in ms
    #[arg(long, default_value_t = 50, value_name = "MS")]
    min_latency_ms: u64,
    /// Longest time
    #[arg(long, default_value_t = 250, value_name = "MS")]
    max_latency_ms: u64,
    /// Share of charges that are declined, 0.0 to 1.0
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    decline_rate: f64,
    /// Share of requests whose first try is lost before it takes effect
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    lost_before_rate: f64,
    /// Share of requests whose first try takes effect without an answer
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    lost_after_rate: f64,
    /// Share of charges that are decided late
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    late_rate: f64,
    /// How late, in ms
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    late_ms: u64,
    /// Requests a second that are answered; 0 for no limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    requests_per_second: u32,
    /// How to log
    #[command(flatten)]
    log: crate::log::LogArgs,
}

/// Runs it until it is told to stop.
pub async fn run(args: PaymentSimulatorArgs) -> Result<(), CliError> {
    crate::log::start(&args.log)?;
    let faults = Faults {
        seed: args.seed,
        min_latency_ms: args.min_latency_ms,
        max_latency_ms: args.max_latency_ms,
        decline_rate: args.decline_rate,
        lost_before_rate: args.lost_before_rate,
        lost_after_rate: args.lost_after_rate,
        late_rate: args.late_rate,
        late_ms: args.late_ms,
        requests_per_second: args.requests_per_second,
        is_down: false,
    };
    let shutdown = signals::shutdown()?;
    let config = Config { listen: args.listen, ledger: args.ledger, faults };
    let started = PaymentSimulator::start(config).await.map_err(|error| match error {
        StartError::NotLoopback(_) | StartError::Faults(_) => CliError::usage(error.to_string()),
        StartError::Ledger(_) | StartError::Listen(..) => CliError::failed(error.to_string()),
    })?;
    shutdown.cancelled().await;
    started.shutdown().await;
    Ok(())
}
