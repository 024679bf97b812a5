//! `doorbuster demo` as a user runs it, smaller: its own verdict, and its report checked again here.

use std::fs;
use std::process::Command;

use crate::sale::binary;

#[test]
fn a_small_demo_sells_exactly_its_units_over_a_killed_leader() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.json");
    let output = Command::new(binary())
        .args(["demo", "--headless", "--buyers", "30000", "--units", "100", "--json"])
        .arg(&report)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the demo failed:\n{said}");
    let text = fs::read_to_string(&report).expect("it wrote its report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
    for (field, wanted) in [
        ("units", 100),
        ("confirmed", 100),
        ("orders_in_database", 100),
        ("oversold", 0),
        ("lost_acknowledged", 0),
        ("duplicate_orders", 0),
    ] {
        assert_eq!(report[field], wanted, "{field} in {text}");
    }
    assert!(report["attempts"].as_u64().is_some_and(|attempts| attempts >= 30_000), "{text}");
    assert_eq!(report["leader_killed"], true, "{text}");
    assert_eq!(report["state_hashes_equal"], true, "{text}");
}
