//! A small demo with everything in it: real processes, both ways into the shop, the kill, the verdict.

use serde_json::Value;
use std::process::Command;

#[test]
fn a_small_sale_holds_with_its_leader_and_its_gateways_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (json, data) = (folder.path().join("out.json"), folder.path().join("data"));
    let output = Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .args(["demo", "--headless", "--units", "40", "--buyers", "600", "--rate", "120", "--ttl", "1s", "--late", "0"])
        .arg("--json")
        .arg(&json)
        .arg("--data")
        .arg(&data)
        .output()
        .expect("the binary runs");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{errors}");
    assert!(out.contains("exactly 40 were sold"), "{out}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("it was written")).expect("it is JSON");
    for (field, wanted) in [
        ("units", Value::from(40)),
        ("confirmed", Value::from(40)),
        ("oversold", Value::from(0)),
        ("lost_acknowledged", Value::from(0)),
        ("orders_in_database", Value::from(40)),
        ("duplicate_orders", Value::from(0)),
        ("leader_killed", Value::from(true)),
        ("gateways_killed", Value::from(2)),
        ("charged_not_ordered", Value::from(0)),
        ("ordered_not_charged", Value::from(0)),
        ("state_hashes_equal", Value::from(true)),
    ] {
        assert_eq!(report[field], wanted, "{field}");
    }
    assert_eq!(report["payments"]["late"], 0, "as was asked for");
    let attempts = report["attempts"].as_u64().expect("a number");
    let refused: u64 = report["refusals"].as_object().expect("a map").values().filter_map(Value::as_u64).sum();
    assert!(attempts >= 600);
    assert_eq!(refused + report["granted"].as_u64().expect("a number"), attempts, "every attempt has one answer");
    for path in ["/latency_us/granted/p50", "/latency_us/refused/p999", "/longest_wait_ms", "/attempts_per_second"] {
        assert!(report.pointer(path).is_some_and(Value::is_number), "{path}");
    }
    let ledger = std::fs::read_to_string(data.join("ledger.txt")).expect("the ledger is kept");
    assert_eq!(ledger.lines().filter(|line| line.ends_with(" confirmed")).count(), 40);
}
