//! A request on its way through a shard.

use doorbuster_protocol::command::{Command, Reserve};
use doorbuster_protocol::request::RequestBody;
use doorbuster_raft::Monotonic;

use crate::gate::Ticket;
use crate::mailbox::ReplyTo;

/// A request that a connection handed to a shard.
#[derive(Debug)]
pub struct Call {
    /// Who waits for the answer.
    pub to: ReplyTo,
    /// What is asked.
    pub body: RequestBody,
    /// Its caller waits no longer than this.
    pub until: Monotonic,
    /// The gate's ticket for the units that a reserve asks for. Dropping it gives them back.
    pub ticket: Option<Ticket>,
}

impl Call {
    /// The reserve that is asked for, if it is one.
    #[must_use]
    pub fn reserve(&self) -> Option<&Reserve> {
        match &self.body {
            RequestBody::Command(Command::Reserve(reserve)) => Some(reserve),
            _ => None,
        }
    }

    /// Whether its caller still waits.
    #[must_use]
    pub fn is_awaited(&self, now: Monotonic) -> bool {
        now.0 < self.until.0
    }
}
