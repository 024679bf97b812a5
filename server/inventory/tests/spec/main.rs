//! The rules as scripts, one subject a file: a command on a line, what comes of it indented below.
//!
//! Ids are numbers with a letter: product `p1`, reservation `r1`, user `u1`, operation `o1`. Between any
//! two commands of a script the state is frozen, written, restored and audited, so that every rule is
//! shown to hold across a snapshot as well.
//!
//! `SPEC_REWRITE=1 cargo test -p doorbuster-inventory --test spec` writes what comes of the commands
//! into the scripts; read the difference before it is committed.

mod script;
mod told;

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use script::Script;

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(concat!(stringify!($name), ".txt"));
            }
        )*

        #[test]
        fn every_script_is_run() {
            let named = [$(concat!(stringify!($name), ".txt")),*];
            let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            for file in files.filter(|file| file.ends_with(".txt")) {
                assert!(named.contains(&file.as_str()), "{file} is run by nothing");
            }
        }
    };
}

scripts! {
    arguments,
    cancel,
    expiry,
    extend,
    feed,
    idempotency,
    late_payment,
    limits,
    payment,
    reserve,
    retention,
    sale,
    stock,
    unsettled,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec")
}

fn check(name: &str) {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).unwrap();
    let run = run(name, &text);
    if env::var_os("SPEC_REWRITE").is_some() {
        fs::write(&path, run).unwrap();
        return;
    }
    let differs = text.lines().zip(run.lines()).position(|(expected, got)| expected != got);
    if let Some(line) = differs {
        let (expected, got) = (text.lines().nth(line).unwrap(), run.lines().nth(line).unwrap());
        panic!("{name}:{}\n  expected {expected}\n  got      {got}", line + 1);
    }
    assert_eq!(text.lines().count(), run.lines().count(), "{name}: as many lines as commands and outcomes");
}

/// The script with what really comes of its commands.
fn run(name: &str, text: &str) -> String {
    let mut script = Script::new();
    let mut told = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with(' ') {
            continue;
        }
        writeln!(told, "{line}").unwrap();
        if !line.is_empty() && !line.starts_with('#') {
            let outcome = script.run(line).unwrap_or_else(|wrong| panic!("{name}:{}: {wrong}", number + 1));
            outcome.lines().for_each(|line| writeln!(told, "    {line}").unwrap());
        }
    }
    told
}
