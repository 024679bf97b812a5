//! Live reservations that a bench begins with, and what they take: time while they are made, and the servers' memory
//! afterwards.

use super::event::Aftermath;
use super::recorder::us;
use super::site::Site;
use super::work::{Ask, Work};
use super::workload::fill;
use crate::error::CliError;
use crate::output::grouped;
use crate::{clock, entropy};
use doorbuster_protocol::types::ProductId;
use serde_json::json;
use std::time::Duration;

/// How often it is looked whether the servers' memory still changes, and how often at most.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 30;
/// Memory is settled when it changed by less than this part between two looks.
const SETTLED: f64 = 0.002;

/// What was made.
#[derive(Clone, Debug)]
pub struct Live {
    count: u32,
    per_second: f64,
    /// The longest that one of them took to make, in ns.
    longest: u64,
    memory: Option<Memory>,
}

/// Memory of the servers, if they run here.
#[derive(Clone, Copy, Debug)]
struct Memory {
    nodes: usize,
    /// Bytes resident in all of them.
    before: u64,
    after: u64,
}

impl Live {
    /// Makes so many of this product.
    ///
    /// # Errors
    /// If the cluster does not take them.
    pub async fn make(site: &Site, product: ProductId, count: u32) -> Result<Self, CliError> {
        let before = resident(site);
        let begun = clock::now();
        let made = fill(site, &Work::of(Ask::Unit, product, entropy::number(), u64::from(count))).await?;
        let took = clock::now().saturating_duration_since(begun);
        let memory = match before {
            Some((nodes, before)) => Some(Memory { nodes, before, after: settled(site).await.unwrap_or(before) }),
            None => None,
        };
        let per_second = f64::from(count) / took.as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(Self { count, per_second, longest: made.longest(), memory })
    }

    /// What there is to tell of them.
    #[must_use]
    pub fn told(&self) -> Aftermath {
        let longest = self.longest as f64 / 1e6;
        let made = format!(
            "{} to begin with, made at {}/s, the longest {longest:.3} ms",
            grouped(f64::from(self.count)),
            grouped(self.per_second)
        );
        let mut rows = vec![("live".to_owned(), made)];
        if let Some(memory) = &self.memory {
            rows.push(("memory".to_owned(), memory.describe(self.count)));
        }
        let memory = self.memory.as_ref();
        let field = json!({
            "reservations": self.count, "made_per_second": self.per_second.round(), "longest_us": us(self.longest),
            "resident_bytes_before": memory.map(|memory| memory.before), "resident_bytes_after": memory.map(|memory| memory.after),
            "bytes_each": memory.map(|memory| (memory.each(self.count) * 10.0).round() / 10.0),
        });
        Aftermath { rows, fields: vec![("live", field)], ..Aftermath::default() }
    }
}

impl Memory {
    /// Bytes a reservation on each node.
    fn each(&self, count: u32) -> f64 {
        self.after.saturating_sub(self.before) as f64 / (f64::from(count) * self.nodes as f64).max(1.0)
    }

    fn describe(&self, count: u32) -> String {
        let mebibytes = |bytes: u64| grouped(bytes as f64 / f64::from(1 << 20));
        format!(
            "{:.1} bytes resident a live reservation and node: {} MiB without them, {} MiB with them, on {} node(s)",
            self.each(count),
            mebibytes(self.before),
            mebibytes(self.after),
            self.nodes
        )
    }
}

/// Resident bytes once they do not change any more: followers apply what the leader has answered, and a snapshot that is
/// being written keeps pages of its own.
async fn settled(site: &Site) -> Option<u64> {
    let (_, mut last) = resident(site)?;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        let (_, now) = resident(site)?;
        if now.abs_diff(last) as f64 <= last as f64 * SETTLED {
            return Some(now);
        }
        last = now;
    }
    Some(last)
}

/// How many servers run here, and the bytes of memory that are resident in them (proc(5)).
fn resident(site: &Site) -> Option<(usize, u64)> {
    let servers = site.servers()?;
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        kibibytes.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    };
    Some((servers.len(), servers.iter().filter_map(of).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_by_reservation_and_node() {
        let memory = Memory { nodes: 3, before: 3_000_000, after: 3_000_000 + 3 * 128_000 };
        assert!((memory.each(1000) - 128.0).abs() < 1e-9);
        let live = Live { count: 1000, per_second: 5000.0, longest: 2_000_000, memory: Some(memory) };
        let told = live.told();
        assert_eq!(told.fields[0].1["bytes_each"], 128.0);
        assert!(told.rows[1].1.starts_with("128.0 bytes"), "{:?}", told.rows);
    }
}
