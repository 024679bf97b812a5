//! The inventory: one shard's products and reservations as a pure, deterministic state machine.
//!
//! [`Inventory::apply`] is the only way in: what it decides depends on nothing but the state and its
//! three arguments, so that replicas which apply the same log are equal, byte for byte of their
//! snapshots. No clock, no thread, no I/O, no ambient randomness.
//!
//! A live reservation takes 76 bytes for its record, 8 for the index, 24 for its user's count where the
//! product has a limit, and a share of its deadline's entry; timers are links within the records.
#![forbid(unsafe_code)]

mod deadlines;
mod digest;
mod directory;
mod feed;
mod inventory;
mod journal;
mod limits;
mod operations;
mod product;
mod record;
mod reservations;
mod slab;
mod snapshot;
mod unsettled;
mod users;
mod view;
pub mod wheel;

pub use inventory::{AHEAD, Inventory};
pub use limits::Limits;
pub use snapshot::{Frozen, SnapshotError};
pub use view::GateView;
