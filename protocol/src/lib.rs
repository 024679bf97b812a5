//! What travels between Doorbuster's clients and servers, and the words all crates share.
//!
//! Types carry their units; every bound on what may travel stands in [`limits`]; `PROTOCOL.md` beside
//! this crate is the specification of the bytes.
#![forbid(unsafe_code)]

pub mod code;
pub mod command;
pub mod cursor;
pub mod failure;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod query;
pub mod reply;
pub mod request;
pub mod types;
mod wire;
