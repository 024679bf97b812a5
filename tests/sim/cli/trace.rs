//! Replays one run in this process, with everything that happens on the standard output if wanted.

use super::args::Args;
use super::job::Report;
use super::recipe::Recipe;

/// Whether no promise was broken.
///
/// # Errors
/// A recipe that makes no sense.
pub fn replay(args: &Args) -> Result<bool, String> {
    let seed = args.seed.unwrap_or(0);
    let high = if args.high { " high" } else { "" };
    let recipe: Recipe = format!("seed={seed}{high} {}", args.with).parse()?;
    let (scenario, shape) = recipe.build()?;
    println!("{scenario:?}\n{shape:?}\nfaults: {}", scenario.faults);
    let outcome = recipe.play(args.trace)?;
    let report = Report::of(&outcome);
    println!("trace hash {:016x}, {} ms", report.trace_hash, report.lasted_ms);
    for (name, count) in &report.counters {
        println!("  {name}: {count}");
    }
    if let Some(found) = &outcome.found {
        found.context.iter().for_each(|line| println!("{line}"));
    }
    let Some(broken) = &report.broken else {
        println!("no promise was broken");
        return Ok(true);
    };
    println!("broken: {} at {} s\n  {}", broken.property, broken.at, broken.what);
    broken.operations.iter().for_each(|operation| println!("  {operation}"));
    Ok(false)
}
