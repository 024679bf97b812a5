//! Snapshots: a frozen copy of the state, written elsewhere while the sale goes on.

use std::io;

/// A shard's state as it was when it was frozen. Shares its pages with the inventory until either changes them.
#[derive(Debug)]
pub struct Frozen(());

impl Frozen {
    /// Writes the snapshot: versioned, checksummed, and the same bytes for the same state.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(self, out: &mut dyn io::Write) -> io::Result<()> {
        let _ = out;
        todo!()
    }
}

/// Why bytes are not a snapshot of this shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot, or of a version this build does not read.
    #[error("not an inventory snapshot of a version this build reads")]
    Unrecognised,
}
