//! What a configuration must satisfy. Each rule names the field, its value and the fix.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use doorbuster_protocol::limits::{MAX_BATCH_REQUESTS, MAX_CLUSTER_NAME_BYTES, MAX_NODES, MAX_SHARDS, MAX_WAIT};

use super::{Invalid, ServerConfig};

/// An election takes a few heartbeats' loss to start.
const MIN_ELECTION_TICKS: u64 = 10;

/// Everything that is wrong.
pub(super) fn problems(config: &ServerConfig) -> Vec<Invalid> {
    let mut problems = Vec::new();
    ranges(config, &mut problems);
    names(config, &mut problems);
    peers(config, &mut problems);
    exposure(config, &mut problems);
    problems
}

fn ranges(config: &ServerConfig, problems: &mut Vec<Invalid>) {
    let mut check = |invalid: Option<Invalid>| problems.extend(invalid);
    check(range("node", config.node, 1..=u16::MAX));
    check(range("shards", config.shards, 1..=MAX_SHARDS));
    check(range("shard_threads", config.shard_threads, 1..=64));
    check(range("tick_ms", config.tick_ms, 1..=1000));
    check(range("election_ms", config.election_ms, config.tick_ms.saturating_mul(MIN_ELECTION_TICKS)..=60_000));
    check(range("snapshot_entries", config.snapshot_entries, 100..=u64::MAX));
    check(range("snapshot_bytes", config.snapshot_bytes, 64 << 10..=u64::MAX));
    check(range("snapshot_spacing_ms", config.snapshot_spacing_ms, 0..=3_600_000));
    check(range("segment_bytes", config.segment_bytes, 1 << 20..=1 << 30));
    check(range("max_connections", config.max_connections, 1..=1_000_000));
    check(range("inbox", config.inbox, 1024..=16 << 20));
    check(range("max_feed", config.max_feed, 1..=usize::MAX));
    check(range("max_batch", config.max_batch, 1..=MAX_BATCH_REQUESTS));
    check(range("default_wait_ms", config.default_wait_ms, 10..=MAX_WAIT.get()));
    check(range("handshake_ms", config.handshake_ms, 100..=60_000));
    check(range("shutdown_ms", config.shutdown_ms, 0..=600_000));
    check(range("sync_delay_us", config.sync_delay_us, 0..=10_000_000));
}

fn range<T: PartialOrd + Display + Copy>(field: &'static str, value: T, allowed: RangeInclusive<T>) -> Option<Invalid> {
    (!allowed.contains(&value)).then(|| {
        let fix = format!("set it between {} and {}", allowed.start(), allowed.end());
        Invalid { field, problem: format!("is {value}"), fix }
    })
}

fn names(config: &ServerConfig, problems: &mut Vec<Invalid>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let length = config.cluster.len();
    if !(1..=MAX_CLUSTER_NAME_BYTES).contains(&length) || !config.cluster.chars().all(allowed) {
        let fix = format!("use 1 to {MAX_CLUSTER_NAME_BYTES} ASCII letters, digits, `-`, `_` or `.`");
        problems.push(Invalid { field: "cluster", problem: format!("is {:?}", config.cluster), fix });
    }
    if config.data.as_os_str().is_empty() {
        problems.push(invalid("data", "is empty", "name the folder this node keeps its data in"));
    }
    if let Err(error) = config.log_level.parse::<tracing_subscriber::filter::Targets>() {
        let problem = format!("is {:?} ({error})", config.log_level);
        problems.push(invalid("log_level", problem, "use a level such as `info`, or `target=level,...`"));
    }
    if let Some(advertise) = config.advertise.as_deref().filter(|address| !is_address(address)) {
        problems.push(invalid("advertise", format!("is {advertise:?}"), "write `host:port`"));
    }
}

fn peers(config: &ServerConfig, problems: &mut Vec<Invalid>) {
    let nodes = config.nodes();
    if nodes.len().is_multiple_of(2) || nodes.len() > MAX_NODES {
        let problem = format!("makes a cluster of {} nodes, this one (node {}) included", nodes.len(), config.node);
        problems.push(invalid("peers", problem, "list the other nodes so that there are 1, 3 or 5 in all"));
    }
    for (index, peer) in config.peers.iter().enumerate() {
        if peer.node == 0 {
            problems.push(invalid("peers", "has a node 0", "number the nodes from 1"));
        }
        if config.peers[..index].iter().any(|earlier| earlier.node == peer.node) {
            let problem = format!("lists node {} twice", peer.node);
            problems.push(invalid("peers", problem, "give each node one entry"));
        }
        for (name, address) in [("peer", &peer.peer), ("client", &peer.client)] {
            if !is_address(address) {
                let problem = format!("has {name} = {address:?} for node {}", peer.node);
                problems.push(invalid("peers", problem, "write `host:port`"));
            }
        }
    }
}

fn exposure(config: &ServerConfig, problems: &mut Vec<Invalid>) {
    let open = |listen: SocketAddr| !listen.ip().is_loopback();
    if open(config.listen) && config.credential.is_none() && config.credential_file.is_none() {
        let problem = format!("is {}, which others can reach, and clients need no credentials", config.listen);
        let fix = "set `credential_file` (or DOORBUSTER_SERVER_CREDENTIAL), or listen on 127.0.0.1";
        problems.push(invalid("listen", problem, fix));
    }
    if open(config.peer_listen) && config.peer_credential.is_none() && config.peer_credential_file.is_none() {
        let problem = format!("is {}, which others can reach, and peers need no credentials", config.peer_listen);
        let fix =
            "set `peer_credential_file` (or DOORBUSTER_SERVER_PEER_CREDENTIAL) on every node, or listen on 127.0.0.1";
        problems.push(invalid("peer_listen", problem, fix));
    }
    let listens = [("peer_listen", config.peer_listen), ("admin_listen", config.admin_listen)];
    for (index, (field, address)) in listens.into_iter().enumerate() {
        let others = [config.listen, config.peer_listen];
        if address.port() != 0 && others[..=index].contains(&address) {
            problems.push(invalid(
                field,
                format!("is {address}, which is taken by another listener"),
                "use another port",
            ));
        }
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn invalid(field: &'static str, problem: impl Into<String>, fix: &str) -> Invalid {
    Invalid { field, problem: problem.into(), fix: fix.to_owned() }
}
