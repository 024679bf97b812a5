//! What a node owes its data folder, and the folder its node.

use std::fs;
use std::os::unix::fs::FileExt;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::types::{ProductId, Quantity};
use doorbuster_server::{Server, ServerConfig};

use crate::caller::{Connection, command, product, reserve, target};
use crate::nodes::{Nodes, cut_often, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let mut nodes = Nodes::start(1, 3).await;
    let mut caller = nodes.caller();
    for id in 1..=6 {
        caller.create(product(id, 20)).await;
    }
    let mut granted = Vec::new();
    for round in 0..4_u64 {
        for n in round * 5..round * 5 + 5 {
            for id in 1..=6 {
                granted.push((id, n, caller.reserve(reserve(id, n + 1)).await.unwrap()));
            }
        }
        caller.confirm(target(1, round * 5 + 1)).await.unwrap();
        if round % 2 == 0 {
            nodes.abort(1).await;
        } else {
            nodes.shut_down(1).await;
        }
        nodes.restart(1).await.unwrap();
        for (id, n, reply) in &granted {
            let again = caller.reserve(reserve(*id, n + 1)).await.unwrap();
            assert!(again.replayed);
            assert_eq!(again.reservation.first_expires_at, reply.reservation.first_expires_at);
        }
    }
    let view = caller.product(ProductId(1)).await;
    assert_eq!((view.available, view.sold), (Quantity(0), Quantity(4)));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_cut_the_log_and_bring_the_state_back() {
    let mut nodes = Nodes::start_with(1, 1, cut_often).await;
    let mut caller = nodes.caller();
    caller.create(product(7, 1000)).await;
    for n in 1..=400 {
        caller.reserve(reserve(7, n)).await.unwrap();
    }
    let status = || nodes.server(1).service().desk.view.status(doorbuster_protocol::types::ShardId(0));
    eventually("the log is cut", || status().first.0 > 100).await;
    // The status is refreshed every tick.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let hash = status().state_hash;
    nodes.abort(1).await;
    nodes.restart(1).await.unwrap();
    nodes.wait_for_leaders().await;
    let view = caller.product(ProductId(7)).await;
    assert_eq!((view.available, view.held), (Quantity(600), Quantity(400)));
    let status = || nodes.server(1).service().desk.view.status(doorbuster_protocol::types::ShardId(0));
    eventually("the state is what it was", || status().state_hash == hash).await;
    assert!(caller.reserve(reserve(7, 1)).await.unwrap().replayed, "the filter knows it too");
    nodes.end().await;
}

async fn refusal(config: ServerConfig) -> String {
    match Server::start(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

fn elsewhere(config: &ServerConfig) -> ServerConfig {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    ServerConfig { listen: any, peer_listen: any, admin_listen: any, ..config.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_serves_one_process_and_the_node_it_was_formatted_for() {
    let mut nodes = Nodes::start(1, 1).await;
    let config = elsewhere(nodes.config(1));
    assert!(refusal(config.clone()).await.contains("in use"));
    nodes.shut_down(1).await;
    let other = ServerConfig { node: 2, ..config.clone() };
    assert!(refusal(other).await.contains("node"));
    let unformatted = ServerConfig { data: config.data.join("elsewhere"), ..config.clone() };
    assert!(refusal(unformatted).await.contains("format"));
    nodes.restart(1).await.unwrap();
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_not_served_from() {
    let mut nodes = Nodes::start(1, 1).await;
    let mut caller = nodes.caller();
    caller.create(product(7, 1000)).await;
    for n in 1..=100 {
        caller.reserve(reserve(7, n)).await.unwrap();
    }
    nodes.shut_down(1).await;
    let folder = nodes.config(1).data.join("log");
    let mut segments: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let damaged = segments.iter().find(|path| fs::read(path).unwrap().iter().any(|byte| *byte != 0)).unwrap();
    let file = fs::File::options().read(true).write(true).open(damaged).unwrap();
    let bytes = fs::read(damaged).unwrap();
    // Something in the middle of what was written.
    let at = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    let at = (at..bytes.len()).find(|at| bytes[*at] != 0).unwrap();
    file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
    let Err(error) = nodes.restart(1).await else { panic!("served from a damaged log") };
    let text = error.to_string();
    assert!(text.contains("damaged") && text.contains("offset"), "{text}");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_a_folder_is_no_folder() {
    let mut nodes = Nodes::start_with(1, 1, cut_often).await;
    let mut caller = nodes.caller();
    caller.create(product(7, 1000)).await;
    for n in 1..=250 {
        caller.reserve(reserve(7, n)).await.unwrap();
    }
    let shard = doorbuster_protocol::types::ShardId(0);
    eventually("the log is cut", || nodes.server(1).service().desk.view.status(shard).first.0 > 100).await;
    nodes.shut_down(1).await;
    fs::remove_dir_all(nodes.config(1).data.join("snapshots")).unwrap();
    let Err(error) = nodes.restart(1).await else { panic!("served without the state before the log") };
    assert!(error.to_string().contains("no snapshot covers it"), "{error}");
    nodes.end().await;
}

/// Two shards share the log; one of them is hardly used, and keeps the oldest segment until it writes a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_on_disk_is_bounded() {
    let nodes = Nodes::start(1, 2).await;
    let mut caller = nodes.caller();
    for id in 1..=8 {
        caller.create(product(id, 10)).await;
        caller.reserve(reserve(id, 1)).await.unwrap();
    }
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let written = || nodes.server(1).service().log_usage().written;
    let mut waves = 0;
    // Retries of what is known go through the log, and change nothing.
    while written() < 20 << 20 {
        let bodies = (0..8000).map(|_| command(Command::Reserve(reserve(1, 1)))).collect();
        assert!(connection.call_all(bodies).await.unwrap().iter().all(Result::is_ok));
        waves += 1;
        assert!(waves < 1000, "only {} bytes were written", written());
    }
    eventually("the log shrinks", || nodes.server(1).service().log_usage().bytes <= 10 << 20).await;
    nodes.end().await;
}
