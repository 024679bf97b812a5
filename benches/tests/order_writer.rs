//! The order writer beside bare batches, on a real server and a real PostgreSQL: the same rows in every way, and what is said of
//! it. `./test` installs PostgreSQL; without it this is left out.

use std::path::Path;
use std::process::{Command, Stdio};

use doorbuster_tests::binary::binary;
use serde_json::Value;

#[test]
fn every_way_stores_the_same_rows_and_is_told() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("initdb").is_file()) {
        assert!(std::env::var_os("DOORBUSTER_REQUIRE_POSTGRES").is_none(), "initdb is missing");
        return;
    }
    // That it stands beside `doorbuster`.
    assert_eq!(binary().parent(), Path::new(env!("CARGO_BIN_EXE_orders")).parent());
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    // More than one batch, the last of them not full.
    let output = command.args(["--orders", "1500", "--rounds", "1", "--json"]).stdin(Stdio::null()).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("it is a document");
    for way in ["writer", "writer-from-memory", "bare", "bare-orders"] {
        let rounds = told["ways"][way]["rounds"].as_array().cloned().unwrap_or_default();
        assert_eq!(rounds.len(), 1, "{told}");
        assert!(rounds.iter().all(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0)), "{told}");
    }
    for ratio in ["ratio_to_bare", "ratio_from_memory_to_bare", "ratio_to_bare_orders"] {
        assert!(told[ratio].as_f64().is_some_and(|ratio| ratio > 0.0), "{told}");
    }
}
