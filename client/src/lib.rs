//! The asynchronous client: many callers share one connection a node, which batches by itself, follows
//! the leaders, and retries with the same id within a deadline and a budget.
#![forbid(unsafe_code)]

mod client;
mod config;
mod error;

pub use client::Client;
pub use config::{Config, RetryBudget};
pub use error::Error;
