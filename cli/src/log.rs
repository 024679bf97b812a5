//! Logs of the gateway's process, to stderr: for people, or one JSON object a line.

use crate::error::CliError;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or a filter as in doorbuster_gateway=debug,warn
    #[arg(long, env = "DOORBUSTER_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Log lines for people or for programs
    #[arg(long, env = "DOORBUSTER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Starts logging for the whole process.
pub fn start(args: &LogArgs) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| CliError::usage(format!("--log {}: {error}; give a level such as info", args.log)))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = match args.log_format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| CliError::failed(format!("cannot start logging: {error}")))
}
