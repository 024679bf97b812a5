//! Every connection of the run goes through a proxy of ours: between each two servers in each direction, from clients and
//! gateways to each server, from gateways to the database, between gateways and the payment provider in both directions.

use std::collections::BTreeMap;
use std::sync::Arc;

use doorbuster_cli::demo::cluster::Detour;
use doorbuster_cli::error::CliError;
use doorbuster_protocol::types::NodeId;
use parking_lot::Mutex;

use super::proxy::{Flow, Proxy, Traffic, Weather};

/// Which connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Those that one server opens to another: its messages travel forth, signs of life back.
    Peers {
        /// Who opens.
        from: NodeId,
        /// Who listens.
        to: NodeId,
    },
    /// Those of clients and gateways to a server.
    Clients(NodeId),
    /// Those of gateways to the database.
    Database,
    /// Those of gateways to the payment provider.
    Provider,
    /// Those of the payment provider to the gateways.
    Webhooks,
}

/// All proxies.
#[derive(Debug, Default)]
pub struct Network {
    proxies: Mutex<BTreeMap<Wire, Proxy>>,
    traffic: Arc<Traffic>,
}

impl Network {
    /// Puts a proxy in front of these, which get its connections in turn; must be called on a runtime.
    pub fn lay(&self, wire: Wire, targets: &[String]) -> Result<String, CliError> {
        let proxy = Proxy::start(targets, Arc::clone(&self.traffic))?;
        let address = proxy.address();
        self.proxies.lock().insert(wire, proxy);
        Ok(address)
    }

    /// Changes the weather on every wire that is meant.
    pub fn change(&self, meant: impl Fn(Wire) -> bool, change: impl Fn(Wire, &mut Weather)) {
        for (wire, proxy) in self.proxies.lock().iter().filter(|(wire, _)| meant(**wire)) {
            proxy.change(|weather| change(*wire, weather));
        }
    }

    /// Everything flows again. What was stalled arrives now, unless its connection is to be broken.
    pub fn heal(&self, meant: impl Fn(Wire) -> bool, breaking: bool) {
        self.change(meant, |_, weather| {
            *weather = Weather { storms: weather.storms + u64::from(breaking), ..Weather::default() };
        });
    }

    /// What passed through.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

/// Stalls what `from` sends to `to`, on whichever of their two connections it travels.
pub fn stall_one_way(network: &Network, from: NodeId, to: NodeId) {
    network.change(
        |wire| wire == Wire::Peers { from, to } || wire == Wire::Peers { from: to, to: from },
        |wire, weather| match wire {
            Wire::Peers { from: opener, .. } if opener == from => weather.forth = Flow::Stalled,
            _ => weather.back = Flow::Stalled,
        },
    );
}

impl Detour for Network {
    fn between(&self, from: NodeId, to: NodeId, address: &str) -> Result<String, CliError> {
        self.lay(Wire::Peers { from, to }, &[address.to_owned()])
    }

    fn to_clients_of(&self, node: NodeId, address: &str) -> Result<String, CliError> {
        self.lay(Wire::Clients(node), &[address.to_owned()])
    }
}
