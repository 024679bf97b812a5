//! Runs many seeds: a progress bar, every tenth twice, and for whatever breaks a promise all that helps to find out why.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::Args;
use super::clock;
use super::document;
use super::job::{Broken, Report};
use super::pool::Pool;
use super::recipe::Recipe;
use super::shrink;
use super::tally::Tally;

/// Every so many seeds, one is run twice.
const REPEATED: u64 = 10;
/// After so many broken promises the rest of the seeds is left out.
const ENOUGH: usize = 8;

/// Runs the seeds that the arguments name. Whether no promise was broken.
///
/// # Errors
/// Workers or the report's document cannot be had.
pub fn run(args: &Args) -> Result<bool, String> {
    let changes = if args.with.is_empty() { String::new() } else { format!(" {}", args.with) };
    let high = if args.high { " high" } else { "" };
    let recipes: Vec<Recipe> =
        args.seeds.clone().map(|seed| format!("seed={seed}{high}{changes}").parse()).collect::<Result<_, String>>()?;
    let (tally, took, found) = runs(args, &recipes, true)?;
    println!("{}", tally.line());
    let missing = tally.missing();
    if !missing.is_empty() {
        println!("marks not reached: {}", missing.join(", "));
    }
    if let Some(report) = &args.report {
        let name = if args.high { "figures-high" } else { "figures" };
        document::replace(report, name, &tally.tables(took, args.jobs()))?;
    }
    Ok(found.is_empty())
}

/// Runs recipes and tells of each promise that was broken; gives the figures and what was broken.
///
/// # Errors
/// Workers cannot be had.
pub fn runs(args: &Args, recipes: &[Recipe], repeat: bool) -> Result<(Tally, Duration, Vec<Recipe>), String> {
    let begun = clock::now();
    let pool = Pool { jobs: args.jobs(), patience: args.patience(), plant: None };
    let times = |recipe: &Recipe| if repeat && recipe.seed.is_multiple_of(REPEATED) { 2 } else { 1 };
    let all = || recipes.iter().flat_map(|recipe| std::iter::repeat_n(recipe.clone(), times(recipe)));
    let bar = bar(all().count());
    let mut tally = Tally::default();
    let mut hashes: BTreeMap<String, u64> = BTreeMap::new();
    let mut found: Vec<(Recipe, Broken)> = Vec::new();
    pool.run(all(), |recipe, report| {
        bar.inc(1);
        if let Some(broken) = judge(recipe, report, &mut hashes, &mut tally) {
            bar.suspend(|| tell(recipe, &broken));
            found.push((recipe.clone(), broken));
        }
        bar.set_message(tally.line());
        found.len() < ENOUGH
    })?;
    bar.finish_and_clear();
    let took = begun.elapsed();
    let mut shrunk: Vec<&str> = Vec::new();
    for (recipe, broken) in &found {
        if args.shrink > 0 && !shrunk.contains(&broken.property.as_str()) && shrunk.len() < 3 {
            shrunk.push(&broken.property);
            shorten(&pool, recipe, broken, Duration::from_secs(args.shrink));
        }
    }
    Ok((tally, took, found.into_iter().map(|(recipe, _)| recipe).collect()))
}

/// Counts a run, or compares it with the first one of its kind.
fn judge(recipe: &Recipe, report: Report, hashes: &mut BTreeMap<String, u64>, tally: &mut Tally) -> Option<Broken> {
    match hashes.insert(recipe.to_string(), report.trace_hash) {
        None => {
            tally.add(&report);
            report.broken
        }
        Some(first) if first == report.trace_hash => {
            tally.repeated += 1;
            None
        }
        Some(first) => {
            tally.broken += 1;
            let what = format!(
                "two runs of the same recipe have the trace hashes {first:016x} and {:016x}",
                report.trace_hash
            );
            Some(Broken { property: "determinism".to_owned(), what, ..Broken::default() })
        }
    }
}

pub fn tell(recipe: &Recipe, broken: &Broken) {
    println!("\n{recipe}\n  broken: {}{}", broken.property, at(broken));
    println!("  {}", broken.what.replace('\n', "\n  "));
    for operation in broken.operations.iter().take(20) {
        println!("  {operation}");
    }
    println!("  again: {}\n  all of it: {} --trace", recipe.command(), recipe.command());
}

fn at(broken: &Broken) -> String {
    if broken.at.is_empty() { String::new() } else { format!(" at {} s", broken.at) }
}

fn shorten(pool: &Pool, recipe: &Recipe, broken: &Broken, budget: Duration) {
    match shrink::shrink(pool, recipe, &broken.property, budget) {
        Some(smaller) => {
            println!("\nsmaller, and broken alike ({}): {smaller}\n  {}", broken.property, smaller.command());
        }
        None => println!("\nnothing smaller was found for {} of {recipe}", broken.property),
    }
}

fn bar(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
