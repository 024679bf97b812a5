//! How whoever uses the cluster (clients, the order writer) lives in the world: an [`Actor`] is told what happened, and
//! acts through its [`Port`].
//!
//! Connections are as TCP's: what is sent arrives in order, or the connection breaks; it may take any time, and may break
//! at any moment, with what was on its way in either direction lost. Frames are the client protocol's (behind its
//! handshake); the node answers with the product's own router, gate and shards.

use std::time::Duration;

use doorbuster_gateway::Key;
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{FeedPosition, NodeId, ShardId};

use super::rng::Rng;
use crate::history::{Heard, History, Moment, Operation};

/// A connection of an actor to a node; its number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// Something that an actor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened<'a> {
    /// The world begins. Once, before everything else.
    Begins,
    /// A connection stands: what is sent on it gets on its way. (Sending earlier is fine, too.)
    Connected(Link),
    /// Bytes came, as a stream: whole frames or parts of them.
    Received(Link, &'a [u8]),
    /// A connection could not be made, or broke. Not told of those that the actor closed.
    Lost(Link),
    /// A timer went off, with the number it was set with.
    Timer(u64),
    /// Faults have ended: begin nothing new, finish what is under way (retrying as long as it takes). Once.
    WindDown,
}

/// A client, the order writer: anything outside the cluster that uses it.
pub trait Actor {
    /// What it is called in traces.
    fn name(&self) -> String;

    /// Something happened. Acts at this very moment, which takes no time.
    fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>);

    /// After [`Happened::WindDown`]: nothing of it is under way any more. The world ends when all are.
    fn is_done(&self) -> bool;
}

/// What an actor can do.
pub struct Port<'a> {
    pub(super) now: Moment,
    pub(super) client: u32,
    pub(super) nodes: u16,
    pub(super) shards: u16,
    pub(super) rng: &'a mut Rng,
    pub(super) history: &'a mut History,
    pub(super) next_link: &'a mut u64,
    pub(super) orders: &'a mut Vec<Order>,
    pub(super) heard: &'a mut Vec<usize>,
    pub(super) tracing: bool,
}

/// What an actor did, carried out by the world when it has acted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    Connect(Link, NodeId),
    Send(Link, Vec<u8>),
    Close(Link),
    Wake(Moment, u64),
    Stored(ShardId, Vec<FeedEntry>, FeedPosition),
    Took(Key),
    GaveBack(Key),
    Reached(&'static str),
    Note(String),
}

impl Port<'_> {
    /// True time: the one clock that all actors share.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// This actor's number.
    #[must_use]
    pub fn client(&self) -> u32 {
        self.client
    }

    /// How many nodes the cluster has, numbered from 1.
    #[must_use]
    pub fn nodes(&self) -> u16 {
        self.nodes
    }

    /// How many shards it has, numbered from 0.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// This actor's own chance, which nothing else draws from.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng
    }

    /// Begins to connect to a node. [`Happened::Connected`] or [`Happened::Lost`] follows; [`Happened::Lost`] may take
    /// long (a partition swallows the attempt), so keep a timer.
    pub fn connect(&mut self, node: NodeId) -> Link {
        let link = Link(*self.next_link);
        *self.next_link += 1;
        self.orders.push(Order::Connect(link, node));
        link
    }

    /// Sends bytes. On a connection that is gone they go nowhere.
    pub fn send(&mut self, link: Link, bytes: Vec<u8>) {
        self.orders.push(Order::Send(link, bytes));
    }

    /// Closes a connection. Nothing more is heard of it.
    pub fn close(&mut self, link: Link) {
        self.orders.push(Order::Close(link));
    }

    /// Sets a timer. Timers cannot be taken back: number them, and ignore what is not wanted any more.
    pub fn wake_after(&mut self, delay: Duration, number: u64) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.orders.push(Order::Wake(Moment(self.now.0.saturating_add(delay)), number));
    }

    /// An operation begins; gives its place in the history.
    pub fn called(&mut self, body: RequestBody) -> usize {
        let (client, called) = (self.client, self.now);
        self.history.operations.push(Operation { client, called, returned: None, body, heard: Heard::Unknown });
        self.history.operations.len() - 1
    }

    /// An operation ended: answered, or given up ([`Heard::Unknown`]).
    ///
    /// # Panics
    /// If it has ended before, or is another actor's: a bug of the actor.
    pub fn returned(&mut self, operation: usize, heard: Heard) {
        self.heard.push(operation);
        let operation = &mut self.history.operations[operation];
        assert!(operation.client == self.client && operation.returned.is_none(), "ends its own operations, once");
        operation.returned = Some(self.now);
        operation.heard = heard;
    }

    /// The order writer's database has committed a transaction.
    pub fn stored(&mut self, shard: ShardId, entries: Vec<FeedEntry>, through: FeedPosition) {
        self.orders.push(Order::Stored(shard, entries, through));
    }

    /// The payment provider has taken the money.
    pub fn took(&mut self, key: Key) {
        self.orders.push(Order::Took(key));
    }

    /// The payment provider has given it back.
    pub fn gave_back(&mut self, key: Key) {
        self.orders.push(Order::GaveBack(key));
    }

    /// Something worth covering was reached: one of [`DECLARED`](super::marks::DECLARED).
    pub fn reached(&mut self, mark: &'static str) {
        self.orders.push(Order::Reached(mark));
    }

    /// Whether notes are kept.
    #[must_use]
    pub fn tracing(&self) -> bool {
        self.tracing
    }

    /// A line for the trace. Check [`Self::tracing`] before composing an expensive one.
    pub fn note(&mut self, text: String) {
        if self.tracing {
            self.orders.push(Order::Note(text));
        }
    }
}
