//! Plants classic bugs, one at a time, and runs seeds until a promise is broken: evidence that the properties can fail.

use std::fmt::Write;
use std::process::Command;

use doorbuster_planted::{Bug, COMPILED_IN};

use super::args::Args;
use super::clock;
use super::document;
use super::pool::Pool;
use super::recipe::Recipe;

/// What came of one bug.
struct Caught {
    seed: u64,
    seeds: u64,
    property: String,
    what: String,
}

/// Whether every bug was caught. In a build without bugs, has cargo make one that has them, and runs that.
///
/// # Errors
/// Cargo or workers cannot be had; a bug that does not exist.
pub fn run(args: &Args, limit: u64, only: &[String]) -> Result<bool, String> {
    if !COMPILED_IN {
        return rebuild();
    }
    let bugs: Vec<Bug> = match only {
        [] => Bug::ALL.to_vec(),
        names => names.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
    };
    let mut table = String::from("| planted bug | caught by | seeds | real seconds |\n| --- | --- | --- | --- |\n");
    let mut missed = 0;
    for bug in bugs {
        let begun = clock::now();
        let row = match hunt(args, bug, limit)? {
            Some(caught) => {
                eprintln!("{}: seed {}: {}: {}", name(bug), caught.seed, caught.property, first_line(&caught.what));
                format!(
                    "| {} | {} | {} | {} |",
                    sentence(bug),
                    caught.property,
                    caught.seeds,
                    begun.elapsed().as_secs()
                )
            }
            None => {
                missed += 1;
                format!("| {} | **missed** | {limit} | {} |", sentence(bug), begun.elapsed().as_secs())
            }
        };
        println!("{row}");
        let _ = writeln!(table, "{row}");
    }
    println!("{}", if missed == 0 { "every one was caught".to_owned() } else { format!("{missed} missed") });
    if let Some(report) = &args.report {
        document::replace(report, "planted", &table)?;
    }
    Ok(missed == 0)
}

/// Plants the bug of this name in this process.
///
/// # Errors
/// There is none, or this build has no bugs.
pub fn plant(bug: Option<&str>) -> Result<(), String> {
    let Some(bug) = bug.map(named).transpose()? else { return Ok(()) };
    put(bug)
}

#[cfg(feature = "planted")]
#[allow(clippy::unnecessary_wraps)] // a build without bugs refuses
fn put(bug: Bug) -> Result<(), String> {
    doorbuster_planted::plant(Some(bug));
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn put(bug: Bug) -> Result<(), String> {
    Err(format!("{bug:?} cannot be planted in this build: it lacks the feature `planted`"))
}

fn rebuild() -> Result<bool, String> {
    // Where this was started, so that a report's path is where its caller says.
    let mut arguments = vec!["run", "--locked", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")];
    if !cfg!(debug_assertions) {
        arguments.push("--release");
    }
    arguments.extend(["-p", "doorbuster-tests", "--features", "planted", "--bin", "sim", "--"]);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let given: Vec<String> = std::env::args().skip(1).collect();
    let ended = Command::new(&cargo).args(&arguments).args(&given).status();
    let ended = ended.map_err(|error| {
        format!("{cargo}: {error}; run it yourself: cargo {} {}", arguments.join(" "), given.join(" "))
    })?;
    Ok(ended.success())
}

/// Runs seeds until one breaks a promise that it keeps without the bug.
fn hunt(args: &Args, bug: Bug, limit: u64) -> Result<Option<Caught>, String> {
    let pool = Pool { jobs: args.jobs(), patience: args.patience(), plant: Some(name(bug)) };
    let sound = Pool { plant: None, jobs: 1, ..pool.clone() };
    let mut seeds = 0;
    let mut caught: Option<Caught> = None;
    let mut failed = None;
    pool.run((0..limit).map(|seed| Recipe::of(seed, false)), |recipe, report| {
        seeds += 1;
        let Some(broken) = report.broken.filter(|_| caught.is_none()) else { return caught.is_none() };
        match breaks(&sound, recipe) {
            Ok(true) => eprintln!("{recipe} is broken without the bug, too: {}", broken.property),
            Ok(false) => {
                caught = Some(Caught { seed: recipe.seed, seeds, property: broken.property, what: broken.what });
            }
            Err(error) => failed = Some(error),
        }
        caught.is_none() && failed.is_none()
    })?;
    failed.map_or(Ok(caught), Err)
}

fn breaks(pool: &Pool, recipe: &Recipe) -> Result<bool, String> {
    let mut broken = false;
    pool.run(std::iter::once(recipe.clone()), |_, report| {
        broken = report.broken.is_some();
        true
    })?;
    Ok(broken)
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.is_empty()).unwrap_or_default()
}

/// The bug of this name.
///
/// # Errors
/// There is none; the names that there are.
pub fn named(text: &str) -> Result<Bug, String> {
    let all = || Bug::ALL.map(name).join(", ");
    Bug::ALL.into_iter().find(|bug| name(*bug) == text).ok_or_else(|| format!("no bug {text:?}; there are {}", all()))
}

const fn name(bug: Bug) -> &'static str {
    match bug {
        Bug::AcknowledgeBeforeSync => "acknowledge-before-sync",
        Bug::VoteNotPersisted => "vote-not-persisted",
        Bug::ReplyAtPropose => "reply-at-propose",
        Bug::WaitersFirstInFirstOut => "waiters-first-in-first-out",
        Bug::ReadWithoutLease => "read-without-lease",
        Bug::LeaseByTicks => "lease-by-ticks",
        Bug::ExpiryByLocalClock => "expiry-by-local-clock",
        Bug::SnapshotWithoutIdempotency => "snapshot-without-idempotency",
        Bug::AppliedIndexApart => "applied-index-apart",
        Bug::CutAtDamage => "cut-at-damage",
        Bug::RetryUnderNewId => "retry-under-new-id",
        Bug::ExpiryIndexLost => "expiry-index-lost",
        Bug::ConfirmAfterExpiry => "confirm-after-expiry",
        Bug::RefusalFromUncommitted => "refusal-from-uncommitted",
        Bug::FeedAcknowledgedEarly => "feed-acknowledged-early",
        Bug::TicketsNotGivenBack => "tickets-not-given-back",
        Bug::TimeoutTakenForFailure => "timeout-taken-for-failure",
        Bug::UnknownChargeNotClosed => "unknown-charge-not-closed",
    }
}

const fn sentence(bug: Bug) -> &'static str {
    match bug {
        Bug::AcknowledgeBeforeSync => "a write is called durable before it is synced",
        Bug::VoteNotPersisted => "a restarted node has forgotten its vote",
        Bug::ReplyAtPropose => "callers are answered when their entry is proposed",
        Bug::WaitersFirstInFirstOut => "waiters are answered first in, first out, across a leader change",
        Bug::ReadWithoutLease => "a read without lease or ReadIndex",
        Bug::LeaseByTicks => "a lease counted in ticks, which stop with the process",
        Bug::ExpiryByLocalClock => "expiry by the leader's own wall clock",
        Bug::SnapshotWithoutIdempotency => "a snapshot without the answers given to ids",
        Bug::AppliedIndexApart => "the applied index restored apart from the state",
        Bug::CutAtDamage => "the log cut at damage in its middle",
        Bug::RetryUnderNewId => "a client retries under a new id",
        Bug::ExpiryIndexLost => "a restored state has lost its expiry index",
        Bug::ConfirmAfterExpiry => "a confirmation accepted after expiry",
        Bug::RefusalFromUncommitted => "a refusal that rests on what is not committed",
        Bug::FeedAcknowledgedEarly => "the order feed acknowledged before it is stored",
        Bug::TicketsNotGivenBack => "tickets not given back at a leader change",
        Bug::TimeoutTakenForFailure => "a payment provider's silence taken for a failure",
        Bug::UnknownChargeNotClosed => "a payment called failed while its charge may yet arrive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_and_only_a_planted_build_takes_it() {
        for bug in Bug::ALL {
            assert_eq!(named(name(bug)), Ok(bug));
            assert_eq!(plant(Some(name(bug))).is_ok(), COMPILED_IN);
        }
        assert!(plant(Some("gremlin")).is_err());
        assert_eq!(plant(None), Ok(()));
    }
}
