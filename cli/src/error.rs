//! What a subcommand ends with when it does not succeed: one clear sentence, a stable code, and the
//! process's exit code. Scripts branch on the exit code, programs on the code in `--json`.

use doorbuster_client::Error as ClientError;
use doorbuster_gateway::orders::StoreError;
use serde_json::{Value, json};
use std::fmt;

/// Exit code: the thing was checked and is wrong (`audit`, `demo`, `status --check`, `orders retry`).
pub const EXIT_WRONG: u8 = 1;
/// Exit code: usage or configuration; the same as clap's own.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: refused; nothing changed.
pub const EXIT_REFUSED: u8 = 3;
/// Exit code: nobody could serve it; nothing changed.
pub const EXIT_UNAVAILABLE: u8 = 4;
/// Exit code: it may or may not have happened.
pub const EXIT_UNKNOWN: u8 = 5;
/// Exit code: a process could not start or had to stop.
pub const EXIT_FAILED: u8 = 6;

/// The list of exit codes that every `--help` ends with.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 checked and found wrong (audit, demo, status --check, orders retry); 2 usage or \
     configuration; 3 refused, nothing changed; 4 unavailable, nothing changed, try again; 5 outcome unknown, try again \
     with the same id; 6 a process could not start or had to stop.";

/// Why a subcommand did not succeed.
#[derive(Debug)]
pub struct CliError {
    /// The process's exit code.
    pub exit: u8,
    /// Stable name for programs: `sold_out`, `unavailable`, `usage` ...
    pub code: String,
    /// One sentence for people: what happened and what to do.
    pub message: String,
    /// Whether the same command may succeed later.
    pub retryable: bool,
}

impl CliError {
    /// The command line or the configuration cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(EXIT_USAGE, "usage", message, false)
    }

    /// What was checked is wrong.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::new(EXIT_WRONG, "found_wrong", message, false)
    }

    /// Nothing was changed, for this reason.
    pub fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::new(EXIT_REFUSED, code, message, false)
    }

    /// A process or a file did not do what it must.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(EXIT_FAILED, "failed", message, true)
    }

    /// Nobody could serve it.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(EXIT_UNAVAILABLE, "unavailable", message, true)
    }

    fn new(exit: u8, code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), retryable }
    }

    /// The error as programs read it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "error": {
            "code": self.code, "message": self.message, "retryable": self.retryable, "exit_code": self.exit,
        }})
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refusal) => {
                let code = refusal.code();
                Self::new(EXIT_REFUSED, code.name(), format!("refused: {refusal}"), code.retryable())
            }
            ClientError::OutcomeUnknown => Self::new(
                EXIT_UNKNOWN,
                "outcome_unknown",
                "the outcome is unknown: it may or may not have happened; run the same command again with the same id",
                true,
            ),
            ClientError::Unavailable { detail, .. } => Self::unavailable(format!(
                "no server could do it, nothing changed: {detail}; `doorbuster status` shows who is up"
            )),
            ClientError::Rejected(failure) => {
                let code = failure.code();
                Self::new(
                    EXIT_USAGE,
                    code.name(),
                    format!("the servers do not accept this: {failure}"),
                    code.retryable(),
                )
            }
            ClientError::Config(message) => Self::usage(message),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        if error.is_transient() { Self::unavailable(error.to_string()) } else { Self::failed(error.to_string()) }
    }
}
