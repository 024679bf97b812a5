//! Writes what the fuzzer begins with: `seeds DIRECTORY`.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(corpus), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: seeds DIRECTORY");
        return ExitCode::from(2);
    };
    match doorbuster_decoders::write_seeds(&PathBuf::from(&corpus)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: cannot write to {}: {error}", corpus.display());
            ExitCode::FAILURE
        }
    }
}
