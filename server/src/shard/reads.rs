//! Reads: answered from applied entries while the lease holds, else when a quorum has confirmed the leader.

use std::collections::VecDeque;
use std::time::Duration;

use doorbuster_inventory::Inventory;
use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Answer, ProductReply, Reply, ReservationReply, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::Timestamp;
use doorbuster_raft::{Monotonic, ReadError, ReadReady};

use super::call::Call;
use super::{Round, Shard};

/// A confirmation that takes longer was probably lost, and is asked for again.
const CONFIRMATION_RETRY: Duration = Duration::from_millis(200);

/// Reads that have not been answered.
#[derive(Debug)]
pub(super) struct Reads {
    /// Nobody was asked yet whether we may answer them.
    fresh: Vec<Call>,
    /// Waiting for a quorum's confirmation, in the order of their tokens.
    asked: VecDeque<Asked>,
    /// May be answered from what is applied.
    confirmed: Vec<Call>,
    next_token: u64,
    limit: usize,
}

#[derive(Debug)]
struct Asked {
    token: u64,
    at: Monotonic,
    calls: Vec<Call>,
}

impl Reads {
    pub(super) fn new(limit: usize) -> Self {
        Self { fresh: Vec::new(), asked: VecDeque::new(), confirmed: Vec::new(), next_token: 1, limit }
    }

    /// Takes a read in, or gives it back when too many wait.
    #[allow(clippy::result_large_err)]
    pub(super) fn push(&mut self, call: Call) -> Result<(), Call> {
        if self.len() >= self.limit {
            return Err(call);
        }
        self.fresh.push(call);
        Ok(())
    }

    /// A quorum has confirmed us since these were asked for, and since all that were asked for before.
    pub(super) fn confirmed(&mut self, ready: &[ReadReady]) {
        let Some(last) = ready.iter().map(|ready| ready.token).max() else { return };
        while self.asked.front().is_some_and(|asked| asked.token <= last) {
            self.confirmed.extend(self.asked.pop_front().into_iter().flat_map(|asked| asked.calls));
        }
    }

    /// Takes out those whose callers wait no more.
    pub(super) fn overdue(&mut self, now: Monotonic, mut ended: impl FnMut(Call)) {
        let lists = self.asked.iter_mut().map(|asked| &mut asked.calls).chain([&mut self.fresh]);
        for list in lists {
            list.extract_if(.., |call| !call.is_awaited(now)).for_each(&mut ended);
        }
    }

    /// Takes everything out.
    pub(super) fn abandon(&mut self, ended: impl FnMut(Call)) {
        let asked = self.asked.drain(..).flat_map(|asked| asked.calls);
        self.fresh.drain(..).chain(asked).chain(self.confirmed.drain(..)).for_each(ended);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.asked.iter().map(|asked| asked.calls.len()).sum::<usize>() + self.confirmed.len()
    }

    /// Lost confirmations are asked for again.
    fn repeat(&mut self, now: Monotonic) {
        while self.asked.front().is_some_and(|asked| now.since(asked.at) > CONFIRMATION_RETRY) {
            self.fresh.extend(self.asked.pop_front().into_iter().flat_map(|asked| asked.calls));
        }
    }
}

impl Shard {
    /// Answers what may be answered, asks for confirmation of the rest.
    pub(super) fn answer_reads(&mut self, round: &mut Round) {
        if self.reads.is_empty() || !self.serves() {
            return;
        }
        self.reads.repeat(round.now);
        // Planted: whoever believes to lead reads what it has.
        if self.node.lease_holds(round.now) || planted::on(Bug::ReadWithoutLease) {
            let reads = &mut self.reads;
            self.around.metrics.reads_by_lease.increment(reads.fresh.len() as u64);
            reads.confirmed.append(&mut reads.fresh);
        } else if !self.reads.fresh.is_empty() {
            self.ask_for_confirmation(round.now);
        }
        let time = self.clock.read(round.now);
        let inventory = self.node.machine().inventory();
        for call in self.reads.confirmed.drain(..) {
            let RequestBody::Query(query) = &call.body else { continue };
            round.answers.push(call.to, answer(inventory, query, time));
        }
    }

    fn ask_for_confirmation(&mut self, now: Monotonic) {
        let token = self.reads.next_token;
        match self.node.request_read(now, token) {
            Ok(()) => {
                self.reads.next_token += 1;
                let calls = std::mem::take(&mut self.reads.fresh);
                self.around.metrics.reads_by_index.increment(calls.len() as u64);
                self.reads.asked.push_back(Asked { token, at: now, calls });
                self.stirred = true;
            }
            // The next round tries again; a change of role answers them.
            Err(ReadError::NotReady | ReadError::Full | ReadError::NotLeader { .. }) => {}
        }
    }

    /// This replica's recount, whatever its role.
    pub(super) fn audit(&self) -> Reply {
        Reply::Audit(Box::new(self.node.machine().inventory().audit()))
    }
}

fn answer(inventory: &Inventory, query: &Query, time: Timestamp) -> Answer {
    match query {
        Query::Reservation(target) => reservation(inventory.reservation(target), time),
        Query::FindReservation { reservation: id, .. } => reservation(inventory.find(*id), time),
        Query::Product(product) => inventory
            .product(*product)
            .map(|product| Reply::Product(Box::new(ProductReply { replayed: false, time, product })))
            .map_err(Failure::Refused),
        Query::Products { after, limit, .. } => Ok(Reply::Products(inventory.products(*after, *limit))),
        Query::Reservations { after, limit, .. } => Ok(Reply::Reservations(inventory.reservations(*after, *limit))),
        Query::Unsettled { of, after, limit, .. } => {
            Ok(Reply::Unsettled(inventory.unsettled(*of, *after, *limit, time)))
        }
        Query::Feed { after, limit, .. } => Ok(Reply::Feed(inventory.feed(*after, *limit))),
        Query::Audit { .. } | Query::Status | Query::ShardMap => {
            Err(Failure::Malformed("a query for a node reached a shard's leader".into()))
        }
    }
}

fn reservation(found: Result<ReservationView, Refusal>, time: Timestamp) -> Answer {
    let reply = found.map(|reservation| ReservationReply { replayed: false, time, reservation });
    reply.map(Reply::Reservation).map_err(Failure::Refused)
}
