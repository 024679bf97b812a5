//! The measuring: for each work, every system in turn, again and again, so that what happens to the machine meanwhile
//! happens to all of them.

use super::busy::busy;
use super::contest::{Setting, System, Work};
use super::options::{Options, Programs};
use super::stand::{Ground, Stand};
use doorbuster_cli::bench::cpu::Shares;
use doorbuster_cli::bench::generator::{Load, Rhythm};
use doorbuster_cli::bench::recorder::Window;
use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_cli::output::grouped;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The servers' processor time is read so long before the end, while their processes are still there.
const BEFORE_THE_END: Duration = Duration::from_millis(20);

/// What one system did once.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Operations a second.
    pub per_second: f64,
    /// Latency, in ns.
    pub p50: u64,
    /// Latency, in ns.
    pub p99: u64,
    /// Who had the processors.
    pub shares: Shares,
    /// Which share of the machine others had, who are neither the system nor the generator.
    pub others: f64,
    /// Answers that the work is not about, by name.
    pub failures: BTreeMap<&'static str, u64>,
}

/// What one system did, each time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What.
    pub work: Work,
    /// Who.
    pub system: System,
    /// In the order they were taken.
    pub samples: Vec<Sample>,
}

/// Everything, in turn.
///
/// # Errors
/// What a system met, with its name and that of the work.
pub async fn contest(
    options: &Options,
    programs: &Programs,
    systems: &[System],
    folder: &Path,
) -> Result<Vec<Entry>, CliError> {
    let (programs, folder, server_cpus) = (programs.clone(), folder.to_owned(), options.server_cpus.clone());
    let ground = Ground { programs, folder, server_cpus };
    let mut entries = Vec::new();
    for work in options.chosen_works()? {
        let mut stands = Vec::new();
        for system in systems.iter().filter(|system| work.is_done_by(**system)) {
            stands.push(ground.bring_up(*system, work.setting).await.map_err(|error| at(&work, *system, &error))?);
        }
        let first = entries.len();
        entries.extend(stands.iter().map(|stand| Entry { work, system: stand.system(), samples: Vec::new() }));
        for repeat in 1..=options.repeats() {
            for (stand, entry) in stands.iter().zip(&mut entries[first..]) {
                let sample = measure(options, &work, stand).await.map_err(|error| at(&work, entry.system, &error))?;
                say(&format!(
                    "{} {repeat}/{} {}: {}/s",
                    work.name,
                    options.repeats(),
                    entry.system,
                    grouped(sample.per_second)
                ));
                entry.samples.push(sample);
            }
        }
        for stand in stands {
            stand.close().await?;
        }
    }
    Ok(entries)
}

async fn measure(options: &Options, work: &Work, stand: &Stand) -> Result<Sample, CliError> {
    let asked = stand.prepare(work).await?;
    let start = clock::now();
    let from = start + options.warm_up();
    let window = Window { from, until: from + options.length() };
    let cpus = (work.setting != Setting::ThreeNodes).then(|| options.generator_cpus.clone());
    let (connections, rhythm) = (options.connections, Rhythm::Closed(work.depth));
    let load = Load { threads: 1, connections, rhythm, cpus, start, window };
    let watched = async {
        tokio::time::sleep_until(window.from.into()).await;
        let (before, all, begun) = (stand.used().0, busy(), clock::now());
        tokio::time::sleep_until((window.until - BEFORE_THE_END).into()).await;
        let ((after, pinned), all, ended) = (stand.used(), busy().saturating_sub(all), clock::now());
        (after.since(&before), all, pinned, ended.saturating_duration_since(begun))
    };
    let (outcome, (used, all, pinned, elapsed)) = tokio::join!(asked.run(&load), watched);
    let outcome = outcome?;
    let part = elapsed.as_secs_f64() / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let recorder = outcome.recorder;
    let mut failures = recorder.failures();
    if recorder.measured() == 0 {
        failures.insert("nothing was answered", 1);
    }
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    let generator = (1, outcome.used.mul_f64(part));
    let shares = Shares { machine, elapsed, generator, servers: Some((used, pinned)) };
    let others = others(all, &shares);
    let (p50, p99) = (recorder.quantile(0.5), recorder.quantile(0.99));
    Ok(Sample { per_second: recorder.per_second(), p50, p99, shares, others, failures })
}

/// What is left of all that was used.
fn others(all: Duration, shares: &Shares) -> f64 {
    let whole = shares.elapsed.as_secs_f64() * shares.machine as f64;
    let pinned = shares.servers.as_ref().and_then(|(_, pinned)| *pinned).unwrap_or(shares.machine);
    let servers = shares.servers().unwrap_or_default() * pinned as f64 * shares.elapsed.as_secs_f64();
    let ours = servers + shares.generator.1.as_secs_f64();
    ((all.as_secs_f64() - ours) / whole.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
}

fn at(work: &Work, system: System, error: &CliError) -> CliError {
    CliError::failed(format!("{system}, {}: {error}", work.name))
}

fn say(text: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neither_system_nor_generator_used_was_others() {
        let (second, tenth) = (Duration::from_secs(1), Duration::from_millis(100));
        let shares = Shares { machine: 2, elapsed: second, generator: (1, 3 * tenth), servers: None };
        assert!((others(13 * tenth, &shares) - 0.5).abs() < 1e-9);
        assert!(others(2 * tenth, &shares).abs() < 1e-9, "ticks are coarse: never less than nothing");
    }
}
