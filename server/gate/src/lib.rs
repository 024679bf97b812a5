//! The lock-free core of the admission gate: tickets of a product, the published lease of a shard, and
//! the filter that guards fast refusals.
//!
//! It stands alone, with plain numbers and atomics only, so that `loom` can run every interleaving of
//! it: `RUSTFLAGS="--cfg loom" cargo test -p doorbuster-gate --lib`. The server dresses it in its own types.
//!
//! What it promises:
//! - Tickets out never exceed the units that are committed as available when the last one was taken.
//! - A ticket that was given back can be taken again; none is lost.
//! - A refusal rests on one published state of the product, at least as new as the lease that covers it:
//!   see [`admit`].
#![forbid(unsafe_code)]

mod admit;
mod bloom;
mod lease;
mod sync;
mod turnstile;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;

pub use admit::{Asked, Verdict, admit};
pub use bloom::Bloom;
pub use lease::Lease;
pub use turnstile::{Numbers, Sale, Terms, Turnstile};
