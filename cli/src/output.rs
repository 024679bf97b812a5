//! What a subcommand prints: tables for people, one JSON document for programs. Results go to stdout,
//! errors to stderr, so that a pipe carries results only.

use crate::error::CliError;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write as _;
use std::process::ExitCode;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or for programs.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Prints a result in the form that was asked for.
    pub fn print(self, people: impl FnOnce() -> String, programs: impl FnOnce() -> Value) {
        let text = if self.json { pretty(&programs()) } else { people() };
        line(&text);
    }

    /// Prints an error to stderr and says what to exit with.
    #[must_use]
    pub fn error(self, error: &CliError) -> ExitCode {
        let text = if self.json { error.json().to_string() } else { format!("doorbuster: {error}") };
        // Nobody is left to tell if stderr is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(error.exit)
    }
}

/// Writes a line to stdout; a reader that went away (`| head`) is no error.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A table with these column heads.
#[must_use]
pub fn table<const N: usize>(heads: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(heads);
    table
}

/// A table of names and values, without a head.
#[must_use]
pub fn facts() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// The JSON text of a document, for people's eyes too.
#[must_use]
pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// A whole number with its thousands set apart.
#[must_use]
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([7.4, 1_000.0, 1_234_567.0].map(grouped), ["7", "1,000", "1,234,567"]);
    }
}
