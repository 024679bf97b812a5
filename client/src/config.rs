//! What a client is told: where the cluster is, and how patient and how persistent to be.

use std::time::Duration;

/// Configuration of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses (`host:port`) of some nodes; the others are learnt from them. Required.
    pub nodes: Vec<String>,
    /// The cluster's name. Required.
    pub cluster: String,
    /// Shared secret, if the cluster has one.
    pub credential: Option<Vec<u8>>,
    /// Connections to each node. Default 1, at least 1.
    pub connections_per_node: usize,
    /// How long a request may take, retries included. Default 5 s, at most 60 s.
    pub deadline: Duration,
    /// How much may be retried.
    pub retry_budget: RetryBudget,
    /// What the client calls itself in the servers' logs.
    pub name: String,
}

/// A token bucket over the whole client: retries cannot amplify an outage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Retries that may be spent at once. Default 1000.
    pub burst: u32,
    /// Retries earned by each request that succeeds. Default 0.2.
    pub per_success: f32,
    /// Retries earned each second, whatever happens. Default 100.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { burst: 1000, per_success: 0.2, per_second: 100 }
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
}
