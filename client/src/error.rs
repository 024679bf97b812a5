//! What a caller hears when a request was not done, and what is known of its effect.

use doorbuster_protocol::failure::{Failure, Refusal};
use thiserror::Error;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The inventory says no; nothing changed.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The command was sent and no answer came in time: it may or may not have been done. Asking
    /// again with the same id tells.
    #[error("outcome unknown: the command was sent and not answered in time; ask again with the same id")]
    OutcomeUnknown,
    /// Surely without effect: no leader, no connection or only busy nodes within the deadline.
    #[error("unavailable: {detail}")]
    Unavailable {
        /// What was in the way.
        detail: String,
        /// Whether it was load: the last node asked was busy.
        overloaded: bool,
    },
    /// The server does not accept the request or the client; repeating it does not help.
    #[error("rejected: {0}")]
    Rejected(Failure),
    /// The client's configuration is not usable.
    #[error("client configuration: {0}")]
    Config(String),
}
