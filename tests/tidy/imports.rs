//! Imports run one way: `protocol <- inventory <- server -> raft`, `protocol <- client <- gateway`, `cli` on top.
//! `planted` is the simulator's switch, empty in every build but its own; `tests` may use everything.

use std::fs;
use std::path::Path;

use crate::rules::Finding;

/// Each crate's folder, and which of ours it may be built on.
const DIRECTION: [(&str, &[&str]); 10] = [
    ("protocol", &[]),
    ("server/inventory", &["protocol", "planted"]),
    ("server/gate", &["protocol", "inventory", "planted"]),
    ("raft", &["planted"]),
    ("server", &["protocol", "inventory", "gate", "raft", "planted"]),
    ("client", &["protocol", "planted"]),
    ("gateway", &["protocol", "client", "planted"]),
    ("gateway/payment-simulator", &[]),
    ("cli", &["protocol", "client", "gateway", "payment-simulator", "server", "planted"]),
    ("tests/planted", &[]),
];

pub fn check(root: &Path) -> Vec<Finding> {
    DIRECTION.iter().flat_map(|(folder, allowed)| check_manifest(root, folder, allowed)).collect()
}

fn check_manifest(root: &Path, folder: &str, allowed: &[&str]) -> Vec<Finding> {
    let path = format!("{folder}/Cargo.toml");
    match fs::read_to_string(root.join(&path)) {
        Ok(text) => wrong_imports(&path, &text, allowed),
        Err(_) if folder == "server/gate" => Vec::new(),
        Err(error) => vec![Finding { path, line: 0, what: error.to_string() }],
    }
}

/// The crates of ours in `[dependencies]` that a crate may not be built on.
pub fn wrong_imports(path: &str, manifest: &str, allowed: &[&str]) -> Vec<Finding> {
    let manifest: toml::Table = manifest.parse().expect("cargo has read this manifest");
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    dependencies
        .keys()
        .filter_map(|name| name.strip_prefix("doorbuster-"))
        .filter(|name| !allowed.contains(name))
        .map(|name| Finding {
            path: path.to_owned(),
            line: 0,
            what: format!("imports doorbuster-{name}, against the direction of ARCHITECTURE.md"),
        })
        .collect()
}
