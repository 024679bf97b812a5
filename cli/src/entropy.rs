//! The only place in this crate that draws random numbers: fresh ids for people at a terminal, secrets
//! and ports for the demo's cluster.
#![allow(clippy::disallowed_methods)]

use doorbuster_protocol::types::{OperationId, ReservationId};
use rand::RngExt as _;

/// A fresh reservation id; never 0.
#[must_use]
pub fn reservation_id() -> ReservationId {
    ReservationId(rand::rng().random::<u128>().max(1))
}

/// A fresh operation id; never 0.
#[must_use]
pub fn operation_id() -> OperationId {
    OperationId(rand::rng().random::<u128>().max(1))
}

/// A random number.
#[must_use]
pub fn number() -> u64 {
    rand::rng().random()
}

/// A secret of 32 random bytes, as 64 hex digits.
#[must_use]
pub fn secret() -> String {
    let mut rng = rand::rng();
    format!("{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>())
}
