//! The demo's payment provider: the payment simulator as a process of its own, with a ledger of its own, which does wrong what the
//! plan says and tells the gateway by webhook, some of it several times and in the wrong order. It outlives the gateways.

use super::plan::{LATE, Plan};
use super::process::{Process, log_tail};
use crate::audit::simulator::happened;
use crate::clock;
use crate::error::CliError;
use std::path::Path;
use std::time::Duration;

/// Webhooks that are sent several times, and those that are held back so that others overtake them: shares of all.
const REPEATED: f64 = 0.2;
const HELD_BACK: f64 = 0.2;
/// How long it may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to end when asked to.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A running provider; killed when it is dropped.
#[derive(Debug)]
pub struct Provider {
    process: Process,
    url: String,
}

/// Where it is, and where it tells what happens.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The `doorbuster` binary.
    pub binary: &'a Path,
    /// Where its ledger and log go.
    pub folder: &'a Path,
    /// Where it listens.
    pub port: u16,
    /// The gateway's address.
    pub gateway: &'a str,
    /// What signs its webhooks.
    pub secrets_file: &'a Path,
}

impl Provider {
    /// Starts one and waits until it serves.
    pub async fn start(place: Place<'_>, plan: &Plan) -> Result<Self, CliError> {
        let log = place.folder.join("log.txt");
        let process = Process::start("the payment provider", place.binary, &arguments(place, plan), &log)?;
        let mut provider = Self { process, url: url(place.port) };
        let deadline = clock::now() + READY_WITHIN;
        while happened(&provider.url).await.is_err() {
            if provider.process.ended().is_some() || clock::now() > deadline {
                let tail = provider.log_tail(20);
                return Err(CliError::failed(format!(
                    "the payment provider does not serve; its log ends with\n{tail}"
                )));
            }
        }
        Ok(provider)
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The last lines it logged.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(self.process.log(), lines)
    }

    /// Asks it to end, and waits until it has.
    pub async fn shutdown(&mut self) -> Result<(), CliError> {
        self.process.terminate()?;
        let deadline = clock::now() + END_WITHIN;
        while self.process.ended().is_none() {
            if clock::now() > deadline {
                let seconds = END_WITHIN.as_secs();
                return Err(CliError::failed(format!(
                    "the payment provider did not end within {seconds}s of being asked to"
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Where one that listens at this port is reached.
#[must_use]
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn arguments(place: Place<'_>, plan: &Plan) -> Vec<String> {
    let (before, after) = lost(plan.unknown);
    let options = [
        ("--listen", format!("127.0.0.1:{}", place.port)),
        ("--ledger", format!("sqlite:{}", place.folder.join("ledger.db").display())),
        ("--seed", plan.seed.to_string()),
        ("--decline-rate", share(plan.declined).to_string()),
        ("--lost-before-rate", before.to_string()),
        ("--lost-after-rate", after.to_string()),
        ("--late-rate", share(plan.late).to_string()),
        ("--late-ms", LATE.to_string()),
        ("--webhook-url", format!("http://{}/v1/webhooks/simulator", place.gateway)),
        ("--webhook-secrets-file", place.secrets_file.display().to_string()),
        ("--webhook-duplicate-rate", REPEATED.to_string()),
        ("--webhook-reorder-rate", HELD_BACK.to_string()),
    ];
    let options = options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    std::iter::once("payment-simulator".to_owned()).chain(options).collect()
}

fn share(percent: u8) -> f64 {
    f64::from(percent) / 100.0
}

/// Half of what has no answer is lost before it takes effect, half after it: the second share is of what the first has left.
fn lost(unknown: u8) -> (f64, f64) {
    let half = share(unknown) / 2.0;
    (half, half / (1.0 - half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_silence_together_are_what_was_asked_for() {
        for unknown in [0, 5, 50, 100] {
            let (before, after) = lost(unknown);
            let together = before + (1.0 - before) * after;
            assert!(
                (together - share(unknown)).abs() < 1e-9 && (0.0..=1.0).contains(&after),
                "{unknown}: {before} {after}"
            );
        }
    }
}
