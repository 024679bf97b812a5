//! A request: a command or a query, and how long its caller will wait.

use crate::command::Command;
use crate::query::Query;
use crate::types::Millis;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub body: RequestBody,
    /// How long the caller will still wait; what has waited longer is dropped before it is proposed.
    /// 0 leaves it to the server's default.
    pub wait: Millis,
}

/// A command or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Changes state.
    Command(Command),
    /// Reads it.
    Query(Query),
}
