//! How busy the whole machine was, so that what others took of it meanwhile does not go unnoticed.

use std::time::Duration;

/// Processor time that everything on this machine has used so far, and that was kept from it; 0 where nobody tells.
#[must_use]
pub fn busy() -> Duration {
    std::fs::read_to_string("/proc/stat").ok().as_deref().and_then(parse).unwrap_or_default()
}

/// From the first line of `/proc/stat` (proc(5)), in ticks of 10 ms: all but idling and waiting for disks.
fn parse(stat: &str) -> Option<Duration> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Duration::from_millis((ticks.iter().sum::<u64>() - idle) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_idling_and_waiting_counts() {
        let stat = "cpu  100 20 30 9000 500 4 5 1 7 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(parse(stat), Some(Duration::from_millis(1600)));
        for wrong in ["", "cpu 1 2 3", "cpu  1 2 x 4 5 6 7 8", "intr 1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert!(busy() > Duration::ZERO, "this machine has done something");
    }
}
