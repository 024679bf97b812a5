//! Seeds and scenarios that once broke a promise: `tests/sim/regressions/*.txt`, a recipe a line, `#` before what it showed.

use std::path::Path;

use super::args::Args;
use super::recipe::Recipe;
use super::sweep;

/// Where they are kept.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sim/regressions");

/// Runs them all. Whether none breaks a promise any more.
///
/// # Errors
/// A file that cannot be read, or a line that is no recipe.
pub fn run(args: &Args) -> Result<bool, String> {
    let recipes = read(Path::new(FOLDER))?;
    let (tally, _, found) = sweep::runs(args, &recipes, false)?;
    println!("{} regressions, {} broken again", tally.runs, found.len());
    Ok(found.is_empty())
}

fn read(folder: &Path) -> Result<Vec<Recipe>, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(problem)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(problem)?;
    files.sort();
    let mut recipes = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "txt")) {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let recipe = line.parse().map_err(|error| format!("{}:{}: {error}", file.display(), number + 1))?;
                recipes.push(recipe);
            }
        }
    }
    Ok(recipes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_read() {
        read(Path::new(FOLDER)).expect("every line is a recipe");
    }
}
