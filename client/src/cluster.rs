//! What the client knows of the cluster: its nodes, and which of them leads which shard.
//!
//! Knowledge comes from welcomes, from nodes that say who leads instead, and from the scout. It is only
//! ever a hint: whoever follows it finds out whether it is right.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::VERSION;
use doorbuster_protocol::handshake::{Hello, Welcome};
use doorbuster_protocol::reply::{NodeAddress, ShardMap};
use doorbuster_protocol::types::{NodeId, ShardId};
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use crate::budget::Budget;
use crate::clock::{Instant, now};
use crate::config::Config;
use crate::connection::{Connection, DialError};
use crate::entropy::jittered;
use crate::error::Error;
use crate::node::Node;

/// Pause between rounds over the configured addresses while none answers.
const FIRST_CONTACT_PAUSE: Duration = Duration::from_millis(50);
/// Longest time to wait for one of them.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) hello: Hello,
    pub(crate) budget: Budget,
    state: RwLock<State>,
    /// Counts what was learnt of leaders; whoever waits for a leader watches it.
    learnt: watch::Sender<u64>,
    /// Rung when somebody needs a leader that is not known.
    pub(crate) bell: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    leaders: Vec<Option<NodeId>>,
    nodes: Vec<Arc<Node>>,
    closed: bool,
}

impl Cluster {
    /// Finds the cluster through any of the configured addresses.
    pub(crate) async fn find(config: Config) -> Result<Arc<Self>, Error> {
        config.validate()?;
        let hello = Hello {
            versions: VERSION..=VERSION,
            cluster: config.cluster.clone(),
            credential: config.credential.clone().unwrap_or_default(),
            client: config.name.clone(),
        };
        let (connection, welcome, address) = first_contact(&config, &hello).await?;
        let cluster = Arc::new(Self {
            budget: Budget::new(&config.retry_budget, now()),
            config,
            hello,
            state: RwLock::new(State { leaders: welcome.shards.leaders.clone(), nodes: Vec::new(), closed: false }),
            learnt: watch::Sender::new(0),
            bell: Arc::new(Notify::new()),
        });
        cluster.learn_nodes(welcome.node, &welcome.shards.nodes);
        cluster.meet(welcome.node, &address).adopt(connection);
        Ok(cluster)
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.state.read().leaders.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn shard_map(&self) -> ShardMap {
        let state = self.state.read();
        let address = |node: &Arc<Node>| NodeAddress { node: node.id, address: node.address.clone() };
        ShardMap { leaders: state.leaders.clone(), nodes: state.nodes.iter().map(address).collect() }
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.state.read().nodes.clone()
    }

    /// Whether these are still the cluster's nodes, at the same addresses.
    pub(crate) fn has_nodes(&self, nodes: &[Arc<Node>]) -> bool {
        let state = self.state.read();
        state.nodes.len() == nodes.len() && state.nodes.iter().zip(nodes).all(|(known, node)| Arc::ptr_eq(known, node))
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.state.read().nodes.iter().find(|node| node.id == id).map(Arc::clone)
    }

    pub(crate) fn leader(&self, shard: ShardId) -> Option<Arc<Node>> {
        let state = self.state.read();
        let leader = (*state.leaders.get(usize::from(shard.0))?)?;
        state.nodes.iter().find(|node| node.id == leader).map(Arc::clone)
    }

    /// The shard's leader; waits for one to be found, with the scout's help, until then.
    pub(crate) async fn await_leader(&self, shard: ShardId, until: Instant) -> Option<Arc<Node>> {
        let mut learnt = self.learnt.subscribe();
        loop {
            learnt.borrow_and_update();
            if let Some(leader) = self.leader(shard) {
                return Some(leader);
            }
            if self.is_closed() {
                return None;
            }
            self.bell.notify_one();
            tokio::time::timeout_at(until, learnt.changed()).await.ok()?.ok()?;
        }
    }

    /// Whether anybody waits for a leader.
    pub(crate) fn is_awaited(&self) -> bool {
        self.learnt.receiver_count() > 0
    }

    /// Somebody says that `node` leads the shard. False if that node is not known.
    pub(crate) fn follow(&self, shard: ShardId, node: NodeId) -> bool {
        if self.leader(shard).is_some_and(|leader| leader.id == node) {
            return true; // thousands are told at the same time
        }
        let mut state = self.state.write();
        let known = state.nodes.iter().any(|known| known.id == node);
        if known && let Some(leader) = state.leaders.get_mut(usize::from(shard.0)) {
            *leader = Some(node);
        }
        drop(state);
        if known {
            self.learnt.send_modify(|count| *count += 1);
        }
        known
    }

    /// `node` turned out not to lead the shard, or not to be there.
    pub(crate) fn forget(&self, shard: ShardId, node: NodeId) {
        let mut state = self.state.write();
        if let Some(leader) = state.leaders.get_mut(usize::from(shard.0))
            && *leader == Some(node)
        {
            *leader = None;
        }
    }

    /// What a node says of the shards. It is believed about itself only: whether it leads.
    pub(crate) fn learn(&self, node: NodeId, map: &ShardMap) {
        self.learn_nodes(node, &map.nodes);
        let mut found = false;
        let mut state = self.state.write();
        for (known, told) in state.leaders.iter_mut().zip(&map.leaders) {
            if *told == Some(node) {
                found |= *known != Some(node);
                *known = Some(node);
            } else if *known == Some(node) {
                *known = None;
            }
        }
        drop(state);
        if found {
            self.learnt.send_modify(|count| *count += 1);
        }
    }

    /// Tries the configured addresses again, for nodes may have moved.
    pub(crate) async fn ask_configured(&self) {
        for address in &self.config.nodes {
            let contact = Connection::open(address, &self.hello);
            if let Ok(Ok((connection, welcome))) = tokio::time::timeout(FIRST_CONTACT_TIMEOUT, contact).await {
                self.learn(welcome.node, &welcome.shards);
                return self.meet(welcome.node, address).adopt(connection);
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.read().closed
    }

    /// Ends every connection, and the waiting for leaders.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        state.closed = true;
        state.leaders.fill(None);
        let nodes = std::mem::take(&mut state.nodes);
        drop(state);
        nodes.iter().for_each(|node| node.close());
        self.learnt.send_modify(|count| *count += 1);
        self.bell.notify_one();
    }

    /// Adds nodes, and replaces those that have moved. What a node says of itself counts; what others say
    /// of it counts while there is no connection to it, so that two names of one address do no harm.
    fn learn_nodes(&self, teller: NodeId, nodes: &[NodeAddress]) {
        let news = |known: &[Arc<Node>], told: &NodeAddress| match known.iter().find(|node| node.id == told.node) {
            None => !told.address.is_empty(),
            Some(node) if node.address == told.address || told.address.is_empty() => false,
            Some(node) => told.node == teller || !node.is_connected(),
        };
        if !nodes.iter().any(|told| news(&self.state.read().nodes, told)) {
            return;
        }
        let mut state = self.state.write();
        for told in nodes {
            if news(&state.nodes, told) && !state.closed {
                state.nodes.retain(|known| known.id != told.node);
                let node = Node::new(told.node, told.address.clone(), self.config.connections_per_node);
                state.nodes.push(Arc::new(node));
                state.nodes.sort_by_key(|node| node.id);
            }
        }
    }

    /// The node that answered at an address; the map of shards may not list it yet.
    fn meet(&self, id: NodeId, address: &str) -> Arc<Node> {
        if self.node(id).is_none() {
            self.learn_nodes(id, &[NodeAddress { node: id, address: address.to_owned() }]);
        }
        let unlisted = || Arc::new(Node::new(id, address.to_owned(), 1));
        self.node(id).unwrap_or_else(unlisted)
    }
}

/// Goes round the configured addresses until one answers, at most for the configured deadline.
async fn first_contact(config: &Config, hello: &Hello) -> Result<(Arc<Connection>, Welcome, String), Error> {
    let until = now() + config.deadline;
    loop {
        let mut detail = String::new();
        for address in &config.nodes {
            let limit = until.min(now() + FIRST_CONTACT_TIMEOUT);
            match tokio::time::timeout_at(limit, Connection::open(address, hello)).await {
                Ok(Ok((connection, welcome))) if !welcome.shards.leaders.is_empty() => {
                    return Ok((connection, welcome, address.clone()));
                }
                Ok(Ok(_)) => detail = format!("{address}: knows of no shards"),
                Ok(Err(DialError::Refused(failure))) if !failure.code().retryable() => {
                    return Err(Error::Rejected(failure));
                }
                Ok(Err(DialError::Refused(failure))) => detail = format!("{address}: {failure}"),
                Ok(Err(DialError::Unreachable(why))) => detail = why,
                Err(_) => detail = format!("{address}: not connected in time"),
            }
        }
        let pause = jittered(FIRST_CONTACT_PAUSE);
        if now() + pause >= until {
            return Err(Error::Unavailable { detail, overloaded: false });
        }
        tokio::time::sleep(pause).await;
    }
}

/// What a failed connection means for a request that was to use it.
pub(crate) fn final_refusal(error: &DialError) -> Option<Failure> {
    match error {
        DialError::Refused(failure) if !failure.code().retryable() => Some(failure.clone()),
        _ => None,
    }
}
