//! The rules, one a function. Each takes a text and gives its findings.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::functions;
use crate::tree::Source;

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_README_LINES: usize = 200;
/// Unwraps and expects per thousand lines of a crate's product code.
const MAX_UNWRAPS_PER_THOUSAND: usize = 3;

/// What a rule objects to, and where.
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn finding(source: &Source, line: usize, what: impl Into<String>) -> Finding {
    Finding { path: source.path.clone(), line, what: what.into() }
}

/// Every rule that looks at one file at a time.
pub fn check(source: &Source) -> Vec<Finding> {
    let rules: [fn(&Source) -> Vec<Finding>; 8] =
        [file_length, function_length, contract, markers, names, ambient, purity, unsafety];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

pub fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let what = format!("{lines} lines; a file over {MAX_FILE_LINES} is two things");
    (lines > MAX_FILE_LINES).then(|| finding(source, lines, what)).into_iter().collect()
}

pub fn function_length(source: &Source) -> Vec<Finding> {
    match functions::of(&source.text) {
        Err(error) => vec![finding(source, error.span().start().line, format!("does not parse: {error}"))],
        Ok(functions) => functions
            .iter()
            .filter(|function| function.lines > MAX_FUNCTION_LINES)
            .map(|function| {
                let what = format!("`{}` takes {} lines, at most {MAX_FUNCTION_LINES}", function.name, function.lines);
                finding(source, function.line, what)
            })
            .collect(),
    }
}

/// The head of a file states its contract.
pub fn contract(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//!") { Vec::new() } else { vec![finding(source, 1, "no `//!` at its head")] }
}

/// Nothing unfinished, nothing switched off.
pub fn markers(source: &Source) -> Vec<Finding> {
    if source.path.starts_with("tests/tidy/") {
        return Vec::new();
    }
    let markers = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX", "TODO", "dbg!("];
    lines_with(source, &source.text, &markers, "marks unfinished work")
}

/// A file is named for what it does.
pub fn names(source: &Source) -> Vec<Finding> {
    let vague = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let stem = |part: &str| part.trim_end_matches(".rs").to_owned();
    let found = source.path.split('/').any(|part| vague.contains(&stem(part).as_str()));
    found.then(|| finding(source, 1, "a name that says nothing")).into_iter().collect()
}

/// Time and randomness are inputs: only a crate's `clock.rs` and `entropy.rs` ask the machine for them.
pub fn ambient(source: &Source) -> Vec<Finding> {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let allowed = ["clock.rs", "entropy.rs"].contains(&name) || source.path.starts_with("cli/") || source.is_test();
    if allowed {
        return Vec::new();
    }
    let calls = ["Instant::now", "SystemTime::now", "rand::rng", "rand::random", "thread_rng", "getrandom::", "OsRng"];
    lines_with(
        source,
        source.product_code(),
        &calls,
        "asks for time or randomness outside the clock and entropy modules",
    )
}

/// What is replicated does no I/O, has no threads and no order that changes from run to run.
pub fn purity(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("server/inventory/src/") || source.is_test() {
        return Vec::new();
    }
    let impure = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::time",
        "std::env",
        "tokio",
        "HashMap::new",
        "RandomState",
        "async ",
    ];
    lines_with(source, source.product_code(), &impure, "has no place in the pure core")
}

/// No unsafe code but in a named module, each with the reason why it is sound.
pub fn unsafety(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    if source.path.ends_with("src/lib.rs") {
        let says = ["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"];
        if !says.iter().any(|attribute| source.text.contains(attribute)) {
            found.push(finding(source, 1, "a crate without forbid(unsafe_code) or deny(unsafe_code)"));
        }
    }
    let lines: Vec<&str> = source.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let opens = code.contains("unsafe {") || code.starts_with("unsafe impl") || code.contains("unsafe fn");
        if code.starts_with("//") || !opens || source.path.starts_with("tests/tidy/") {
            continue;
        }
        let reason = lines[number.saturating_sub(6)..number].iter().any(|before| before.contains("SAFETY:"));
        if !reason {
            found.push(finding(source, number + 1, "unsafe without a `SAFETY:` comment above it"));
        }
    }
    found
}

/// A crate's product code states its invariants instead of unwrapping.
pub fn unwraps(sources: &[Source]) -> Vec<Finding> {
    let mut packages: Vec<&str> = sources.iter().map(Source::package).collect();
    packages.dedup();
    packages.iter().filter_map(|package| unwraps_of(package, sources)).collect()
}

fn unwraps_of(package: &str, sources: &[Source]) -> Option<Finding> {
    let files = || sources.iter().filter(|source| source.package() == package && !source.is_test());
    let code =
        || files().flat_map(|source| source.product_code().lines()).filter(|line| !line.trim_start().starts_with("//"));
    let lines = code().count();
    let unwraps: usize = code().map(|line| line.matches(".unwrap()").count() + line.matches(".expect(").count()).sum();
    let allowed = (lines * MAX_UNWRAPS_PER_THOUSAND).div_ceil(1000).max(2);
    (unwraps > allowed).then(|| Finding {
        path: package.to_owned(),
        line: 0,
        what: format!("{unwraps} unwraps and expects in {lines} lines of product code, at most {allowed}"),
    })
}

/// The README stays a page that one reads.
pub fn documents(root: &Path) -> Vec<Finding> {
    let lines = fs::read_to_string(root.join("README.md")).map_or(0, |text| text.lines().count());
    let wrong = lines == 0 || lines > MAX_README_LINES;
    let what = format!("{lines} lines, must be 1 to {MAX_README_LINES}");
    wrong.then(|| Finding { path: "README.md".to_owned(), line: lines, what }).into_iter().collect()
}

fn lines_with(source: &Source, text: &str, wanted: &[&str], why: &str) -> Vec<Finding> {
    let code = text.lines().enumerate().filter(|(_, line)| wanted.iter().any(|word| line.contains(word)));
    code.map(|(number, line)| finding(source, number + 1, format!("`{}` {why}", line.trim()))).collect()
}
