//! What every decoder promises for any bytes, as functions that panic when a promise is broken: one value or one error, no
//! memory beyond the limits (the fuzzer and the tests watch it), and `decode(encode(x)) = x` for what was decoded.
//!
//! The fuzz targets and the property tests call the same functions. Where a checksum would keep random bytes out, a
//! property also writes with the product's own writer, damages what was written, and reads that.

#![forbid(unsafe_code)]

mod client;
mod http;
mod log;
mod memory;
mod peers;
mod snapshots;

use std::fs;
use std::path::Path;

/// A promise about bytes from outside.
pub struct Property {
    /// Its name, and that of its fuzz target.
    pub name: &'static str,
    /// Panics if it does not hold for these bytes.
    pub check: fn(&[u8]),
    /// Bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Memory that a check may have taken at any time, for each byte of its input and on top of that, in bytes.
    pub memory: (usize, usize),
}

/// All of them.
pub const PROPERTIES: [Property; 12] = [
    Property { name: "client_requests", check: client::requests, seeds: client::seeds, memory: (64, 64 << 10) },
    Property { name: "client_answers", check: client::answers, seeds: client::seeds, memory: (64, 64 << 10) },
    Property { name: "client_handshake", check: client::handshake, seeds: client::seeds, memory: (64, 64 << 10) },
    Property { name: "log_entry", check: client::log_entry, seeds: client::command_seeds, memory: (64, 64 << 10) },
    Property { name: "peer_messages", check: peers::messages, seeds: peers::seeds, memory: (256, 64 << 10) },
    Property { name: "log_segment", check: log::segment, seeds: log::seeds, memory: (64, 2 << 20) },
    Property { name: "log_damage", check: log::damage, seeds: log::script_seeds, memory: (4096, 8 << 20) },
    Property { name: "snapshot_file", check: snapshots::file, seeds: snapshots::file_seeds, memory: (64, 1 << 20) },
    Property {
        name: "snapshot_state",
        check: snapshots::state,
        seeds: snapshots::state_seeds,
        memory: (1024, 8 << 20),
    },
    Property { name: "http_bodies", check: http::bodies, seeds: http::seeds, memory: (64, 64 << 10) },
    Property {
        name: "webhook_signatures",
        check: http::signatures,
        seeds: http::signature_seeds,
        memory: (64, 64 << 10),
    },
    Property { name: "webhook_events", check: http::events, seeds: http::event_seeds, memory: (64, 64 << 10) },
];

/// The property of this name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn named(name: &str) -> &'static Property {
    let found = PROPERTIES.iter().find(|property| property.name == name);
    found.unwrap_or_else(|| panic!("there is no property {name}"))
}

/// Writes every property's seeds into a folder of its own in `corpus`.
///
/// # Errors
/// The file system's.
pub fn write_seeds(corpus: &Path) -> std::io::Result<()> {
    for property in &PROPERTIES {
        let folder = corpus.join(property.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (property.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}
