//! The one binary of Doorbuster. Everything is in the library beside it, so that whole-system tests
//! can start clusters the way the demo does.

use std::process::ExitCode;

fn main() -> ExitCode {
    doorbuster_cli::main()
}
