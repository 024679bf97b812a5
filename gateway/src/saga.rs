//! Payment as a saga whose state is the replicated reservation: begin payment (pins it), charge, confirm or payment
//! failed; and when the money came but the reservation was gone, take units again or owe a refund, which is paid back.
//! `step` decides, purely; `worker` does; `provider` is who takes the money; `sweeper` finds what nobody carries on.
//!
//! A gateway may die between any two steps. The reservation then stays on its shard's list of what is unsettled, and the
//! sweeper of any gateway takes the saga up where it was; so does whoever posts the payment again: both use the same
//! idempotency key.

mod crash;
pub mod lanes;
pub mod metrics;
pub mod origin;
pub mod pacing;
pub mod provider;
pub mod remote;
pub mod simulator;
pub mod step;
pub mod stripe;
pub mod sweeper;
pub mod worker;
