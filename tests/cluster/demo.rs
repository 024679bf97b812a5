//! `doorbuster demo` as a user runs it, smaller: its own verdict, and its report checked again here.

use std::fs;
use std::process::Command;

use doorbuster_tests::binary::binary;

/// Enough of them that, at 3 late payments in a hundred, there is none in one of 100,000 runs.
const UNITS: u64 = 400;

#[test]
fn a_small_demo_sells_and_charges_exactly_its_units_whatever_is_killed_and_whatever_the_provider_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.json");
    let output = Command::new(binary())
        .args(["demo", "--headless", "--buyers", "30000", "--units", &UNITS.to_string(), "--json"])
        .arg(&report)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the demo failed:\n{said}");
    let text = fs::read_to_string(&report).expect("it wrote its report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
    for (field, wanted) in [
        ("units", UNITS),
        ("confirmed", UNITS),
        ("orders_in_database", UNITS),
        ("oversold", 0),
        ("lost_acknowledged", 0),
        ("duplicate_orders", 0),
        ("charged_not_ordered", 0),
        ("ordered_not_charged", 0),
        ("double_charges", 0),
        ("double_refunds", 0),
        ("refunds_due_unpaid", 0),
        ("books_differ", 0),
        ("gateways_killed", 2),
    ] {
        assert_eq!(report[field], wanted, "{field} in {text}");
    }
    assert!(report["attempts"].as_u64().is_some_and(|attempts| attempts >= 30_000), "{text}");
    assert_eq!(report["leader_killed"], true, "{text}");
    assert_eq!(report["state_hashes_equal"], true, "{text}");
    // All of it really came, and was compared.
    for count in ["declined", "unknown", "late", "webhooks/duplicates", "webhooks/held_back"] {
        let came = report.pointer(&format!("/payments/{count}")).and_then(serde_json::Value::as_u64);
        assert!(came.is_some_and(|came| came > 0), "{count} in {text}");
    }
    assert_eq!(report["audit"]["payments"]["charged"], UNITS, "{text}");
    assert_eq!(report["audit"]["payments"]["refunded"], report["payments"]["refunded"], "{text}");
    for kill in report["gateway_kills"].as_array().expect("a list") {
        assert!(kill["payments_under_way"].as_u64().is_some_and(|paying| paying > 0), "{text}");
    }
}
