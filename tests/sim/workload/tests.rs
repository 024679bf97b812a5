//! All actors against a toy: one inventory that answers everybody at once, sometimes breaks a connection, sometimes answers
//! that nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use doorbuster_gateway::Key;
use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{decode_requests, encode_answer};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Answer, FeedEntry, ProductReply, Reply, ReservationReply};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{LogIndex, NodeId, ShardId, Timestamp};

use super::*;
use crate::history::{Heard, History, Moment};
use crate::sim::port::{Happened, Link, Order, Port};
use crate::sim::{Fault, Faults, Scenario};

/// What is still to happen to an actor.
enum Due {
    Begins,
    Connected(Link),
    Received(Link, Vec<u8>),
    Lost(Link),
    Timer(u64),
    WindDown,
}

struct Toy {
    inventory: Inventory,
    index: u64,
    history: History,
    queue: BTreeMap<(Moment, u64), (usize, Due)>,
    sequence: u64,
    next_link: u64,
    rng: Rng,
    stored: Vec<FeedEntry>,
    taken: BTreeSet<Key>,
    marks: BTreeSet<&'static str>,
}

impl Toy {
    fn push(&mut self, at: Moment, actor: usize, due: Due) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), (actor, due));
    }

    fn answer(&mut self, now: Moment, body: &RequestBody) -> Answer {
        let time = Timestamp(1_000_000 + now.0 / 1_000_000);
        match body {
            RequestBody::Command(command) => {
                self.index += 1;
                let reply = self.inventory.apply(LogIndex(self.index), time, command);
                reply.map_err(Failure::Refused)
            }
            RequestBody::Query(Query::Product(product)) => self
                .inventory
                .product(*product)
                .map(|product| Reply::Product(Box::new(ProductReply { replayed: false, time, product })))
                .map_err(Failure::Refused),
            RequestBody::Query(Query::Reservation(target)) => self
                .inventory
                .reservation(target)
                .map(|reservation| Reply::Reservation(ReservationReply { replayed: false, time, reservation }))
                .map_err(Failure::Refused),
            RequestBody::Query(Query::Feed { after, limit, .. }) => {
                Ok(Reply::Feed(self.inventory.feed(*after, *limit)))
            }
            RequestBody::Query(Query::Unsettled { of, after, limit, .. }) => {
                Ok(Reply::Unsettled(self.inventory.unsettled(*of, *after, *limit, time)))
            }
            RequestBody::Query(_) => Ok(Reply::Products(Vec::new())),
        }
    }

    fn serve(&mut self, now: Moment, actor: usize, link: Link, bytes: &[u8]) {
        let mut requests = Vec::new();
        decode_requests(bytes, &mut |id, request| requests.push((id, request))).expect("frames");
        let mut out = Vec::new();
        for (id, request) in requests {
            let answer = self.answer(now, &request.expect("a request").body);
            let unknown = self.rng.percent(5);
            encode_answer(id, &if unknown { Err(Failure::OutcomeUnknown) } else { answer }, &mut out);
        }
        let later = Moment(now.0 + self.rng.between(1_000_000, 30_000_000));
        let due = if self.rng.percent(3) { Due::Lost(link) } else { Due::Received(link, out) };
        self.push(later, actor, due);
    }

    fn carry_out(&mut self, now: Moment, actor: usize, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Connect(link, NodeId(_)) => self.push(Moment(now.0 + 1_000_000), actor, Due::Connected(link)),
                Order::Send(link, bytes) => self.serve(now, actor, link, &bytes),
                Order::Close(link) => {
                    let of_it =
                        |due: &Due| matches!(due, Due::Connected(l) | Due::Received(l, _) | Due::Lost(l) if *l == link);
                    self.queue.retain(|_, (to, due)| *to != actor || !of_it(due));
                }
                Order::Wake(at, number) => self.push(at, actor, Due::Timer(number)),
                Order::Stored(ShardId(0), entries, _) => self.stored.extend(entries),
                Order::Took(key) => assert!(self.taken.insert(key), "{key} is taken twice"),
                Order::GaveBack(key) => assert!(self.taken.remove(&key), "{key} is given back, and was not taken"),
                Order::Stored(shard, ..) => panic!("there is no shard {shard}"),
                Order::Reached(mark) => drop(self.marks.insert(mark)),
                Order::Note(_) => {}
            }
        }
    }
}

fn play(seed: u64) -> (Toy, bool) {
    let mut scenario = Scenario::with(seed, Faults::none());
    scenario.span = Duration::from_secs(6);
    let shape = Shape::draw(&scenario);
    let mut actors = actors(&shape, 1);
    let rng = Rng::new(seed);
    let mut rngs: Vec<Rng> = (0..actors.len() as u64).map(|number| rng.numbered(number)).collect();
    let mut toy = Toy {
        inventory: Inventory::new(ShardId(0), Limits::default()),
        index: 0,
        history: History::default(),
        queue: BTreeMap::new(),
        sequence: 0,
        next_link: 0,
        rng: rng.stream("toy"),
        stored: Vec::new(),
        taken: BTreeSet::new(),
        marks: BTreeSet::new(),
    };
    for actor in 0..actors.len() {
        toy.push(Moment(0), actor, Due::Begins);
        toy.push(Moment(u64::try_from(shape.span.as_nanos()).expect("short")), actor, Due::WindDown);
    }
    while let Some(((now, _), (actor, due))) = toy.queue.pop_first() {
        let mut orders = Vec::new();
        let bytes;
        let what = match due {
            Due::Begins => Happened::Begins,
            Due::Connected(link) => Happened::Connected(link),
            Due::Received(link, received) => {
                bytes = received;
                Happened::Received(link, &bytes)
            }
            Due::Lost(link) => Happened::Lost(link),
            Due::Timer(number) => Happened::Timer(number),
            Due::WindDown => Happened::WindDown,
        };
        let mut port = Port {
            now,
            client: u32::try_from(actor).expect("few"),
            nodes: 3,
            shards: 1,
            rng: &mut rngs[actor],
            history: &mut toy.history,
            next_link: &mut toy.next_link,
            orders: &mut orders,
            heard: &mut Vec::new(),
            tracing: false,
        };
        actors[actor].act(what, &mut port);
        toy.carry_out(now, actor, orders);
        if now > Moment(60_000_000_000) || actors.iter().all(|actor| actor.is_done()) {
            break;
        }
    }
    let done = actors.iter().all(|actor| actor.is_done());
    (toy, done)
}

#[test]
fn everybody_comes_to_an_end_and_every_order_is_stored_once() {
    let mut marks = BTreeSet::new();
    for seed in 0..30 {
        let (toy, done) = play(seed);
        assert!(done, "seed {seed}: somebody is not done");
        // The order writer asks for what is new until nobody listens any more.
        let reads = |body: &RequestBody| matches!(body, RequestBody::Query(Query::Feed { .. }));
        let mut operations = toy.history.operations.iter();
        let open = operations.find(|operation| operation.returned.is_none() && !reads(&operation.body));
        assert_eq!(open, None, "seed {seed}");
        let positions: Vec<u64> = toy.stored.iter().map(|entry| entry.position.get()).collect();
        assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>(), "seed {seed}");
        marks.extend(toy.marks);
    }
    for mark in ["granted", "refused_sold_out", "refused_all_held", "refund_due", "refunded", "extended"] {
        assert!(marks.contains(mark), "{mark} was never reached: {marks:?}");
    }
    for mark in ["retried_with_same_id", "conflicting_retry", "orders_stored_twice_offered", "refused_not_open"] {
        assert!(marks.contains(mark), "{mark} was never reached: {marks:?}");
    }
}

#[test]
fn the_same_seed_does_the_same() {
    let (one, other) = (play(7).0, play(7).0);
    assert!(one.history.operations.len() > 50, "{}", one.history.operations.len());
    assert_eq!(one.history, other.history);
    let unknown =
        |toy: &Toy| toy.history.operations.iter().filter(|operation| operation.heard == Heard::Unknown).count();
    assert_eq!(unknown(&one), unknown(&other));
    assert!(!Faults::none().on(Fault::Crash));
}
