//! The command line of Doorbuster: one file a subcommand, and the demo, whose cluster of real processes
//! ([`demo::cluster`]) whole-system tests use too.
//!
//! Results go to stdout, errors to stderr as one sentence (or one JSON object with `--json`); the exit
//! codes are listed in [`error`].
#![deny(unsafe_code)]

pub mod audit;
pub mod bench;
mod cancel;
pub mod clock;
mod confirm;
pub mod connect;
pub mod demo;
pub mod entropy;
pub mod error;
mod extend;
mod gateway;
mod log;
pub mod names;
pub mod orders;
pub mod output;
mod overlay;
mod pay;
mod payment_simulator;
mod product;
mod release;
mod reserve;
mod server;
mod show;
pub mod signals;
mod status;
mod target;
pub mod token;
mod view;

use clap::{Parser, Subcommand};
use error::CliError;
use output::Output;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:\n  \
    doorbuster demo                                  a whole sale on this machine, proved at the end\n  \
    doorbuster server format --config node1.toml     prepare a node's data folder, once\n  \
    doorbuster server --config node1.toml            run the node\n  \
    doorbuster product create 7 --name 'Phone X' --stock 100 --price 49900 --currency EUR\n  \
    doorbuster reserve 7 --user alice\n  \
    doorbuster status --nodes 127.0.0.1:7400\n";

/// Flash-sale inventory: sells exactly what there is, however many ask at once.
#[derive(Parser, Debug)]
#[command(name = "doorbuster", version, about, max_term_width = 110, propagate_version = true,
    after_help = format!("{EXAMPLES}\n{}", error::EXIT_CODES))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a server node, or prepare its data folder
    Server(Box<server::ServerArgs>),
    /// Run the HTTP gateway
    Gateway(gateway::GatewayArgs),
    /// Run a payment provider that takes no money, and fails on request
    PaymentSimulator(payment_simulator::PaymentSimulatorArgs),
    /// Run a whole flash sale on this machine and prove its outcome
    Demo(demo::DemoArgs),
    /// Put products on sale, look at them, change them
    Product(product::ProductArgs),
    /// Claim units for a user
    Reserve(reserve::ReserveArgs),
    /// Pay a reservation with a simulated card
    Pay(pay::PayArgs),
    /// Sell a reservation's units whose money was taken elsewhere
    Confirm(target::TargetArgs),
    /// Give a reservation's units back
    Release(target::TargetArgs),
    /// Undo a sale: its money goes back, its units go back on sale or are written off
    Cancel(cancel::CancelArgs),
    /// Hold a reservation longer
    Extend(extend::ExtendArgs),
    /// Look at one reservation
    Show(target::TargetArgs),
    /// Nodes, shards, leaders, lag and clock offsets
    Status(status::StatusArgs),
    /// Recount everything and compare all replicas, and the database
    Audit(audit::AuditArgs),
    /// What the order database has refused, and putting it back
    Orders(orders::OrdersArgs),
    /// Measure how fast a cluster answers
    Bench(bench::BenchArgs),
    /// Make a bearer token to try the gateway with
    Token(token::TokenArgs),
}

impl Command {
    /// The demo's `--json` names a file for its report; its errors are for people.
    fn wants_json(&self) -> bool {
        match self {
            Self::Server(_) | Self::Gateway(_) | Self::PaymentSimulator(_) | Self::Demo(_) => false,
            Self::Product(args) => args.connection.json,
            Self::Reserve(args) => args.connection.json,
            Self::Pay(args) => args.target.connection.json,
            Self::Confirm(args) | Self::Release(args) | Self::Show(args) => args.connection.json,
            Self::Cancel(args) => args.target.connection.json,
            Self::Extend(args) => args.target.connection.json,
            Self::Status(args) => args.connection.json,
            Self::Audit(args) => args.connection.json,
            Self::Orders(args) => args.wants_json(),
            Self::Bench(args) => args.wants_json(),
            Self::Token(args) => args.json,
        }
    }
}

/// Reads the command line, does what it says, and says what to exit with.
#[must_use]
pub fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) if error.use_stderr() && std::env::args().any(|word| word == "--json") => {
            return Output::new(true).error(&CliError::usage(first_line(&error.to_string())));
        }
        Err(error) => error.exit(),
    };
    let output = Output::new(command.wants_json());
    match block_on(run(command, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.error(&error),
    }
}

/// What clap says is wrong, without the advice for people around it.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ")
}

fn block_on(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        CliError::failed(format!("cannot start the runtime: {error}; raise the limits on threads and files"))
    })?;
    let result = runtime.block_on(work);
    // Whatever still runs holds nothing that must be finished: each subcommand waited for its own.
    runtime.shutdown_background();
    result
}

async fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Server(args) => server::run(*args, output).await,
        Command::Gateway(args) => gateway::run(args).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::Product(args) => product::run(args, output).await,
        Command::Reserve(args) => reserve::run(args, output).await,
        Command::Pay(args) => pay::run(args, output).await,
        Command::PaymentSimulator(args) => payment_simulator::run(args).await,
        Command::Confirm(args) => confirm::run(args, output).await,
        Command::Release(args) => release::run(args, output).await,
        Command::Cancel(args) => cancel::run(args, output).await,
        Command::Extend(args) => extend::run(args, output).await,
        Command::Show(args) => show::run(args, output).await,
        Command::Status(args) => status::run(args, output).await,
        Command::Audit(args) => audit::run(args, output).await,
        Command::Orders(args) => orders::run(args, output).await,
        Command::Bench(args) => Box::pin(bench::run(args, output)).await,
        Command::Token(args) => token::run(&args, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
