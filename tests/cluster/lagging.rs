//! A node that was away until the others had cut their logs behind its last entry catches up by snapshot.

use std::time::Duration;

use doorbuster_protocol::reply::ShardStatus;
use doorbuster_protocol::types::NodeId;

use crate::sale::{Ledger, Sale, WITHIN, assert_nothing_lost, load};

/// The leader writes a whole segment of the log until then, which is a megabyte of small entries.
const CUT_WITHIN: Duration = Duration::from_secs(180);

async fn replica(sale: &Sale, node: NodeId) -> Option<ShardStatus> {
    let status = sale.client.status(node).await.ok()?;
    status.shards.into_iter().find(|replica| replica.shard == sale.shard())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_behind_the_log_catches_up_by_snapshot() {
    let sale = Sale::start().await;
    let away = sale.follower().await;
    let last = replica(&sale, away).await.expect("it runs").applied;
    sale.cluster.kill(away).expect("a running node can be killed");

    let ledger = Ledger::default();
    let mut callers = load(&sale.client, 16, 1, &ledger);
    let leader = sale.cluster.leader(&sale.client, sale.shard(), WITHIN).await.expect("two of three lead on");
    let cut = async {
        while replica(&sale, leader).await.is_none_or(|replica| replica.first.get() <= last.get() + 1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(CUT_WITHIN, cut).await.expect("the leader cuts its log behind a snapshot");
    callers.shutdown().await;

    sale.cluster.start_node(away).expect("a killed node starts again");
    sale.cluster.wait_ready(WITHIN).await.expect("the cluster is whole again");
    let caught_up = async {
        loop {
            let (leader, away) = (replica(&sale, leader).await, replica(&sale, away).await);
            if let (Some(leader), Some(away)) = (leader, away)
                && leader.applied == away.applied
            {
                return (leader, away);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (leader, away) = tokio::time::timeout(WITHIN, caught_up).await.expect("it catches up");
    assert_eq!(leader.state_hash, away.state_hash, "equal index, unequal state");
    assert!(away.first > last, "it has entries from before the snapshot it must have installed");
    assert_nothing_lost(&sale.client, &ledger).await;
    sale.assert_audit_agrees();
}
