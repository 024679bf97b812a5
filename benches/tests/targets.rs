//! The measuring of aims by its program, on real servers, in its quick form: what it keeps, what it writes, and that nothing
//! is measured twice.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use doorbuster_tests::binary::binary;
use serde_json::Value;

#[test]
fn rows_are_measured_kept_and_written() {
    // That it stands beside `doorbuster`.
    assert_eq!(binary().parent(), Path::new(env!("CARGO_BIN_EXE_targets")).parent());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let docs = folder.path().display().to_string();
    let prose = folder.path().join("performance/prose");
    std::fs::create_dir_all(&prose).expect("the folder takes others");
    std::fs::write(prose.join("limits.md"), "## Limits\n\nWritten by hand.\n").expect("the folder takes a file");
    std::fs::write(prose.join("capacity.md"), "One waits {{figure idle: p50}}.\n").expect("the folder takes a file");
    let words = ["--quick", "--only", "idle", "--docs", &docs];
    assert_succeeds(&targets(&words));

    let file = folder.path().join("performance/runs/idle.json");
    let first = std::fs::read_to_string(&file).expect("it is kept");
    let kept: Value = serde_json::from_str(&first).expect("it is a document");
    assert_eq!(kept["runs"].as_array().map(Vec::len), Some(1), "{first}");
    assert_eq!(kept["runs"][0]["failed"], Value::Null, "{first}");
    assert!(kept["runs"][0]["output"]["result"]["latency_us"]["p50"].as_f64().is_some_and(|p50| p50 > 0.0), "{first}");
    let page = std::fs::read_to_string(folder.path().join("PERFORMANCE.md")).expect("it is written");
    assert!(page.contains("A quick run") && page.contains("debug build: NOT for measuring"), "{page}");
    assert!(page.contains("    doorbuster bench reserve --spawn 3 --connections 1 "), "{page}");
    assert!(page.contains("| p50 | ") && page.ends_with("Written by hand.\n"), "{page}");

    let guide = std::fs::read_to_string(folder.path().join("CAPACITY.md")).expect("it is written");
    assert!(guide.starts_with("One waits ") && guide.ends_with(" ms.\n"), "{guide}");

    assert_succeeds(&targets(&[&words[..], &["--merge"]].concat()));
    assert_eq!(std::fs::read_to_string(&file).expect("it is kept"), first, "nothing was missing");
    let peers = folder.path().join("list.json");
    std::fs::write(&peers, r#"[{"work": "refuse-d16", "system": "valkey", "ops_per_second": 5.0, "p50_us": 1.0, "p99_us": 2.0, "ratio_to_doorbuster": 0.125}]"#)
        .expect("the folder takes a file");
    assert_succeeds(&targets(&["--write", "--docs", &docs, "--peers", &peers.display().to_string()]));
    let page = std::fs::read_to_string(folder.path().join("PERFORMANCE.md")).expect("it is written");
    assert!(page.contains("| refuse-d16 | valkey | 5 | 0.00 ms | 0.00 ms | 8.0x |"), "{page}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let docs = folder.path().display().to_string();
    for (words, code, named) in [
        (&["--only", "reserve"][..], 2, "reserve-synced"),
        (&["--write", "--peers", "nothing.json"], 2, "benches/peers/run --json"),
        (&["--times", "0"], 2, "1..=99"),
        (&["--curves", "--only", "idle"], 2, "cannot be used with"),
    ] {
        let output = targets(&[words, &["--docs", &docs]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(named), "{words:?}: {said}");
    }
    assert!(std::fs::read_dir(folder.path()).expect("it is there").next().is_none(), "nothing was written");
}

fn targets(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_targets"));
    command.args(words).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn assert_succeeds(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
