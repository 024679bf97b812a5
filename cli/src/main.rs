//! The one binary of Doorbuster. Everything is in the library beside it, so that whole-system tests
//! can start clusters the way the demo does.

use std::process::ExitCode;

// The simulator's planted bugs have no way into this binary.
const _: () = assert!(!doorbuster_planted::COMPILED_IN, "`doorbuster` cannot be built with the feature `planted`");

fn main() -> ExitCode {
    doorbuster_cli::main()
}
