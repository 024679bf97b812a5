//! doorbuster-server.

pub mod admin;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod entropy;
pub mod filter;
pub mod gate;
pub mod identity;
pub mod logging;
pub mod metrics;
