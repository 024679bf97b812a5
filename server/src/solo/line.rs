//! Clients of a node that somebody drives: their connections stand, behind the handshake, and carry real frames.

use std::sync::Arc;

use bytes::BytesMut;
use doorbuster_protocol::reply::NodeStatus;

use super::{FrameError, Monotonic, Solo, Timestamp};
use crate::conversation::Conversation;
use crate::desk::{Condition, Desk};

/// A client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One client's connection.
pub(super) struct Line {
    conversation: Conversation,
}

/// The node as a status query sees it.
struct Now<'a> {
    desk: &'a Desk,
    now: Monotonic,
    wall: Timestamp,
    log_bytes: u64,
}

impl Condition for Now<'_> {
    fn status(&self) -> NodeStatus {
        self.desk.status(self.now, self.wall, self.log_bytes, |_| true)
    }
}

impl Solo {
    /// A client connects.
    pub fn connect(&mut self) -> ConnectionId {
        let id = ConnectionId(self.next_line);
        self.next_line += 1;
        self.lines.insert(id, Line { conversation: Conversation::new(Arc::clone(&self.desk), BytesMut::new()) });
        id
    }

    /// A client's connection is gone.
    pub fn disconnect(&mut self, connection: ConnectionId) {
        if let Some(line) = self.lines.remove(&connection) {
            line.conversation.mailbox().close();
        }
    }

    /// Bytes came from a client, frames or parts of frames. Returns what was answered at once, and what the shards have
    /// answered by now. On a connection that does not stand nothing happens.
    ///
    /// # Errors
    /// The bytes are not of this protocol. What was asked before is answered by [`Self::take_answers`]; then
    /// [`Self::disconnect`].
    pub fn receive(&mut self, connection: ConnectionId, bytes: &[u8], now: Monotonic) -> Result<Vec<u8>, FrameError> {
        let Some(line) = self.lines.get_mut(&connection) else { return Ok(Vec::new()) };
        line.conversation.input.extend_from_slice(bytes);
        let node = Now { desk: &self.desk, now, wall: self.wall, log_bytes: self.log.usage().bytes };
        line.conversation.hear(now, &node)?;
        Ok(line.take())
    }

    /// What was answered to a client since the last call, encoded.
    pub fn take_answers(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.lines.get_mut(&connection).map(Line::take).unwrap_or_default()
    }

    /// Requests of a client whose answers have not been taken.
    #[must_use]
    pub fn in_flight(&self, connection: ConnectionId) -> usize {
        self.lines.get(&connection).map_or(0, |line| line.conversation.in_flight())
    }
}

impl Line {
    fn take(&mut self) -> Vec<u8> {
        self.conversation.collect();
        std::mem::take(&mut self.conversation.out)
    }
}
