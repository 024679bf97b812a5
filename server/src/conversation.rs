//! One client's connection without the connection: bytes in, bytes out.
//!
//! What requests can be answered at once is answered as they come ([`Conversation::hear`]); what the shards have
//! answered since is added by [`Conversation::collect`]. A connection's task drives it, or a simulator.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use doorbuster_protocol::frame::{FrameError, encode_answers};
use doorbuster_raft::Monotonic;

use crate::desk::{Condition, Desk};
use crate::mailbox::{Mailbox, Taken};
use crate::router::Router;

/// Buffers that grew beyond this are let go when they are empty.
const KEEP_BYTES: usize = 512 << 10;

/// A client's requests and answers.
pub struct Conversation {
    mailbox: Arc<Mailbox>,
    router: Router,
    /// Read and not yet routed.
    pub input: BytesMut,
    /// To be written.
    pub out: Vec<u8>,
    taken: Taken,
}

impl Conversation {
    /// Continues behind the handshake; `input` holds what was read beyond it.
    #[must_use]
    pub fn new(desk: Arc<Desk>, input: BytesMut) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let router = Router::new(desk, Arc::clone(&mailbox));
        Self { mailbox, router, input, out: Vec::new(), taken: Taken::default() }
    }

    /// Where the shards put their answers.
    #[must_use]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Routes every complete request of the input, which was read before `now`: a refusal at the gate must not rest on a
    /// lease that ended before the request came.
    ///
    /// # Errors
    /// The bytes are not of this protocol; what was decoded before has been dealt with.
    pub fn hear(&mut self, now: Monotonic, node: &dyn Condition) -> Result<(), FrameError> {
        let taken = self.router.take(&self.input, now, node, &mut self.out)?;
        self.input.advance(taken);
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    /// Whether requests went to the shards since this was asked last: [`Inboxes::attend`](crate::inbox::Inboxes::attend) to
    /// them.
    pub fn has_handed_on(&mut self) -> bool {
        self.router.has_handed_on()
    }

    /// Takes over what the shards have answered. Until [`Mailbox::lend`] nobody else writes to the client.
    pub fn collect(&mut self) {
        if self.router.in_flight() == 0 {
            return;
        }
        self.mailbox.take(&mut self.taken);
        let Taken { answers, written, rest } = &mut self.taken;
        written.drain(..).for_each(|id| self.router.answered(id));
        // It is the end of an answer: nothing of this connection's may have gone out since.
        if !rest.is_empty() {
            self.out.splice(..0, rest.drain(..));
        }
        if answers.is_empty() {
            return;
        }
        answers.iter().for_each(|(id, _)| self.router.answered(*id));
        encode_answers(answers, &mut self.out);
        answers.clear();
    }

    /// Everything to be written was.
    pub fn written(&mut self) {
        self.out.clear();
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
    }

    /// Requests whose answers have not come.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.router.in_flight()
    }
}
