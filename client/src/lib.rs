//! The asynchronous client: many callers share one connection a node, which batches by itself, follows
//! the shards' leaders, and retries with the same id within a deadline and a budget.
//!
//! ```no_run
//! use doorbuster_client::{Client, Config, Error};
//! use doorbuster_protocol::command::Reserve;
//! use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, UserId};
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::connect(Config::new("shop", vec!["127.0.0.1:7100".to_owned()])).await?;
//! let held = client
//!     .reserve(Reserve {
//!         product: ProductId(1),
//!         reservation: ReservationId(0x5eed), // yours to choose; the same again is the same reservation
//!         user: UserId(42),
//!         quantity: Quantity(1),
//!         ttl: Millis(0),
//!     })
//!     .await?;
//! println!("held until {}", held.reservation.expires_at);
//! # Ok(())
//! # }
//! ```
//!
//! Rooms: [`Client`] is the face; `retry` the loop around one request, [`decision`] its pure part; `cluster` what is known of leaders
//! and nodes, kept fresh by `scout`; `node` the connections to one node; `connection` one of them, with
//! `pending` its requests; `budget` what retries may cost.
#![forbid(unsafe_code)]

mod budget;
mod client;
mod clock;
mod cluster;
mod config;
mod connection;
pub mod decision;
mod entropy;
mod error;
mod node;
mod pending;
mod retry;
mod route;
mod scout;

pub use client::Client;
pub use config::{Config, RetryBudget};
pub use error::Error;
