//! What a replica keeps consistent: a deterministic state machine. Two machines that started alike and applied the same
//! entries are alike; nothing else may influence them.

use std::io;

/// The state that a shard's log builds.
pub trait StateMachine {
    /// What applying an entry gives back to whoever waits for it on this replica.
    type Outcome;

    /// Applies the committed entry at `index`. Called once an index, in rising order (indexes of entries without data are
    /// left out). Must not fail: an entry that makes no sense must be a deterministic outcome.
    fn apply(&mut self, index: u64, data: &[u8]) -> Self::Outcome;

    /// A copy of the present state that can be written while this one moves on. Must be cheap.
    fn freeze(&mut self) -> Box<dyn Frozen>;

    /// Replaces the state by the one that [`Frozen::write_to`] wrote on some replica.
    ///
    /// # Errors
    /// When the bytes are no such state. The node stops its process then: a replica without its state must not go on.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}

/// A state frozen in time, on its way to a file.
pub trait Frozen: Send {
    /// Writes the whole state.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_to(self: Box<Self>, out: &mut dyn io::Write) -> io::Result<()>;
}
