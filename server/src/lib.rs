//! A Doorbuster server: replicas of the shards' inventories behind a port for clients.
//!
//! The way of a request: [`listener`] → [`connection`] → [`router`] (decode, and refuse at the [`gate`]) →
//! [`inbox`] of a shard group → [`shard`] → log and peers → applied → [`mailbox`] → connection. [`startup`]
//! puts it together from a data folder; [`Server`] is the whole.
#![forbid(unsafe_code)]

pub mod admin;
pub mod archive;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod conversation;
pub mod credentials;
pub mod desk;
pub mod entropy;
pub mod error;
pub mod fatal;
pub mod filter;
pub mod gate;
pub mod handshake;
pub mod identity;
pub mod inbox;
pub mod listener;
pub mod logging;
pub mod mailbox;
pub mod metrics;
pub mod recovery;
pub mod replication;
pub mod report;
pub mod router;
pub mod server;
pub mod service;
pub mod settings;
pub mod shard;
pub mod shard_group;
pub mod shard_thread;
pub mod solo;
pub mod startup;
pub mod turns;

pub use config::ServerConfig;
pub use error::ServerError;
pub use server::{Server, run};
pub use startup::{Sockets, format};
