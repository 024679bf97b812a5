//! The simulator's program: `cargo run --release -p doorbuster-tests --bin sim -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    doorbuster_tests::sim::cli::main()
}
