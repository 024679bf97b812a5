//! The `doorbuster` binary of the same build as the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary that belongs to this build of the tests.
#[must_use]
pub fn binary() -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has a path");
    let target = exe.parent().and_then(|deps| deps.parent()).expect("tests are built into target/<profile>/deps");
    let binary = target.join("doorbuster");
    assert!(binary.is_file(), "{} is missing: run ./test, or cargo build -p doorbuster-cli", binary.display());
    binary
}

/// The binary, as a script in this folder: a gateway of it ends right before this step of the saga.
#[must_use]
pub fn ending_before(step: &str, folder: &Path) -> PathBuf {
    let path = folder.join(format!("ends-before-{step}"));
    if !path.exists() {
        let text = format!("#!/bin/sh\nDOORBUSTER_END_BEFORE={step} exec {} \"$@\"\n", binary().display());
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text).expect("it can be written");
        // By another process: a file that this one has open to write goes with whatever it forks, and cannot be run then.
        let installed = Command::new("install").args(["-m", "755"]).args([&draft, &path]).status();
        assert!(installed.expect("there is install").success());
    }
    path
}
