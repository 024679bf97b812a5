//! Log lines, to standard error: for people, or one JSON object each.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, ServerConfig};

/// Starts logging for the whole process, as configured. A second call changes nothing.
///
/// # Errors
/// If `log_level` is not understood.
pub fn start(config: &ServerConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|error| format!("`log_level` is {:?}: {error}", config.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that this process logs already, as the embedding program or test wants it.
    let _already = match config.log_format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_does_not_exist_is_named() {
        let config = ServerConfig { log_level: "doorbuster=loud".to_owned(), ..ServerConfig::default() };
        let error = start(&config).unwrap_err();
        assert!(error.contains("log_level") && error.contains("loud"), "{error}");
    }

    #[test]
    fn may_be_started_twice() {
        for log_format in [LogFormat::Json, LogFormat::Human] {
            start(&ServerConfig { log_format, ..ServerConfig::default() }).unwrap();
        }
    }
}
