//! A thread that owns several shards: lets them take the turns that nobody else does.
//!
//! It sleeps until it is summoned, a tick is due, or a reservation falls due.

use std::sync::Arc;

use crate::inbox::Inboxes;
use crate::turns::Turns;

/// A shard thread before and while it runs.
pub struct ShardThread {
    /// The turns of its shards.
    pub turns: Arc<Turns>,
    /// Where the threads hear of anything.
    pub inboxes: Inboxes,
    /// Which thread this is.
    pub thread: usize,
}

impl ShardThread {
    /// Runs until the inbox says stop. Meanwhile others may let the shards work.
    pub fn run(self) {
        let inbox = self.inboxes.thread(self.thread);
        inbox.employ(Some(Arc::clone(&self.turns)));
        while self.turns.take(inbox) {
            inbox.wait();
        }
        inbox.employ(None);
    }
}
