//! What goes wrong, one kind a file. A fault strikes, lasts, and ends what it began; what its victims make of it is not
//! its concern, except where the product promises what they make of it (a failed sync ends the process).

pub mod clients;
pub mod database;
pub mod database_wire;
pub mod full_disk;
pub mod gateways;
pub mod kill;
pub mod latency;
pub mod partition;
pub mod pause;
pub mod provider;
pub mod provider_wire;
pub mod syncs;
pub mod terminate;
pub mod webhooks;

use std::pin::Pin;
use std::time::Duration;

use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_client::Client;
use doorbuster_protocol::types::{NodeId, ShardId};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::stage::Stage;

/// What a fault works with.
pub struct Scene<'a> {
    /// Everything that runs.
    pub stage: &'a Stage,
    /// Somebody who can be asked who leads.
    pub client: &'a Client,
    /// This lane's stream of decisions.
    pub rng: &'a mut StdRng,
}

/// How a fault ended: what it came to, in a word for the count, or what must not be.
pub type Struck<'a> = Pin<Box<dyn Future<Output = Result<(), CliError>> + Send + 'a>>;

/// A kind of fault.
#[derive(Clone, Copy)]
pub struct Fault {
    /// Its name in the report.
    pub name: &'static str,
    /// Strikes, lasts and ends.
    pub strike: for<'a> fn(&'a mut Scene<'_>) -> Struck<'a>,
}

/// Faults of one lane follow each other; those of different lanes overlap.
pub struct Lane {
    /// Its faults.
    pub faults: Vec<Fault>,
    /// The longest rest between two, in milliseconds.
    pub rest: u64,
    /// Whether it is the one that ends and starts servers.
    pub servers: bool,
}

/// All lanes, without the faults that cannot be had here. The provider has one of its own, so that gateways die and the
/// database is gone while charges hang.
pub fn lanes(stage: &Stage) -> [Lane; 4] {
    let mut servers = vec![kill::ONE, kill::LEADER, kill::ALL, kill::LOOP, pause::ONE, pause::MAJORITY, terminate::ONE];
    let network = vec![
        partition::ISOLATED,
        partition::CUT_OFF,
        partition::ONE_WAY,
        partition::PAIR,
        latency::PEERS,
        latency::CLIENTS,
        clients::STALLED,
        clients::BROKEN,
    ];
    if stage.syncs.is_some() {
        servers.extend([syncs::SLOW, syncs::FAILED]);
    }
    if stage.disk.is_some() {
        servers.push(full_disk::FULL);
    }
    let behind = vec![
        database::STOPPED,
        database::IMMEDIATE,
        database::KILLED,
        database_wire::BROKEN,
        database_wire::STALLED,
        gateways::KILLED,
        gateways::ALL_KILLED,
        gateways::PAUSED,
    ];
    let money = vec![
        provider::KILLED,
        provider::STOPPED,
        provider::DOWN,
        provider::LIMITED,
        provider_wire::BROKEN,
        provider_wire::STALLED,
        webhooks::LOST,
        webhooks::HELD_BACK,
    ];
    [
        Lane { faults: servers, rest: 2500, servers: true },
        Lane { faults: network, rest: 2500, servers: false },
        Lane { faults: behind, rest: 1200, servers: false },
        Lane { faults: money, rest: 1200, servers: false },
    ]
}

impl Scene<'_> {
    /// A node, whichever.
    pub fn any_node(&mut self) -> NodeId {
        let nodes = self.stage.cluster.nodes();
        nodes[self.rng.random_range(0..nodes.len())]
    }

    /// The node that leads some shard, as far as can be found out in a moment; else any.
    pub async fn some_leader(&mut self) -> NodeId {
        let shard = ShardId(self.rng.random_range(0..self.client.shards()));
        let leader = self.stage.cluster.leader(self.client, shard, Duration::ZERO);
        match tokio::time::timeout(Duration::from_millis(500), leader).await {
            Ok(Ok(node)) => node,
            _ => self.any_node(),
        }
    }

    /// Lets time pass, between so many milliseconds.
    pub async fn last(&mut self, from: u64, to: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(from..=to))).await;
    }

    /// Waits for a node that has to end by itself.
    pub async fn ends_by_itself(&self, node: NodeId, within: Duration) -> bool {
        let deadline = clock::now() + within;
        while clock::now() < deadline {
            if self.stage.cluster.ended(node).is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}
