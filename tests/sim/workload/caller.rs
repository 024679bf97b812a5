//! One client's calls: found leader, retries with the same id, deadline. What comes of an attempt is decided by the real
//! client's own [`Course`]; connecting and waiting are done here, without I/O.
//!
//! A refusal that follows an attempt which went unheard does not end the operation as refused: the unheard attempt may
//! still be under way and take effect later. That operation is recorded as unknown, and the question asked anew as one of
//! its own.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbuster_client::decision::{Course, Decision, Outcome};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::frame::{decode_answers, encode_request};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, NodeId, RequestId, ShardId, shard_of};

use crate::history::{Heard, Moment};
use crate::sim::port::{Happened, Link, Port};

/// Timers with this bit are the caller's own.
const OURS: u64 = 1 << 63;
/// Longest time that one attempt may take.
const LONGEST_ATTEMPT: Duration = Duration::from_millis(1_500);
/// Longest time to connect.
const DIAL_TIMEOUT: Duration = Duration::from_millis(400);
/// Pause before another node is asked.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(10);
/// Hints that are followed in a row without a pause.
const MAX_HOPS: u32 = 3;

/// A call that came to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What the caller gave it to be known by.
    pub tag: u64,
    /// What was asked.
    pub body: RequestBody,
    /// What was heard at last.
    pub heard: Heard,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Caller {
    leaders: BTreeMap<ShardId, NodeId>,
    wires: BTreeMap<NodeId, Wire>,
    calls: BTreeMap<u64, Call>,
    timers: BTreeMap<u64, u64>,
    last_number: u64,
    finished: Vec<Finished>,
    winding_down: bool,
}

#[derive(Debug)]
struct Wire {
    link: Link,
    up: bool,
    input: Vec<u8>,
}

#[derive(Debug)]
struct Call {
    tag: u64,
    operation: usize,
    /// As the history has it.
    asked: RequestBody,
    request: Request,
    course: Course,
    until: Moment,
    /// The node asked now; none during a pause.
    node: Option<NodeId>,
    /// Set once it was sent there.
    sent_as: Option<RequestId>,
    timer: u64,
    hops: u32,
    attempts: u32,
    /// The node asked last.
    before: Option<NodeId>,
}

impl Caller {
    /// Whether anything is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Asks for something; it ends after `patience` at the latest, unless the world winds down.
    pub fn call(&mut self, port: &mut Port<'_>, body: RequestBody, patience: Duration, tag: u64) {
        let operation = port.called(body.clone());
        let id = self.number();
        let course = Course::of(&body);
        let call = Call {
            tag,
            operation,
            asked: body.clone(),
            request: Request { body, wait: Millis(0) },
            course,
            until: after(port.now(), patience),
            node: None,
            sent_as: None,
            timer: 0,
            hops: 0,
            attempts: 0,
            before: None,
        };
        self.calls.insert(id, call);
        self.attempt(id, port);
    }

    /// Takes what happened; gives the calls that have ended since the last time.
    pub fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>) -> Vec<Finished> {
        match what {
            Happened::Begins => {}
            Happened::Connected(link) => self.connected(link, port),
            Happened::Received(link, bytes) => self.received(link, bytes, port),
            Happened::Lost(link) => self.lost(link, port),
            Happened::Timer(number) if number & OURS != 0 => self.timer(number, port),
            Happened::Timer(_) => {}
            Happened::WindDown => self.winding_down = true,
        }
        std::mem::take(&mut self.finished)
    }

    /// What ended without an event: a call that could not even begin.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// The process of this client dies: whatever was under way is given up, its connections close.
    pub fn die(&mut self, port: &mut Port<'_>) {
        for (_, call) in std::mem::take(&mut self.calls) {
            port.returned(call.operation, Heard::Unknown);
        }
        for (_, wire) in std::mem::take(&mut self.wires) {
            port.close(wire.link);
        }
        self.leaders.clear();
        self.timers.clear();
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn attempt(&mut self, id: u64, port: &mut Port<'_>) {
        let Some(call) = self.calls.get(&id) else { return };
        let remaining = self.remaining(call, port.now());
        if remaining.is_zero() {
            return self.give_up(id, port);
        }
        let shard = shard_asked(&call.request.body, port.shards());
        let known = shard.and_then(|shard| self.leaders.get(&shard).copied());
        let before = call.before;
        let node = known.unwrap_or_else(|| any_node(port, before));
        if call.attempts > 0 && matches!(call.request.body, RequestBody::Command(_)) {
            port.reached("retried_with_same_id");
            if before.is_some_and(|before| before != node) {
                port.reached("retried_at_another_node");
            }
        }
        let up = self.wire(node, port);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.node = Some(node);
        call.before = Some(node);
        call.sent_as = None;
        call.attempts += 1;
        if up {
            self.send(id, port);
        } else {
            self.wake(id, DIAL_TIMEOUT.min(remaining), port);
        }
    }

    /// Whether there is a connection to the node; makes one if there is none.
    fn wire(&mut self, node: NodeId, port: &mut Port<'_>) -> bool {
        let new = |port: &mut Port<'_>| Wire { link: port.connect(node), up: false, input: Vec::new() };
        self.wires.entry(node).or_insert_with(|| new(port)).up
    }

    fn send(&mut self, id: u64, port: &mut Port<'_>) {
        let request_id = RequestId(self.number());
        let winding_down = self.winding_down;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(wire) = call.node.and_then(|node| self.wires.get(&node)) else { return };
        let remaining = if winding_down {
            LONGEST_ATTEMPT * 2
        } else {
            until(port.now(), call.until).max(Duration::from_millis(1))
        };
        call.course.prepare(&mut call.request, remaining);
        call.sent_as = Some(request_id);
        let mut frame = Vec::new();
        encode_request(request_id, &call.request, &mut frame);
        port.send(wire.link, frame);
        let patience = Course::patience(remaining, true).min(LONGEST_ATTEMPT);
        self.wake(id, patience, port);
    }

    fn wake(&mut self, id: u64, delay: Duration, port: &mut Port<'_>) {
        let number = OURS | self.number();
        if let Some(call) = self.calls.get_mut(&id) {
            self.timers.remove(&call.timer);
            call.timer = number;
            self.timers.insert(number, id);
            port.wake_after(delay, number);
        }
    }

    fn connected(&mut self, link: Link, port: &mut Port<'_>) {
        let Some((node, wire)) = self.wires.iter_mut().find(|(_, wire)| wire.link == link) else { return };
        wire.up = true;
        let node = *node;
        for id in self.calls_at(node) {
            self.send(id, port);
        }
    }

    fn received(&mut self, link: Link, bytes: &[u8], port: &mut Port<'_>) {
        let Some((node, wire)) = self.wires.iter_mut().find(|(_, wire)| wire.link == link) else { return };
        let node = *node;
        wire.input.extend_from_slice(bytes);
        let mut answers = Vec::new();
        match decode_answers(&wire.input, &mut |id, answer| answers.push((id, answer))) {
            Ok(taken) => drop(wire.input.drain(..taken)),
            Err(error) => panic!("node {node} sent what is no answer: {error}"),
        }
        for (request_id, answer) in answers {
            mark_answer(answer.as_ref().err(), port);
            // An answer to an attempt that was given up finds nobody.
            let call = self.calls.iter().find(|(_, call)| call.sent_as == Some(request_id)).map(|(id, _)| *id);
            if let Some(id) = call {
                self.outcome(id, Outcome::Answered(answer), port);
            }
        }
    }

    fn lost(&mut self, link: Link, port: &mut Port<'_>) {
        let Some(node) = self.wires.iter().find(|(_, wire)| wire.link == link).map(|(node, _)| *node) else { return };
        self.wires.remove(&node);
        for id in self.calls_at(node) {
            let sent = self.calls[&id].sent_as.is_some();
            self.forget(id, port);
            self.outcome(id, Outcome::Lost { sent }, port);
        }
    }

    fn timer(&mut self, number: u64, port: &mut Port<'_>) {
        let Some(id) = self.timers.remove(&number) else { return };
        let Some(call) = self.calls.get(&id).filter(|call| call.timer == number) else { return };
        let Some(node) = call.node else { return self.attempt(id, port) };
        let sent = call.sent_as.is_some();
        port.reached("timed_out");
        self.forget(id, port);
        // Who does not answer may be gone without a word: sometimes the connection is made anew.
        if (!sent || port.rng().percent(50))
            && self.calls_at(node).len() == 1
            && let Some(wire) = self.wires.remove(&node)
        {
            port.close(wire.link);
        }
        self.outcome(id, Outcome::TimedOut { sent }, port);
    }

    fn calls_at(&self, node: NodeId) -> Vec<u64> {
        self.calls.iter().filter(|(_, call)| call.node == Some(node)).map(|(id, _)| *id).collect()
    }

    /// The node that this call was asking does not serve: the next one looks for the leader again.
    fn forget(&mut self, id: u64, port: &Port<'_>) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(shard) = shard_asked(&call.request.body, port.shards()) else { return };
        if self.leaders.get(&shard).copied() == call.node {
            self.leaders.remove(&shard);
        }
    }

    fn outcome(&mut self, id: u64, outcome: Outcome, port: &mut Port<'_>) {
        if matches!(outcome, Outcome::Answered(Ok(_) | Err(Failure::Refused(_)))) {
            self.learn(id, port);
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.course.decide(outcome) {
            Decision::Done(reply) => self.finish(id, Heard::Reply(reply), port),
            Decision::Refused(_) if call.course.is_unheard() => self.ask_anew(id, port),
            Decision::Refused(refusal) => self.finish(id, Heard::Refused(refusal), port),
            Decision::Rejected(_) if call.course.is_unheard() => self.finish(id, Heard::Unknown, port),
            Decision::Rejected(failure) => self.finish(id, Heard::NotDone(failure.to_string()), port),
            Decision::Redirected(leader) => self.redirected(id, leader, port),
            Decision::Unsent(pause) | Decision::After(pause) => self.pause(id, pause, port),
            Decision::Elsewhere => {
                self.forget(id, port);
                self.pause(id, ELSEWHERE_PAUSE, port);
            }
        }
    }

    fn learn(&mut self, id: u64, port: &Port<'_>) {
        let Some(call) = self.calls.get(&id) else { return };
        if let (Some(shard), Some(node)) = (shard_asked(&call.request.body, port.shards()), call.node) {
            self.leaders.insert(shard, node);
        }
    }

    fn redirected(&mut self, id: u64, leader: Option<NodeId>, port: &mut Port<'_>) {
        self.forget(id, port);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.hops += 1;
        let (here, hops) = (call.node, call.hops);
        let shard = shard_asked(&call.request.body, port.shards());
        match (leader, shard) {
            (Some(leader), Some(shard)) if Some(leader) != here && hops <= MAX_HOPS => {
                self.leaders.insert(shard, leader);
                self.attempt(id, port);
            }
            _ => {
                call.hops = 0;
                self.pause(id, ELSEWHERE_PAUSE * 3, port);
            }
        }
    }

    fn pause(&mut self, id: u64, pause: Duration, port: &mut Port<'_>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        (call.node, call.sent_as) = (None, None);
        // From half to the whole of it, as the real client's jitter.
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let pause = Duration::from_micros(port.rng().between(micros / 2, micros));
        let remaining = if self.winding_down { pause } else { until(port.now(), call.until) };
        self.wake(id, pause.min(remaining), port);
    }

    fn ask_anew(&mut self, id: u64, port: &mut Port<'_>) {
        let now = port.now();
        let Some(call) = self.calls.get_mut(&id) else { return };
        port.returned(call.operation, Heard::Unknown);
        if call.until <= now && !self.winding_down {
            return self.end(id, Heard::Unknown);
        }
        call.operation = port.called(call.asked.clone());
        call.course = Course::of(&call.asked);
        call.request.body = call.asked.clone();
        (call.node, call.sent_as, call.attempts) = (None, None, 0);
        self.attempt(id, port);
    }

    fn give_up(&mut self, id: u64, port: &mut Port<'_>) {
        let Some(call) = self.calls.get(&id) else { return };
        let unknown = call.course.is_unheard();
        let heard = if unknown { Heard::Unknown } else { Heard::NotDone("no answer within the deadline".to_owned()) };
        port.reached("gave_up");
        self.finish(id, heard, port);
    }

    fn finish(&mut self, id: u64, heard: Heard, port: &mut Port<'_>) {
        let Some(call) = self.calls.get(&id) else { return };
        port.returned(call.operation, heard.clone());
        self.end(id, heard);
    }

    fn end(&mut self, id: u64, heard: Heard) {
        if let Some(call) = self.calls.remove(&id) {
            self.timers.remove(&call.timer);
            self.finished.push(Finished { tag: call.tag, body: call.asked, heard });
        }
    }

    fn remaining(&self, call: &Call, now: Moment) -> Duration {
        if self.winding_down { LONGEST_ATTEMPT * 2 } else { until(now, call.until) }
    }
}

/// Any node, but not the one asked before if there are others.
fn any_node(port: &mut Port<'_>, before: Option<NodeId>) -> NodeId {
    let nodes: Vec<NodeId> = (1..=port.nodes()).map(NodeId).filter(|node| Some(*node) != before).collect();
    port.rng().pick(&nodes).copied().unwrap_or(NodeId(1))
}

/// The shard whose leader answers it.
fn shard_asked(body: &RequestBody, shards: u16) -> Option<ShardId> {
    match body {
        RequestBody::Command(Command::AcknowledgeFeed { shard, .. }) => Some(*shard),
        RequestBody::Command(command) => command.product().map(|product| shard_of(product, shards)),
        RequestBody::Query(query) => match query {
            Query::Reservation(target) => Some(shard_of(target.product, shards)),
            Query::Product(product) => Some(shard_of(*product, shards)),
            Query::FindReservation { shard, .. }
            | Query::Products { shard, .. }
            | Query::Reservations { shard, .. }
            | Query::Unsettled { shard, .. }
            | Query::Feed { shard, .. } => Some(*shard),
            Query::Audit { .. } | Query::Status | Query::ShardMap => None,
        },
    }
}

fn mark_answer(failure: Option<&Failure>, port: &mut Port<'_>) {
    let mark = match failure {
        None => return,
        Some(Failure::Refused(refusal)) => match refusal {
            Refusal::SoldOut => "refused_sold_out",
            Refusal::AllHeld { .. } => "refused_all_held",
            Refusal::InsufficientStock { .. } => "refused_insufficient_stock",
            Refusal::LimitReached { .. } => "refused_limit_reached",
            Refusal::NotOpen { .. } => "refused_not_open",
            Refusal::Closed => "refused_closed",
            Refusal::Paused => "refused_paused",
            Refusal::ConflictingRetry => "conflicting_retry",
            Refusal::ReservationExpired { .. } => "expired",
            _ => return,
        },
        Some(Failure::NotLeader { .. }) => "not_leader",
        Some(Failure::Busy { .. }) => "busy",
        Some(Failure::OutcomeUnknown) => "outcome_unknown",
        Some(Failure::WaitedTooLong) => "waited_too_long",
        Some(_) => return,
    };
    port.reached(mark);
}

/// How long from `now` to `end`.
fn until(now: Moment, end: Moment) -> Duration {
    Duration::from_nanos(end.0.saturating_sub(now.0))
}

fn after(now: Moment, delay: Duration) -> Moment {
    Moment(now.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
}
