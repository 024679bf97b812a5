//! Clients that do not play by the rules.

use std::time::Duration;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{ITEM_HEADER_BYTES, encode_requests};
use doorbuster_protocol::handshake::{Hello, encode_hello};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, RequestId};
use doorbuster_server::credentials::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::caller::{Connection, command, hello, product, reserve};
use crate::nodes::{Nodes, PATIENCE};

async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes the connection");
    // Closed, or reset because bytes of ours were left unread.
    drop(ended);
}

async fn still_serves(nodes: &Nodes) {
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    connection.call(RequestBody::Query(Query::Status)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_its_connection_and_nothing_else() {
    let nodes = Nodes::start(1, 1).await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4096], &[0; 4096]] {
        let mut stream = TcpStream::connect(nodes.address(1)).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        is_closed(&mut stream).await;
        // The same behind a handshake.
        let mut connection = Connection::open(nodes.address(1)).await.unwrap();
        connection.stream.write_all(garbage).await.unwrap();
        is_closed(&mut connection.stream).await;
    }
    still_serves(&nodes).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_the_garbage_is_answered() {
    let nodes = Nodes::start(1, 1).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let mut bytes = Vec::new();
    let request = Request { body: RequestBody::Query(Query::ShardMap), wait: Millis(0) };
    encode_requests(&[(RequestId(5), request)], &mut bytes);
    bytes.extend_from_slice(&[0xff; 64]);
    connection.stream.write_all(&bytes).await.unwrap();
    let answer = timeout(PATIENCE, connection.answer(RequestId(5))).await.unwrap().unwrap();
    assert!(answer.is_ok());
    is_closed(&mut connection.stream).await;
    nodes.end().await;
}

/// A good reserve, and behind it an item that reaches beyond the frame: neither is done, and neither is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_breaks_the_rules_is_not_done_in_part() {
    let nodes = Nodes::start(1, 1).await;
    nodes.caller().create(product(7, 10)).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let query = |id| (RequestId(id), Request { body: RequestBody::Query(Query::ShardMap), wait: Millis(0) });
    let reserve = Request { body: command(Command::Reserve(reserve(7, 1))), wait: Millis(0) };
    let mut bytes = Vec::new();
    encode_requests(&[query(1), (RequestId(2), reserve), query(3)], &mut bytes);
    let last = bytes.len() - 9 - ITEM_HEADER_BYTES;
    assert_eq!(bytes[last], 9, "the length of the last item: wait, opcode and an empty message");
    bytes[last] = 10;
    connection.stream.write_all(&bytes).await.unwrap();
    let mut answered = Vec::new();
    let ended = timeout(PATIENCE, connection.stream.read_to_end(&mut answered)).await.expect("it is closed");
    assert!(matches!(ended, Ok(0) | Err(_)), "{answered:?}");
    assert_eq!(nodes.caller().product(ProductId(7)).await.held, Quantity(0));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_entry_is_not_taken_from_clients() {
    let nodes = Nodes::start(1, 1).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let answers =
        connection.call_all(vec![command(Command::Expire), RequestBody::Query(Query::ShardMap)]).await.unwrap();
    assert!(matches!(answers[0], Err(Failure::Malformed(_))), "{:?}", answers[0]);
    assert!(answers[1].is_ok());
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_fit_is_told_why() {
    let secret = "correct horse battery staple";
    let nodes = Nodes::start_with(1, 1, |config| config.credential = Some(Secret::new(secret))).await;
    let address = nodes.address(1);
    let good = Hello { credential: secret.as_bytes().to_vec(), ..hello() };
    assert!(Connection::open_as(address, &good).await.unwrap().is_ok());
    let cases = [
        (Hello { credential: b"correct horse battery stable".to_vec(), ..hello() }, Failure::Unauthorized),
        (Hello { credential: Vec::new(), ..hello() }, Failure::Unauthorized),
        (Hello { cluster: "another".into(), ..good.clone() }, Failure::WrongCluster),
        (Hello { versions: 200..=210, ..good.clone() }, Failure::UnsupportedVersion),
    ];
    for (hello, expected) in cases {
        let refused = Connection::open_as(address, &hello).await.unwrap();
        assert_eq!(refused.err(), Some(expected), "{hello:?}");
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nothing_is_let_go() {
    let nodes = Nodes::start_with(1, 1, |config| config.handshake_ms = 200).await;
    let mut silent = TcpStream::connect(nodes.address(1)).await.unwrap();
    let mut slow = TcpStream::connect(nodes.address(1)).await.unwrap();
    let mut bytes = Vec::new();
    encode_hello(&hello(), &mut bytes);
    slow.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    is_closed(&mut silent).await;
    is_closed(&mut slow).await;
    still_serves(&nodes).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_a_most_of_connections() {
    let nodes = Nodes::start_with(1, 1, |config| config.max_connections = 2).await;
    let first = Connection::open(nodes.address(1)).await.unwrap();
    let _second = Connection::open(nodes.address(1)).await.unwrap();
    let third = Connection::open_as(nodes.address(1), &hello()).await;
    assert!(matches!(third, Ok(Err(Failure::Busy { .. })) | Err(_)), "a third was let in");
    drop(first);
    let mut again = None;
    for _ in 0..200 {
        again = Connection::open_as(nodes.address(1), &hello()).await.ok().and_then(Result::ok);
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(again.is_some(), "a place that came free was not given away");
    nodes.end().await;
}

/// It sends on and on and reads nothing: it is disconnected, and what it could make the server hold is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_cut_off() {
    let nodes = Nodes::start(1, 1).await;
    nodes.caller().create(product(7, 10)).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let mut bytes = Vec::new();
    let request = |n| Request { body: command(Command::Reserve(reserve(7, n))), wait: Millis(0) };
    encode_requests(&(1..=2000).map(|n| (RequestId(n), request(n))).collect::<Vec<_>>(), &mut bytes);
    let sending = async {
        let mut sent = 0_usize;
        while connection.stream.write_all(&bytes).await.is_ok() {
            sent += bytes.len();
        }
        sent
    };
    let sent = timeout(Duration::from_secs(30), sending).await.expect("the server ends the connection");
    assert!(sent < 256 << 20, "{sent} bytes were taken from a client that reads nothing");
    still_serves(&nodes).await;
    nodes.end().await;
}
