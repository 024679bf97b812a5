//! Nodes of a cluster that do as a test tells them, over real sockets, speaking the real protocol.
#![allow(dead_code)] // each test file uses its part

pub mod clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbuster_client::{Client, Config};
use doorbuster_protocol::command::{Command, Reserve};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{VERSION, decode_requests, encode_answer};
use doorbuster_protocol::handshake::*;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::*;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Shards of the scripted cluster.
pub const SHARDS: u16 = 4;

/// What a node does with a request.
pub enum Action {
    Answer(Answer),
    AnswerAfter(Duration, Answer),
    Ignore,
    Close,
    /// Bytes that are no answer.
    Garbage,
}

type Script = dyn Fn(&Request) -> Action + Send + Sync;

/// One node.
pub struct Node {
    pub id: NodeId,
    pub address: String,
    pub seen: Arc<Seen>,
    listening: tokio::task::AbortHandle,
}

/// What a node saw.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub reads: AtomicUsize,
    /// But for questions for the map of shards.
    pub requests: Mutex<Vec<Request>>,
    pub unanswered: AtomicUsize,
    pub most_unanswered: AtomicUsize,
}

impl Seen {
    pub fn count(&self) -> usize {
        self.requests.lock().len()
    }
}

/// The map of shards that all nodes tell, and change.
#[derive(Clone, Default)]
pub struct Map(Arc<Mutex<Vec<Option<NodeId>>>>, Arc<Mutex<Vec<NodeAddress>>>);

impl Map {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(vec![None; SHARDS.into()])), Arc::default())
    }

    /// From now on this node leads every shard.
    pub fn lead(&self, leader: Option<NodeId>) {
        self.0.lock().fill(leader);
    }

    /// From now on this node is told to be there.
    pub fn rename(&self, node: NodeId, address: String) {
        let mut nodes = self.1.lock();
        nodes.iter_mut().find(|known| known.node == node).expect("known").address = address;
    }

    /// From now on this node, which may not be there, is told to be at that address.
    pub fn tell_of(&self, node: NodeId, address: String) {
        self.1.lock().push(NodeAddress { node, address });
    }

    fn tell(&self) -> ShardMap {
        ShardMap { leaders: self.0.lock().clone(), nodes: self.1.lock().clone() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Node {
    /// Starts a node that accepts everybody.
    pub async fn start(id: u16, map: &Map, script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        Self::start_with(id, map, ServerLimits::default(), script).await
    }

    pub async fn start_with(
        id: u16,
        map: &Map,
        limits: ServerLimits,
        script: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        map.1.lock().push(NodeAddress { node: NodeId(id), address: address.clone() });
        let seen = Arc::new(Seen::default());
        let accepting = accept(listener, NodeId(id), map.clone(), limits, Arc::new(script), Arc::clone(&seen));
        let listening = tokio::spawn(accepting).abort_handle();
        Self { id: NodeId(id), address, seen, listening }
    }
}

async fn accept(
    listener: TcpListener,
    id: NodeId,
    map: Map,
    limits: ServerLimits,
    script: Arc<Script>,
    seen: Arc<Seen>,
) {
    let mut serving = tokio::task::JoinSet::new(); // ends with this task
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::Relaxed);
        serving.spawn(serve(stream, id, map.clone(), limits, Arc::clone(&script), Arc::clone(&seen)));
    }
}

async fn serve(
    mut stream: TcpStream,
    node: NodeId,
    map: Map,
    limits: ServerLimits,
    script: Arc<Script>,
    seen: Arc<Seen>,
) -> Option<()> {
    let mut input = Vec::new();
    let hello = loop {
        stream.read_buf(&mut input).await.ok()?;
        if let Some((hello, taken)) = decode_hello(&input).ok()? {
            input.drain(..taken);
            break hello;
        }
    };
    let welcome = match &*hello.credential {
        b"wrong" => WelcomeOrFailure::Refused(Failure::Unauthorized),
        _ => WelcomeOrFailure::Welcome(Welcome {
            version: VERSION,
            cluster: hello.cluster,
            node,
            limits,
            shards: map.tell(),
        }),
    };
    let mut output = Vec::new();
    encode_welcome(&welcome, &mut output);
    stream.write_all(&output).await.ok()?;
    let (mut read, mut write) = stream.into_split();
    let (send, mut receive) = mpsc::unbounded_channel::<Vec<u8>>();
    let close = Arc::new(tokio::sync::Notify::new());
    let closing = Arc::clone(&close);
    tokio::spawn(async move {
        while let Some(bytes) = receive.recv().await {
            if bytes.is_empty() || write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        closing.notify_one();
    });
    loop {
        tokio::select! {
            count = read.read_buf(&mut input) => if count.ok()? == 0 { return None },
            () = close.notified() => return None,
        }
        seen.reads.fetch_add(1, Ordering::Relaxed);
        let mut requests = Vec::new();
        let taken = decode_requests(&input, &mut |id, request| requests.push((id, request))).ok()?;
        input.drain(..taken);
        for (id, request) in requests {
            let request = request.expect("the client sends nothing malformed");
            if request.body == RequestBody::Query(Query::ShardMap) {
                answer(&send, id, &Ok(Reply::ShardMap(map.tell())));
                continue;
            }
            seen.requests.lock().push(request.clone());
            let unanswered = seen.unanswered.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most_unanswered.fetch_max(unanswered, Ordering::SeqCst);
            act(script(&request), id, &send, &seen);
        }
    }
}

fn act(action: Action, id: RequestId, send: &mpsc::UnboundedSender<Vec<u8>>, seen: &Arc<Seen>) {
    match action {
        Action::Answer(reply) => {
            seen.unanswered.fetch_sub(1, Ordering::SeqCst);
            answer(send, id, &reply);
        }
        Action::AnswerAfter(pause, reply) => {
            let (send, seen) = (send.clone(), Arc::clone(seen));
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                seen.unanswered.fetch_sub(1, Ordering::SeqCst);
                answer(&send, id, &reply);
            });
        }
        Action::Ignore => {}
        Action::Close => drop(send.send(Vec::new())),
        Action::Garbage => drop(send.send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
    }
}

fn answer(send: &mpsc::UnboundedSender<Vec<u8>>, id: RequestId, reply: &Answer) {
    let mut bytes = Vec::new();
    encode_answer(id, reply, &mut bytes);
    let _ = send.send(bytes);
}

/// A client of these nodes.
pub async fn connect(nodes: &[&Node], deadline: Duration) -> Client {
    let addresses = nodes.iter().map(|node| node.address.clone()).collect();
    Client::connect(Config::new("shop", addresses).with_deadline(deadline)).await.expect("a node answers")
}

pub fn reserve(reservation: u128) -> Reserve {
    Reserve {
        product: ProductId(1),
        reservation: ReservationId(reservation),
        user: UserId(7),
        quantity: Quantity(1),
        ttl: Millis(0),
    }
}

/// The answer of a server that grants whatever is asked.
pub fn granted(request: &Request) -> Answer {
    let reserve = match request.body {
        RequestBody::Command(Command::Reserve(reserve)) => reserve,
        _ => self::reserve(1),
    };
    Ok(Reply::Reservation(ReservationReply {
        replayed: false,
        time: Timestamp(1000),
        reservation: ReservationView {
            product: reserve.product,
            reservation: reserve.reservation,
            user: reserve.user,
            quantity: reserve.quantity,
            state: ReservationState::Held,
            payment_attempts: 0,
            late: false,
            cancelled: None,
            created_at: Timestamp(1000),
            first_expires_at: Timestamp(2000),
            expires_at: Timestamp(2000),
            changed_at: Timestamp(1000),
        },
    }))
}

/// Grants everything at once.
pub fn grant(request: &Request) -> Action {
    Action::Answer(granted(request))
}

/// Says that another leads.
pub fn follow(leader: Option<u16>) -> impl Fn(&Request) -> Action + Send + Sync + 'static {
    move |_| Action::Answer(Err(Failure::NotLeader { leader: leader.map(NodeId) }))
}
