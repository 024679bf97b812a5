//! A client for tests: the wire protocol on a plain socket, and one that asks on until it has an answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use doorbuster_protocol::command::{Command, LatePaymentPolicy, ProductSpec, Reserve, Target};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::frame::{VERSION, decode_answers, encode_requests};
use doorbuster_protocol::handshake::{Hello, Welcome, WelcomeOrFailure, decode_welcome, encode_hello};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Answer, ProductView, Reply, ReservationReply};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{
    Currency, Millis, Money, NodeId, ProductId, Quantity, RequestId, ReservationId, Timestamp, UserId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::nodes::PATIENCE;

/// One connection, behind its handshake.
pub struct Connection {
    pub stream: TcpStream,
    pub welcome: Welcome,
    input: Vec<u8>,
    answers: HashMap<RequestId, Answer>,
    next: u64,
}

/// A hello that every test server takes.
pub fn hello() -> Hello {
    Hello { versions: VERSION..=VERSION, cluster: "doorbuster".into(), credential: Vec::new(), client: "test".into() }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        Self::open_as(address, &hello()).await.map(|welcomed| welcomed.expect("this hello is taken"))
    }

    /// The connection, or why the server refuses it.
    pub async fn open_as(address: SocketAddr, hello: &Hello) -> std::io::Result<Result<Self, Failure>> {
        let mut stream = TcpStream::connect(address).await?;
        let mut out = Vec::new();
        encode_hello(hello, &mut out);
        stream.write_all(&out).await?;
        let mut input = Vec::new();
        loop {
            if let Some((reply, taken)) = decode_welcome(&input).expect("a well-formed welcome") {
                input.drain(..taken);
                return Ok(match reply {
                    WelcomeOrFailure::Welcome(welcome) => {
                        Ok(Self { stream, welcome, input, answers: HashMap::new(), next: 1 })
                    }
                    WelcomeOrFailure::Refused(failure) => Err(failure),
                });
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends requests in as few frames as possible, and returns the id of the first; the others follow.
    pub async fn send(&mut self, bodies: impl IntoIterator<Item = RequestBody>) -> std::io::Result<RequestId> {
        self.send_waiting(bodies, Millis(0)).await
    }

    pub async fn send_waiting(
        &mut self,
        bodies: impl IntoIterator<Item = RequestBody>,
        wait: Millis,
    ) -> std::io::Result<RequestId> {
        let first = RequestId(self.next);
        let batch: Vec<_> = bodies
            .into_iter()
            .map(|body| {
                self.next += 1;
                (RequestId(self.next - 1), Request { body, wait })
            })
            .collect();
        let mut out = Vec::new();
        encode_requests(&batch, &mut out);
        self.stream.write_all(&out).await?;
        Ok(first)
    }

    /// The answer to a request.
    pub async fn answer(&mut self, id: RequestId) -> std::io::Result<Answer> {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let answers = &mut self.answers;
            let taken = decode_answers(&self.input, &mut |id, answer| {
                assert!(answers.insert(id, answer).is_none(), "two answers to request {id}");
            })
            .expect("well-formed answers");
            self.input.drain(..taken);
        }
    }

    pub async fn call(&mut self, body: RequestBody) -> std::io::Result<Answer> {
        let id = self.send([body]).await?;
        timeout(PATIENCE, self.answer(id)).await.expect("an answer in time")
    }

    /// Sends all at once and gives the answers in their order.
    pub async fn call_all(&mut self, bodies: Vec<RequestBody>) -> std::io::Result<Vec<Answer>> {
        let count = bodies.len() as u64;
        let first = self.send(bodies).await?;
        let mut answers = Vec::new();
        for id in first.0..first.0 + count {
            answers.push(timeout(PATIENCE, self.answer(RequestId(id))).await.expect("an answer in time")?);
        }
        Ok(answers)
    }
}

/// Asks whichever node leads, again and with the same ids, until there is an answer.
pub struct Caller {
    nodes: Vec<(NodeId, SocketAddr)>,
    connections: HashMap<NodeId, Connection>,
    turn: usize,
    /// How often an outcome was unknown.
    pub unknown: usize,
}

impl Caller {
    pub fn new(nodes: Vec<(NodeId, SocketAddr)>) -> Self {
        Self { nodes, connections: HashMap::new(), turn: 0, unknown: 0 }
    }

    /// The final answer: whatever is no matter of who leads or how busy it is.
    pub async fn call(&mut self, body: RequestBody) -> Result<Reply, Refusal> {
        timeout(PATIENCE, self.ask_on(body)).await.expect("an answer in time")
    }

    async fn ask_on(&mut self, body: RequestBody) -> Result<Reply, Refusal> {
        let mut to = None;
        loop {
            let node = to.take().unwrap_or_else(|| {
                self.turn += 1;
                self.nodes[self.turn % self.nodes.len()].0
            });
            match self.ask(node, body.clone()).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(Failure::Refused(refusal))) => return Err(refusal),
                Ok(Err(Failure::NotLeader { leader })) => to = leader.filter(|leader| self.knows(*leader)),
                Ok(Err(Failure::OutcomeUnknown)) => self.unknown += 1,
                Ok(Err(Failure::Malformed(text))) => panic!("malformed: {text}"),
                Ok(Err(_)) => {}
                Err(_) => {
                    self.connections.remove(&node);
                }
            }
            if to.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn knows(&self, node: NodeId) -> bool {
        self.nodes.iter().any(|(known, _)| *known == node)
    }

    async fn ask(&mut self, node: NodeId, body: RequestBody) -> std::io::Result<Answer> {
        if !self.connections.contains_key(&node) {
            let address = self.nodes.iter().find(|(known, _)| *known == node).expect("a node of the cluster").1;
            let opened = timeout(Duration::from_secs(1), Connection::open(address)).await;
            self.connections.insert(node, opened.map_err(|_| std::io::ErrorKind::TimedOut)??);
        }
        self.connections.get_mut(&node).expect("just opened").call(body).await
    }

    pub async fn create(&mut self, spec: ProductSpec) -> ProductView {
        match self.call(command(Command::CreateProduct(Box::new(spec)))).await {
            Ok(Reply::Product(reply)) => reply.product,
            other => panic!("{other:?}"),
        }
    }

    pub async fn reserve(&mut self, reserve: Reserve) -> Result<ReservationReply, Refusal> {
        self.call(command(Command::Reserve(reserve))).await.map(reservation)
    }

    pub async fn confirm(&mut self, target: Target) -> Result<ReservationReply, Refusal> {
        self.call(command(Command::Confirm(target))).await.map(reservation)
    }

    pub async fn product(&mut self, product: ProductId) -> ProductView {
        match self.call(RequestBody::Query(Query::Product(product))).await {
            Ok(Reply::Product(reply)) => reply.product,
            other => panic!("{other:?}"),
        }
    }
}

pub fn command(command: Command) -> RequestBody {
    RequestBody::Command(command)
}

pub fn reservation(reply: Reply) -> ReservationReply {
    match reply {
        Reply::Reservation(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// A product with so many units, one a user, held for a minute.
pub fn product(id: u64, stock: u32) -> ProductSpec {
    ProductSpec {
        product: ProductId(id),
        name: format!("product {id}"),
        stock: Quantity(stock),
        price: Money { minor: 99_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(1),
        limit_per_reservation: Quantity(1),
        ttl: Millis(60_000),
        max_life: Millis(300_000),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::default(),
    }
}

/// One unit for user `n` under reservation id `n`.
pub fn reserve(product: u64, n: u64) -> Reserve {
    Reserve {
        product: ProductId(product),
        reservation: ReservationId(u128::from(n) << 64 | u128::from(product)),
        user: UserId(u128::from(n)),
        quantity: Quantity(1),
        ttl: Millis(0),
    }
}

/// The reservation that [`reserve`] makes.
pub fn target(product: u64, n: u64) -> Target {
    let Reserve { product, reservation, user, .. } = reserve(product, n);
    Target { product, reservation, user }
}
