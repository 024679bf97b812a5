//! What a client is told: where the cluster is, and how patient and how persistent to be.

use std::time::Duration;

use doorbuster_protocol::limits::{MAX_CLIENT_NAME_BYTES, MAX_CLUSTER_NAME_BYTES, MAX_CREDENTIAL_BYTES, MAX_WAIT};

use crate::error::Error;

/// Configuration of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct Config {
    /// Addresses (`host:port`) of some nodes; the others are learnt from them. Required.
    pub nodes: Vec<String>,
    /// The cluster's name, 1 to 64 bytes. Required.
    pub cluster: String,
    /// Shared secret, if the cluster has one; at most 256 bytes.
    pub credential: Option<Vec<u8>>,
    /// Connections to each node. Default 1, from 1 to 64. One carries millions of requests a second.
    pub connections_per_node: usize,
    /// How long a request may take, retries included. Default 5 s, from 1 ms to 60 s.
    pub deadline: Duration,
    /// How much may be retried.
    pub retry_budget: RetryBudget,
    /// What the client calls itself in the servers' logs; at most 64 bytes.
    pub name: String,
}

/// A token bucket over the whole client: retries cannot amplify an outage. Following a hint to another
/// node, or waiting until there is a leader, costs nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Retries that may be spent at once. Default 20,000: as many as may be under way on one connection
    /// when its node dies.
    pub burst: u32,
    /// Retries earned by each request that succeeds, from 0 to 1. Default 0.1.
    pub per_success: f32,
    /// Retries earned each second, whatever happens. Default 100.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { burst: 20_000, per_success: 0.1, per_second: 100 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            cluster: String::new(),
            credential: None,
            connections_per_node: 1,
            deadline: Duration::from_secs(5),
            retry_budget: RetryBudget::default(),
            name: "doorbuster-client".to_owned(),
        }
    }
}

impl std::fmt::Debug for Config {
    /// Leaves the credential out, so that it does not end in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("nodes", &self.nodes)
            .field("cluster", &self.cluster)
            .field("credential", &self.credential.as_ref().map(|_| "set"))
            .field("connections_per_node", &self.connections_per_node)
            .field("deadline", &self.deadline)
            .field("retry_budget", &self.retry_budget)
            .field("name", &self.name)
            .finish()
    }
}

impl Config {
    /// A configuration for the cluster of that name, reached at these addresses.
    #[must_use]
    pub fn new(cluster: impl Into<String>, nodes: Vec<String>) -> Self {
        Self { nodes, cluster: cluster.into(), ..Self::default() }
    }

    /// The same with a shared secret.
    #[must_use]
    pub fn with_credential(mut self, credential: Vec<u8>) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The same with another deadline for requests.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same under another name in the servers' logs.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] names the field and what it must be.
    pub fn validate(&self) -> Result<(), Error> {
        let longest = Duration::from_millis(MAX_WAIT.get());
        let credential = self.credential.as_ref().map_or(0, Vec::len);
        let rules: [(bool, &str); 7] = [
            (!self.nodes.is_empty(), "nodes: give the address (host:port) of at least one node"),
            (
                (1..=MAX_CLUSTER_NAME_BYTES).contains(&self.cluster.len()),
                "cluster: give the cluster's name, 1 to 64 bytes",
            ),
            (credential <= MAX_CREDENTIAL_BYTES, "credential: at most 256 bytes"),
            ((1..=64).contains(&self.connections_per_node), "connections_per_node: from 1 to 64"),
            (self.deadline >= Duration::from_millis(1) && self.deadline <= longest, "deadline: from 1 ms to 60 s"),
            ((0.0..=1.0).contains(&self.retry_budget.per_success), "retry_budget.per_success: from 0 to 1"),
            (self.name.len() <= MAX_CLIENT_NAME_BYTES, "name: at most 64 bytes"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Config((*rule).to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_names_its_field() {
        let good = || Config::new("shop", vec!["localhost:1".to_owned()]);
        assert_eq!(good().validate(), Ok(()));
        let broken: [(&str, Config); 7] = [
            ("nodes", Config { nodes: Vec::new(), ..good() }),
            ("cluster", Config { cluster: String::new(), ..good() }),
            ("credential", good().with_credential(vec![0; 257])),
            ("connections_per_node", Config { connections_per_node: 0, ..good() }),
            ("deadline", good().with_deadline(Duration::from_secs(61))),
            ("retry_budget", Config { retry_budget: RetryBudget { per_success: 2.0, ..Default::default() }, ..good() }),
            ("name", good().with_name("n".repeat(65))),
        ];
        for (field, config) in broken {
            let Err(Error::Config(text)) = config.validate() else { panic!("{field} was accepted") };
            assert!(text.starts_with(field), "{text}");
        }
    }

    #[test]
    fn a_credential_does_not_show_in_logs() {
        let shown = format!("{:?}", Config::default().with_credential(b"hush".to_vec()));
        assert!(!shown.contains("hush") && !shown.contains("104"), "{shown}");
    }
}
