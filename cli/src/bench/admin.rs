//! What a server's metrics say of its snapshots.

use crate::demo::cluster::Cluster;
use crate::error::CliError;
use doorbuster_protocol::types::NodeId;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server says so within.
const WITHIN: Duration = Duration::from_secs(5);
/// No page of metrics is longer, in bytes.
const LONGEST: u64 = 4 << 20;

/// Of one node's snapshots, of all its shards, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshots {
    /// How many it has written.
    pub written: u64,
    /// What that took in all, in seconds.
    pub seconds: f64,
    /// How many it was sent and has installed.
    pub installed: u64,
}

impl Snapshots {
    /// Asks a node's admin port.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn of(cluster: &Cluster, node: NodeId) -> Result<Self, CliError> {
        let address = &cluster.addresses(node)?.admin;
        let wrong = |error| CliError::failed(format!("{address} does not say its metrics: {error}"));
        match tokio::time::timeout(WITHIN, page(address)).await {
            Ok(page) => Ok(Self::parse(&page.map_err(wrong)?)),
            Err(_) => Err(CliError::failed(format!("{address} did not say its metrics in {}s", WITHIN.as_secs()))),
        }
    }

    /// What came to it since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            written: self.written.saturating_sub(before.written),
            seconds: (self.seconds - before.seconds).max(0.0),
            installed: self.installed.saturating_sub(before.installed),
        }
    }

    /// Seconds that one took to write, on average.
    #[must_use]
    pub fn each(&self) -> f64 {
        if self.written == 0 { 0.0 } else { self.seconds / self.written as f64 }
    }

    fn parse(page: &str) -> Self {
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0)
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
        let count = |what: &str| value(&format!("doorbuster_snapshots_total{{what=\"{what}\"}}")) as u64;
        Self {
            written: count("written"),
            seconds: value("doorbuster_snapshot_seconds_sum"),
            installed: count("installed"),
        }
    }
}

async fn page(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_metrics_is_read_and_what_is_not_in_it_is_none() {
        let page = "# TYPE doorbuster_snapshots_total counter\ndoorbuster_snapshots_total{what=\"written\"} 3\n\
                    doorbuster_snapshots_total{what=\"installed\"} 2\ndoorbuster_snapshot_seconds_sum 0.75\n";
        let read = Snapshots::parse(page);
        assert_eq!(read, Snapshots { written: 3, seconds: 0.75, installed: 2 });
        assert!((read.each() - 0.25).abs() < 1e-9);
        assert_eq!(Snapshots::parse(""), Snapshots::default());
    }
}
