//! All three nodes killed at once under load, again and again: nothing that was acknowledged is missing afterwards.

use std::time::Duration;

use crate::sale::{Ledger, Sale, WITHIN, assert_nothing_lost, load};

const ROUNDS: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_all_nodes_ten_times_loses_nothing_acknowledged() {
    let sale = Sale::start().await;
    let ledger = Ledger::default();
    for round in 1..=ROUNDS {
        let before = ledger.lock().len();
        let mut callers = load(&sale.client, 32, round, &ledger);
        while ledger.lock().len() < before + 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for node in sale.cluster.nodes() {
            sale.cluster.kill(node).expect("a running node can be killed");
        }
        callers.abort_all();
        while let Some(caller) = callers.join_next().await {
            assert!(caller.is_err_and(|error| error.is_cancelled()), "a caller heard what nobody may hear");
        }
        for node in sale.cluster.nodes() {
            sale.cluster.start_node(node).expect("a killed node starts again");
        }
        sale.cluster.wait_ready(WITHIN).await.expect("the cluster comes back");
    }
    assert_nothing_lost(&sale.client, &ledger).await;
    sale.assert_audit_agrees();
}
