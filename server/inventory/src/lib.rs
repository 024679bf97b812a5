//! The inventory: one shard's products and reservations as a pure, deterministic state machine.
//!
//! [`Inventory::apply`] is the only way in: what it decides depends on nothing but the state and its
//! three arguments, so that replicas which apply the same log are equal, byte for byte of their
//! snapshots. No clock, no thread, no I/O, no ambient randomness.
#![forbid(unsafe_code)]

mod inventory;
mod limits;
mod snapshot;
mod view;

pub use inventory::Inventory;
pub use limits::Limits;
pub use snapshot::{Frozen, SnapshotError};
pub use view::GateView;
