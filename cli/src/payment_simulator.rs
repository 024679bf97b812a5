//! `doorbuster payment-simulator`: the payment provider that takes no money, as a process.

use crate::error::CliError;
use crate::signals;
use clap::Args;
use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::sender::Webhooks;
use doorbuster_payment_simulator::signature::Secrets;
use doorbuster_payment_simulator::{Config, PaymentSimulator, StartError};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `doorbuster payment-simulator ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster payment-simulator                      then: doorbuster gateway --set payment.simulator.url=http://127.0.0.1:8090\n  \
    doorbuster payment-simulator --seed 7 --decline-rate 0.1 --lost-after-rate 0.05 --late-rate 0.03\n  \
    doorbuster payment-simulator --webhook-url http://127.0.0.1:8080/v1/webhooks/simulator --webhook-secrets-file webhook.secrets\n  \
    curl -s http://127.0.0.1:8090/v1/charges          its ledger; /v1/events: what it tells by webhook\n  \
    curl -s http://127.0.0.1:8090/admin/tally         what has happened and gone wrong since it started, counted\n  \
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
    /// Share of charges that are decided at once, and answered late: their webhook comes first
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    slow_answer_rate: f64,
    /// How late, in ms
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    slow_answer_ms: u64,
    /// Where every decision is told, signed, until it is answered 2xx: http, loopback only
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// File with the secret that signs webhooks, at least 32 bytes; or with two, the new one first
    #[arg(long, value_name = "FILE", requires = "webhook_url", conflicts_with = "webhook_secrets_env")]
    webhook_secrets_file: Option<PathBuf>,
    /// The environment variable that holds it instead
    #[arg(long, value_name = "VARIABLE", requires = "webhook_url")]
    webhook_secrets_env: Option<String>,
    /// How long after a decision it is told, in ms
    #[arg(long, default_value_t = 0, value_name = "MS")]
    webhook_delay_ms: u64,
    /// Share of webhooks that are sent two to five times
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    webhook_duplicate_rate: f64,
    /// Share of webhooks that are held back, so that later ones overtake them
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    webhook_reorder_rate: f64,
    /// How long, in ms
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    webhook_reorder_ms: u64,
    /// How to log
    #[command(flatten)]
    log: crate::log::LogArgs,
}

/// Runs it until it is told to stop.
pub async fn run(args: PaymentSimulatorArgs) -> Result<(), CliError> {
    crate::log::start(&args.log)?;
    let webhooks = args.webhooks()?;
    let faults = args.faults();
    let shutdown = signals::shutdown()?;
    let config = Config { listen: args.listen, ledger: args.ledger, faults, webhooks };
    let started = PaymentSimulator::start(config).await.map_err(|error| match error {
        StartError::NotLoopback(_) | StartError::Faults(_) => CliError::usage(error.to_string()),
        StartError::Ledger(_) | StartError::Listen(..) => CliError::failed(error.to_string()),
    })?;
    shutdown.cancelled().await;
    started.shutdown().await;
    Ok(())
}

impl PaymentSimulatorArgs {
    fn faults(&self) -> Faults {
        Faults {
            seed: self.seed,
            min_latency_ms: self.min_latency_ms,
            max_latency_ms: self.max_latency_ms,
            decline_rate: self.decline_rate,
            lost_before_rate: self.lost_before_rate,
            lost_after_rate: self.lost_after_rate,
            late_rate: self.late_rate,
            late_ms: self.late_ms,
            requests_per_second: self.requests_per_second,
            is_down: false,
            slow_answer_rate: self.slow_answer_rate,
            slow_answer_ms: self.slow_answer_ms,
            webhook_delay_ms: self.webhook_delay_ms,
            webhook_duplicate_rate: self.webhook_duplicate_rate,
            webhook_reorder_rate: self.webhook_reorder_rate,
            webhook_reorder_ms: self.webhook_reorder_ms,
        }
    }

    /// Where webhooks go, if anywhere.
    fn webhooks(&self) -> Result<Option<Webhooks>, CliError> {
        let Some(url) = &self.webhook_url else { return Ok(None) };
        let (source, text) = match (&self.webhook_secrets_file, &self.webhook_secrets_env) {
            (Some(path), _) => {
                (path.display().to_string(), std::fs::read_to_string(path).map_err(|error| error.to_string()))
            }
            (None, Some(name)) => (name.clone(), std::env::var(name).map_err(|error| error.to_string())),
            (None, None) => {
                let fix = "--webhook-url needs what signs: give --webhook-secrets-file or --webhook-secrets-env";
                return Err(CliError::usage(fix));
            }
        };
        let wrong = |error: String| CliError::usage(format!("webhook secrets in {source}: {error}"));
        let secrets = Secrets::read(&text.map_err(wrong)?).map_err(|error| wrong(error.to_string()))?;
        Webhooks::to(url, secrets).map(Some).map_err(|error| CliError::usage(error.to_string()))
    }
}
