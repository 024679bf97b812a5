//! Payment as a saga whose state is the replicated reservation: begin payment (pins it), charge, confirm or payment
//! failed; and when the money came but the reservation was gone, take units again or owe a refund. `step` decides, purely;
//! `worker` does; `provider` is who takes the money.
//!
//! A gateway may die between any two steps. The reservation then stays `paying` until its cap, and whoever posts the
//! payment again, on any gateway, takes the saga up where it was: the charge carries the same idempotency key.

pub mod provider;
pub mod simulator;
pub mod step;
pub mod worker;
