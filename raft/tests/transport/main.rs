//! The transport over real sockets: who gets in, what gets through, and what happens with those who talk nonsense, too
//! slowly, or not at all.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod party;

use std::time::Duration;

use doorbuster_raft::SnapshotMark;
use doorbuster_raft::transport::{Incarnation, QueueLimits, TransferOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::party::{Ears, announcement, config, message, noise, pair, port, start, timing};

#[tokio::test]
async fn messages_of_all_shards_arrive_in_order_with_the_clock() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    let batch: Vec<_> = (1..=500).map(|term| ((term % 3) as u16, message(1, 2, term, Some(b"data")))).collect();
    batch.chunks(7).for_each(|chunk| one.transport.send(2, chunk.to_vec()));
    two.wait("all messages", |heard| heard.messages.len() == 500).await;
    let heard = two.ears.0.lock();
    for ((shard, sent), (from, clock, heard_shard, got)) in batch.iter().zip(&heard.messages) {
        assert_eq!((*from, *clock, heard_shard, got), (1, 1_764_000_000_000, shard, sent));
    }
}

#[tokio::test]
async fn an_idle_connection_stays_and_brings_the_clock() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    sleep(timing().silence * 2).await;
    assert!(two.ears.0.lock().clocks > 5);
    let link = &one.transport.links()[0];
    assert!(link.connected && link.problem.is_empty(), "{link:?}");
}

#[tokio::test]
async fn that_a_peers_connection_has_ended_is_told() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    two.connected(1).await;
    one.transport.send(2, vec![(0, message(1, 2, 1, None))]);
    two.wait("a message", |heard| !heard.messages.is_empty()).await;
    assert_eq!(two.ears.0.lock().lost, [0_u64; 0]);
    one.transport.close().await;
    two.wait("the end of the connection", |heard| heard.lost == [1]).await;
    assert_eq!(one.ears.0.lock().lost, [0_u64; 0], "who closes its own has lost nobody");
}

#[tokio::test]
async fn a_connection_that_was_replaced_is_nobodys_loss() {
    let ((two_port, two_address), (one_port, one_address)) = (port().await, port().await);
    let two = start(config(2, &[(1, one_address)]), two_port, Ears::default());
    let first = start(config(1, &[(2, two_address.clone())]), one_port, Ears::default());
    first.connected(2).await;
    // The same node once more, as after a connection of which only one end knows that it is dead.
    let second = start(config(1, &[(2, two_address)]), port().await.0, Ears::default());
    second.connected(2).await;
    let clocks = two.ears.0.lock().clocks;
    two.wait("words over both", |heard| heard.clocks > clocks + 4).await;
    first.transport.close().await;
    let clocks = two.ears.0.lock().clocks;
    two.wait("words over the second", |heard| heard.clocks > clocks + 4).await;
    assert_eq!(two.ears.0.lock().lost, [0_u64; 0]);
    second.transport.close().await;
    two.wait("the end of the second", |heard| heard.lost == [1]).await;
}

#[tokio::test]
async fn both_sides_remember_each_other() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    two.connected(1).await;
    assert_eq!(one.ears.0.lock().known.get(&2), Some(&Incarnation([2; 16])));
    assert_eq!(two.ears.0.lock().known.get(&1), Some(&Incarnation([1; 16])));
}

#[tokio::test]
async fn another_secret_cluster_or_number_does_not_get_in() {
    let (one, two) = pair(|two| two.secret = b"something else".to_vec()).await;
    assert!(one.problem(2).await.contains("does not know the cluster's secret"));
    assert!(two.problem(1).await.contains("does not know the cluster's secret"));
    let (one, two2) = pair(|two| two.cluster = "another".into()).await;
    assert!(one.problem(2).await.contains("cluster \"another\", not \"shop\""));
    let (three, two3) = pair(|two| two.node = 7).await;
    assert!(three.problem(2).await.contains("this is node 7, not node 2"));
    assert!(two3.problem(1).await.contains("node 7 is not among this node's peers"));
    for party in [one, two, two2, three, two3] {
        let heard = party.ears.0.lock();
        assert!(heard.known.is_empty() && heard.clocks == 0);
        assert!(heard.refused.is_empty(), "who has not proved itself stops nobody");
    }
}

#[tokio::test]
async fn a_node_that_lost_its_data_is_told_so() {
    let ((one_port, one_address), (two_port, two_address)) = (port().await, port().await);
    let ears = Ears::default();
    ears.0.lock().known.insert(2, Incarnation([99; 16]));
    let one = start(config(1, &[(2, two_address)]), one_port, ears);
    let two = start(config(2, &[(1, one_address)]), two_port, Ears::default());
    two.wait("refusal by the side it connects to, and by the side that connects to it", |heard| {
        heard.refused.len() > 2
    })
    .await;
    let (by, reason) = two.ears.0.lock().refused[0].clone();
    assert_eq!(by, 1);
    assert!(reason.contains("node 2 lost its data"), "{reason}");
    assert!(one.ears.0.lock().refused.is_empty());
    assert_eq!(one.ears.0.lock().known.get(&2), Some(&Incarnation([99; 16])), "it is not forgotten");
    one.transport.send(2, vec![(0, message(1, 2, 1, None))]);
    assert_eq!((one.transport.links()[0].dropped, two.ears.0.lock().clocks), (1, 0));
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let (one_port, address) = port().await;
    let (two_port, two_address) = port().await;
    let one = start(config(1, &[(2, two_address)]), one_port, Ears::default());
    for length in [1, 7, 8, 9, 100, 3000] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&noise(length)).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // Closed, orderly or not; at once, or when the handshake has taken too long.
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok() && rest.is_empty());
    }
    let silent = TcpStream::connect(&address).await.unwrap();
    let two = start(config(2, &[(1, address)]), two_port, Ears::default());
    two.connected(1).await;
    two.transport.send(1, vec![(1, message(2, 1, 5, None))]);
    one.wait("a message after all that", |heard| heard.messages.len() == 1).await;
    drop(silent);
}

#[tokio::test]
async fn garbage_behind_a_good_handshake_closes_too() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    // A shard that does not exist: what a peer with another number of shards would send.
    one.transport.send(2, vec![(party::SHARDS, message(1, 2, 1, None))]);
    let problem = one.problem(2).await;
    assert!(problem.contains("closed") || problem.contains("reset"), "{problem}");
    one.connected(2).await;
    one.transport.send(2, vec![(0, message(1, 2, 2, None))]);
    two.wait("the next connection", |heard| heard.messages.len() == 1).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_a_bounded_queue() {
    let ((one_port, one_address), (two_port, two_address)) = (port().await, port().await);
    let proxy = two_port;
    let (real_port, real_address) = port().await;
    let mut one_config = config(1, &[(2, two_address)]);
    one_config.queue = QueueLimits { messages: 1000, bytes: 4 << 20 };
    let one = start(one_config, one_port, Ears::default());
    let _two = start(config(2, &[(1, one_address)]), real_port, Ears::default());
    // Passes bytes until told to stop reading, in both directions.
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let passing = tokio::spawn(async move {
        let (mut near, _) = proxy.accept().await.unwrap();
        let mut far = TcpStream::connect(real_address).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        sleep(Duration::from_secs(30)).await;
        drop((near, far));
    });
    one.connected(2).await;
    stop.send(true).unwrap();
    let large = message(1, 2, 1, Some(&noise(100_000)));
    for _ in 0..40 {
        one.transport.send(2, vec![(0, large.clone()); 10]);
        let link = &one.transport.links()[0];
        assert!(link.queued * 100_000 <= 4 << 20, "{link:?}");
        sleep(Duration::from_millis(5)).await;
    }
    let problem = one.problem(2).await;
    assert!(problem.contains("longer than 400ms"), "{problem}");
    let link = &one.transport.links()[0];
    assert!(link.dropped > 100 && link.queued == 0 && !link.connected, "{link:?}");
    passing.abort();
}

#[tokio::test]
async fn a_peer_that_comes_back_is_reached_again() {
    let ((one_port, one_address), (two_port, two_address)) = (port().await, port().await);
    let one = start(config(1, &[(2, two_address.clone())]), one_port, Ears::default());
    let mut listener = Some(two_port);
    for life in 0..3 {
        let listener = match listener.take() {
            Some(listener) => listener,
            None => tokio::net::TcpListener::bind(&two_address).await.unwrap(),
        };
        let two = start(config(2, &[(1, one_address.clone())]), listener, Ears::default());
        one.connected(2).await;
        one.transport.send(2, vec![(0, message(1, 2, 3, None))]);
        two.wait(&format!("life {life}"), |heard| heard.messages.len() == 1).await;
        two.transport.close().await;
        for _ in 0..500 {
            if !one.transport.links()[0].connected {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_snapshot_travels_from_store_to_store() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    let mark = SnapshotMark { index: 40, term: 3 };
    let content = noise(3_000_000);
    let file = one.stores[1].write_with(mark, |out| out.write_all(&content)).unwrap();
    one.transport.send_snapshot(2, 1, announcement(1, 2, 40, 3));
    two.wait("the snapshot", |heard| heard.snapshots.len() == 1).await;
    one.wait("the end of it", |heard| heard.sent == [(2, 1, TransferOutcome::Stored)]).await;
    {
        let heard = two.ears.0.lock();
        let (from, shard, message, stored) = &heard.snapshots[0];
        assert_eq!((*from, *shard, message.snapshot_mark()), (1, 1, Some(mark)));
        assert_eq!((stored.mark, stored.length, stored.checksum), (mark, file.length, file.checksum));
    }
    let (_, bytes) = two.stores[1].load().unwrap().unwrap();
    assert_eq!(bytes, content);
}

#[tokio::test]
async fn a_snapshot_that_is_gone_or_cannot_arrive_is_reported() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    one.transport.send_snapshot(2, 1, announcement(1, 2, 40, 3));
    one.wait("nothing to send", |heard| heard.sent == [(2, 1, TransferOutcome::Unreadable)]).await;
    one.stores[1].write_with(SnapshotMark { index: 50, term: 3 }, |out| out.write_all(b"newer")).unwrap();
    one.transport.send_snapshot(2, 1, announcement(1, 2, 40, 3));
    one.wait("only a newer one", |heard| heard.sent.len() == 2).await;
    one.transport.send_snapshot(9, 1, announcement(1, 9, 50, 3));
    one.wait("an unknown node", |heard| heard.sent.len() == 3).await;
    two.transport.close().await;
    one.transport.send_snapshot(2, 1, announcement(1, 2, 50, 3));
    one.wait("nobody there", |heard| heard.sent.len() == 4).await;
    assert!(one.ears.0.lock().sent[1..].iter().all(|(_, _, outcome)| *outcome == TransferOutcome::Failed));
    assert!(two.ears.0.lock().snapshots.is_empty());
}

#[tokio::test]
async fn a_snapshot_that_has_rotted_is_reported_as_unreadable_and_can_be_replaced() {
    let (one, two) = pair(|_| {}).await;
    one.connected(2).await;
    let mark = SnapshotMark { index: 40, term: 3 };
    let write = || one.stores[1].write_with(mark, |out| out.write_all(&noise(300_000))).unwrap();
    let path = write().path;
    let length = std::fs::metadata(&path).unwrap().len();
    // In the header: no offer can be made. In a block: the offer has been made, and what was sent is thrown away.
    for (number, offset) in [3, length / 2].into_iter().enumerate() {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[usize::try_from(offset).unwrap()] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        one.transport.send_snapshot(2, 1, announcement(1, 2, 40, 3));
        one.wait("damage", |heard| heard.sent.len() == number + 1).await;
        assert_eq!(one.ears.0.lock().sent[number], (2, 1, TransferOutcome::Unreadable), "a byte at {offset}");
        write();
    }
    assert!(two.stores[1].newest().unwrap().is_none());
    one.transport.send_snapshot(2, 1, announcement(1, 2, 40, 3));
    one.wait("the new one", |heard| heard.sent.last() == Some(&(2, 1, TransferOutcome::Stored))).await;
}
