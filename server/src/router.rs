//! From bytes to where they are answered: each request of a read is answered here and now, or goes to its shard.
//!
//! Refusals at the gate, and whatever else needs no shard, are encoded straight into the connection's output:
//! no lock, no allocation. The rest goes to the shard groups in one push each. What a connection has in
//! flight is bounded; beyond it the answer is `busy`.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::command::{Command, Reserve};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{FrameError, decode_requests, encode_answer};
use doorbuster_protocol::limits::{MAX_IN_FLIGHT_PER_CONNECTION, MAX_WAIT};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Answer, Reply};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, RequestId, ShardId, shard_of};
use doorbuster_raft::Monotonic;

use crate::desk::{Condition, Desk};
use crate::gate::{Admission, Ticket};
use crate::mailbox::{Mailbox, ReplyTo};
use crate::shard::{BUSY_RETRY, Call};

/// Pages and recounts, which are large, that one connection may have in flight.
const MAX_LISTINGS_IN_FLIGHT: usize = 16;

/// Routes the requests of one connection.
pub struct Router {
    desk: Arc<Desk>,
    mailbox: Arc<Mailbox>,
    /// By shard group.
    batches: Vec<Vec<(ShardId, Call)>>,
    in_flight: usize,
    listings: Vec<RequestId>,
    counts: Counts,
    handed_on: bool,
}

/// What one read brought, counted once.
#[derive(Default)]
struct Counts {
    requests: u64,
    malformed: u64,
    busy: u64,
    not_leader: u64,
    tickets: u64,
    waits: u64,
    refusals: u64,
    not_here: u64,
}

/// When a read came, and who can tell how the node is.
struct Moment<'a> {
    now: Monotonic,
    node: &'a dyn Condition,
}

/// Where a request goes.
enum Route {
    Answer(Answer),
    Shard(ShardId, Option<Ticket>),
}

impl Router {
    /// For a connection whose answers gather in `mailbox`.
    #[must_use]
    pub fn new(desk: Arc<Desk>, mailbox: Arc<Mailbox>) -> Self {
        let batches = (0..desk.inboxes.len()).map(|_| Vec::new()).collect();
        Self { desk, mailbox, batches, in_flight: 0, listings: Vec::new(), counts: Counts::default(), handed_on: false }
    }

    /// Takes every complete frame off `input`, which was read before `now`; appends what can be answered at once to
    /// `out`. Returns how many bytes it took.
    ///
    /// # Errors
    /// The bytes are not of this protocol; what was decoded before has been dealt with.
    pub fn take(
        &mut self,
        input: &[u8],
        now: Monotonic,
        node: &dyn Condition,
        out: &mut Vec<u8>,
    ) -> Result<usize, FrameError> {
        let moment = Moment { now, node };
        let taken = decode_requests(input, &mut |id, request| self.dispatch(id, request, &moment, out));
        self.hand_over(out);
        self.count();
        taken
    }

    /// An answer from a shard is about to be written.
    pub fn answered(&mut self, id: RequestId) {
        self.in_flight -= 1;
        if let Some(at) = self.listings.iter().position(|listing| *listing == id) {
            self.listings.swap_remove(at);
        }
    }

    /// Whether requests went to the shards since this was asked last.
    pub fn has_handed_on(&mut self) -> bool {
        std::mem::take(&mut self.handed_on)
    }

    /// Requests whose answers have not come.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn dispatch(&mut self, id: RequestId, request: Result<Request, Failure>, moment: &Moment<'_>, out: &mut Vec<u8>) {
        self.counts.requests += 1;
        let route = match &request {
            Ok(request) => self.route(&request.body, moment),
            Err(failure) => {
                self.counts.malformed += 1;
                Route::Answer(Err(failure.clone()))
            }
        };
        match (route, request) {
            (Route::Shard(shard, ticket), Ok(request)) => match self.admit(id, &request.body) {
                Ok(()) => self.queue(id, shard, ticket, request, moment.now),
                Err(failure) => encode_answer(id, &Err(failure), out),
            },
            (Route::Answer(answer), _) => encode_answer(id, &answer, out),
            (Route::Shard(..), Err(failure)) => encode_answer(id, &Err(failure), out),
        }
    }

    fn route(&mut self, body: &RequestBody, moment: &Moment<'_>) -> Route {
        match body {
            RequestBody::Command(Command::Reserve(reserve)) => self.route_reserve(reserve, moment.now),
            RequestBody::Command(Command::AcknowledgeFeed { shard, .. }) => self.leader_route(*shard),
            RequestBody::Command(Command::Expire) => {
                Route::Answer(Err(malformed("clients cannot propose time entries")))
            }
            RequestBody::Command(command) => match command.product() {
                Some(product) => self.leader_route(shard_of(product, self.desk.view.shard_count())),
                None => Route::Answer(Err(malformed("a command that names no product"))),
            },
            RequestBody::Query(query) => self.route_query(query, moment),
        }
    }

    fn route_reserve(&mut self, reserve: &Reserve, now: Monotonic) -> Route {
        let view = &self.desk.view;
        let shard = shard_of(reserve.product, view.shard_count());
        match self.desk.gate.admit(reserve, now, view.time(shard, now)) {
            Admission::Refuse(refusal) => {
                self.counts.refusals += 1;
                Route::Answer(Err(Failure::Refused(refusal)))
            }
            Admission::Ticket(ticket) => {
                self.counts.tickets += 1;
                Route::Shard(shard, Some(ticket))
            }
            Admission::Wait => {
                self.counts.waits += 1;
                Route::Shard(shard, None)
            }
            Admission::NotHere => {
                self.counts.not_here += 1;
                self.leader_route(shard)
            }
        }
    }

    fn route_query(&mut self, query: &Query, moment: &Moment<'_>) -> Route {
        match query {
            Query::Status => Route::Answer(Ok(Reply::Status(Box::new(moment.node.status())))),
            Query::ShardMap => Route::Answer(Ok(Reply::ShardMap(self.desk.view.shard_map()))),
            Query::Audit { shard } => self.checked(*shard),
            Query::FindReservation { shard, .. }
            | Query::Products { shard, .. }
            | Query::Reservations { shard, .. }
            | Query::Unsettled { shard, .. }
            | Query::Feed { shard, .. } => self.leader_route(*shard),
            Query::Product(product) => self.leader_route(shard_of(*product, self.desk.view.shard_count())),
            Query::Reservation(target) => self.leader_route(shard_of(target.product, self.desk.view.shard_count())),
        }
    }

    /// To the shard, if this node leads it or is about to.
    fn leader_route(&mut self, shard: ShardId) -> Route {
        let leader = match self.checked(shard) {
            Route::Shard(shard, _) => self.desk.view.leader(shard),
            refused @ Route::Answer(_) => return refused,
        };
        if leader == Some(self.desk.view.node()) {
            return Route::Shard(shard, None);
        }
        self.counts.not_leader += 1;
        Route::Answer(Err(Failure::NotLeader { leader }))
    }

    fn checked(&self, shard: ShardId) -> Route {
        let shards = self.desk.view.shard_count();
        if shard.0 < shards {
            return Route::Shard(shard, None);
        }
        Route::Answer(Err(malformed(&format!("there is no shard {shard}: the last is {}", shards - 1))))
    }

    /// Whether one more may be in flight.
    fn admit(&mut self, id: RequestId, body: &RequestBody) -> Result<(), Failure> {
        let full = self.in_flight >= MAX_IN_FLIGHT_PER_CONNECTION;
        if full || is_listing(body) && self.listings.len() >= MAX_LISTINGS_IN_FLIGHT {
            self.counts.busy += 1;
            return Err(Failure::Busy { retry_after: BUSY_RETRY });
        }
        if is_listing(body) {
            self.listings.push(id);
        }
        self.in_flight += 1;
        Ok(())
    }

    fn queue(&mut self, id: RequestId, shard: ShardId, ticket: Option<Ticket>, request: Request, now: Monotonic) {
        let wait = match request.wait {
            Millis(0) => self.desk.default_wait,
            wait => Duration::from_millis(wait.min(MAX_WAIT).0),
        };
        let to = ReplyTo { mailbox: Arc::clone(&self.mailbox), id };
        let call = Call { to, body: request.body, until: now.after(wait), ticket };
        self.batches[self.desk.inboxes.thread_of(shard)].push((shard, call));
    }

    fn hand_over(&mut self, out: &mut Vec<u8>) {
        for (thread, batch) in self.batches.iter_mut().enumerate() {
            if batch.is_empty() {
                continue;
            }
            self.desk.inboxes.thread(thread).push_calls(batch);
            self.handed_on = true;
            self.counts.busy += batch.len() as u64;
            for (_, call) in batch.drain(..) {
                self.in_flight -= 1;
                self.listings.retain(|listing| *listing != call.to.id);
                encode_answer(call.to.id, &Err(Failure::Busy { retry_after: BUSY_RETRY }), out);
            }
        }
    }

    fn count(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        let metrics = &self.desk.metrics;
        let counters = [
            (&metrics.requests, counts.requests),
            (&metrics.malformed, counts.malformed),
            (&metrics.busy, counts.busy),
            (&metrics.not_leader, counts.not_leader),
            (&metrics.gate_tickets, counts.tickets),
            (&metrics.gate_waits, counts.waits),
            (&metrics.gate_refusals, counts.refusals),
            (&metrics.gate_not_here, counts.not_here),
        ];
        for (counter, count) in counters.into_iter().filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
    }
}

fn is_listing(body: &RequestBody) -> bool {
    let RequestBody::Query(query) = body else { return false };
    matches!(query, Query::Products { .. } | Query::Reservations { .. } | Query::Feed { .. } | Query::Audit { .. })
}

fn malformed(text: &str) -> Failure {
    Failure::Malformed(text.to_owned())
}
