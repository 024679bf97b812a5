//! A worker: plays the recipes that come on its standard input, a line each, and answers each with a line.

use std::io::{BufRead, Write, stdin, stdout};

use super::job::Report;
use super::planted;
use super::recipe::Recipe;

/// Serves until the input ends. With a bug planted, if one is named.
///
/// # Errors
/// A bug that does not exist or cannot be planted in this build; an input that is no recipe.
pub fn serve(plant: Option<&str>) -> Result<bool, String> {
    planted::plant(plant)?;
    for line in stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let outcome = line.parse::<Recipe>()?.play(false)?;
        let mut out = stdout().lock();
        let written = writeln!(out, "{}", Report::of(&outcome).write()).and_then(|()| out.flush());
        written.map_err(|error| error.to_string())?;
    }
    Ok(true)
}
