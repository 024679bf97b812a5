//! A shard's round: admit those who wait, propose, poll the node, and deal with what came out.

use std::time::Duration;

use doorbuster_inventory::{Inventory, Limits};
use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::reply::{Answer, Reply};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{LogIndex, ProductId, Timestamp};
use doorbuster_raft::{Applied, Effects, Monotonic, ProposeError, Proposed};

use super::call::Call;
use super::entry::{Builder, Header};
use super::machine::EntryOutcome;
use super::pending::Proposal;
use super::{BUSY_RETRY, Round, Shard, node_id};
use crate::gate::Ticket;

/// Entries that may be on their way through the log. While so many are, commands gather for the next, larger one.
pub(super) const MAX_ENTRIES_IN_FLIGHT: usize = 16;
/// A proposal's commands take at most about this many bytes, far below what an entry may have.
const MAX_ENTRY_BYTES: usize = 512 << 10;

/// After the log took no entry, the next is offered no sooner.
const PROPOSE_PAUSE: Duration = Duration::from_millis(5);

/// What a reserve that waits for units is told.
enum Decision {
    Enter(Option<Ticket>),
    Answer(Answer),
    Stay,
}

impl Shard {
    /// Does everything there is to do now.
    pub fn advance(&mut self, round: &mut Round) {
        self.stirred = false;
        self.attend_dispute(round);
        loop {
            self.revisit(round);
            let proposed = self.open() | self.propose(round);
            let effects = self.node.poll(round.now);
            // What was applied makes room for more proposals, and for those who wait for units.
            let more = effects.more || !effects.applied.is_empty();
            self.deal_with(effects, round);
            if !more && !proposed {
                break;
            }
        }
        self.attend_dispute(round);
        self.answer_reads(round);
        self.attend_role(round);
        if self.serving {
            self.around.gate.renew(self.id, self.node.lease_until());
        }
        if self.role.is_open() {
            self.around.view.set_time(self.id, round.now, self.clock.read(round.now));
        }
        self.take_snapshot(round);
    }

    /// When the shard wants to be looked at again, if nothing comes before.
    #[must_use]
    pub fn wake_at(&self, now: Monotonic) -> Option<Monotonic> {
        if !self.may_propose() || self.pending.expires() {
            return self.node.campaigns_at();
        }
        let due = self.node.machine().inventory().next_deadline()?;
        Some(now.after(Duration::from_millis(due.since(self.clock.read(now)).0)).max(self.propose_after))
    }

    fn may_propose(&self) -> bool {
        let full = self.pending.len() >= MAX_ENTRIES_IN_FLIGHT;
        self.serves() && !full && self.node.machine().diverged().is_none()
    }

    /// Whether a time entry has work to do.
    #[must_use]
    pub fn is_due(&self, now: Monotonic) -> bool {
        self.wake_at(now).is_some_and(|at| at <= now)
    }

    pub(super) fn header(&self) -> Header {
        let inventory = self.node.machine().inventory();
        Header { stamp: inventory.time(), checked: inventory.applied(), hash: inventory.state_hash() }
    }

    /// Proposes what waits, an entry at a time. Whether anything was proposed.
    fn propose(&mut self, round: &mut Round) -> bool {
        let mut any = false;
        while self.may_propose() && round.now >= self.propose_after {
            let median = self.around.wall_clocks.median(round.now, round.wall);
            self.clock.learn(round.now, self.around.wall_clocks.known(), median);
            let stamp = self.clock.stamp(round.now, median);
            // Planted: the leader's own wall clock is the time.
            let stamp = if planted::on(Bug::ExpiryByLocalClock) { round.wall } else { stamp };
            let room = self.backlog.len().min(self.batch);
            let mut entry = Builder::with_room(Header { stamp, ..self.header() }, room);
            let due = self.node.machine().inventory().next_deadline().is_some_and(|due| due <= stamp);
            let expire = due && !self.pending.expires();
            if expire {
                entry.push(&Command::Expire);
            }
            let first = self.backlog.first();
            let calls = self.fill(&mut entry, round);
            if calls.is_empty() && !expire {
                break;
            }
            match self.node.propose(entry.finish()) {
                Ok(Proposed { term, index }) => {
                    // Planted: what will be true once it is committed is told now.
                    let calls = if planted::on(Bug::ReplyAtPropose) {
                        self.answer_early(calls, index, stamp, round)
                    } else {
                        calls
                    };
                    self.around.metrics.entry_commands.record(count_of(calls.len()));
                    self.pending.push(Proposal { term, index, expire, first, at: round.now, calls });
                    any = true;
                }
                Err(error) => {
                    self.not_proposed(calls, error, round);
                    break;
                }
            }
        }
        any
    }

    fn fill(&mut self, entry: &mut Builder, round: &mut Round) -> Vec<Call> {
        let mut calls = Vec::with_capacity(self.backlog.len().min(self.batch));
        while calls.len() < self.batch && entry.len() < MAX_ENTRY_BYTES {
            let Some(call) = self.backlog.pop() else { break };
            if !call.is_awaited(round.now) {
                self.around.metrics.waited_too_long.increment(1);
                round.answers.push(call.to, Err(Failure::WaitedTooLong));
                continue;
            }
            let RequestBody::Command(command) = &call.body else { continue };
            entry.push(command);
            calls.push(call);
        }
        calls
    }

    /// Only ever called with a bug planted: answers from a copy of the state that runs ahead. Nobody is left to answer.
    fn answer_early(&mut self, calls: Vec<Call>, index: u64, stamp: Timestamp, round: &mut Round) -> Vec<Call> {
        let mut bytes = Vec::new();
        let frozen = self.node.machine_mut().inventory_mut().freeze();
        let restored = frozen.write_to(&mut bytes).map(|()| Inventory::restore(self.id, Limits::default(), &bytes));
        let Ok(Ok(mut ahead)) = restored else { return calls };
        for call in calls {
            let RequestBody::Command(command) = &call.body else { continue };
            let answer = ahead.apply(LogIndex(index), stamp.max(ahead.time()), command);
            round.answers.push(call.to, answer.map_err(Failure::Refused));
        }
        Vec::new()
    }

    /// Nothing has happened. Unless another node leads, the calls stay first in line: the log takes entries again in a
    /// moment, or a change of role answers them.
    fn not_proposed(&mut self, calls: Vec<Call>, error: ProposeError, round: &mut Round) {
        self.around.metrics.proposals_dropped.increment(1);
        match error {
            ProposeError::Transferring | ProposeError::Full => {
                self.backlog.put_back(calls);
                self.propose_after = round.now.after(PROPOSE_PAUSE);
            }
            ProposeError::NotLeader { leader } => {
                let failure = Failure::NotLeader { leader: leader.map(node_id) };
                calls.into_iter().for_each(|call| round.answers.push(call.to, Err(failure.clone())));
            }
            ProposeError::Size { bytes, limit } => {
                unreachable!("an entry of {bytes} bytes was built, the limit is {limit}")
            }
        }
    }

    fn deal_with(&mut self, effects: Effects<EntryOutcome>, round: &mut Round) {
        for (to, message) in effects.send {
            round.send(node_id(to), self.id, message);
        }
        if let Some(append) = effects.persist {
            self.unsynced.push_back((append.ticket, round.now));
            round.appends.push(append);
        }
        let restored = self.node.machine_mut().take_restored();
        if restored {
            self.introduce_state();
        }
        self.notice_difference(restored, round.now);
        self.show_state(&effects.applied, round);
        for applied in effects.applied {
            self.settle(applied, round);
        }
        if let Some(cause) = effects.campaign {
            self.note_campaign(cause);
        }
        if let Some(change) = effects.role {
            self.change_role(change, round);
        }
        self.reads.confirmed(&effects.reads);
        for send in effects.send_snapshot {
            // A state that may be wrong is not multiplied: its copies would vote for it.
            if self.diverged || self.dispute.is_contradicted() {
                self.node.snapshot_sent(send.to, false);
            } else {
                round.snapshot_sends.push((self.id, send));
            }
        }
    }

    /// What was applied becomes visible at the gate, before anybody is answered.
    fn show_state(&mut self, applied: &[Applied<EntryOutcome>], round: &Round) {
        self.applied = applied.last().map_or(self.applied, |last| last.index);
        for outcome in applied.iter().map(|applied| &applied.outcome) {
            self.clock.applied(outcome.time, round.now);
            for reservation in &outcome.made {
                self.around.gate.note_granted(self.id, *reservation);
            }
        }
        let touched = &mut self.touched;
        touched.clear();
        self.around.metrics.entries_applied.increment(applied.len() as u64);
        self.node.machine_mut().inventory_mut().drain_touched(&mut |product| touched.push(product));
        for product in touched.drain(..) {
            if let Some(view) = self.node.machine().inventory().gate_view(product) {
                self.around.gate.publish(product, &view);
            }
        }
    }

    fn settle(&mut self, applied: Applied<EntryOutcome>, round: &mut Round) {
        let Applied { term, index, outcome } = applied;
        self.opened(Proposed { term, index }, round);
        let settled = self.pending.settle(term, index);
        self.answer_unknown(settled.lost, round);
        let Some(proposal) = settled.applied else { return };
        self.around.metrics.commit_seconds.record(round.now.since(proposal.at).as_secs_f64());
        self.count(&outcome.results);
        let mut results = outcome.results.into_iter().skip(usize::from(proposal.expire));
        for call in proposal.calls {
            // Without a result this replica has stopped applying: others may have gone on.
            let answer = results.next().map_or(Err(Failure::OutcomeUnknown), |result| result.map_err(Failure::Refused));
            if self.is_trusted() {
                round.answers.push(call.to, answer);
            } else {
                self.withheld.push((call.to, answer));
            }
        }
    }

    /// Nobody can tell what became of these.
    pub(super) fn answer_unknown(&mut self, proposals: Vec<Proposal>, round: &mut Round) {
        for mut call in proposals.into_iter().flat_map(|proposal| proposal.calls) {
            if planted::on(Bug::TicketsNotGivenBack) {
                // Planted: the count of units in flight keeps them.
                std::mem::forget(call.ticket.take());
            }
            self.around.metrics.outcome_unknown.increment(1);
            round.answers.push(call.to, Err(Failure::OutcomeUnknown));
        }
    }

    fn count(&self, results: &[Result<Reply, Refusal>]) {
        let metrics = &self.around.metrics;
        let expired = results.iter().map(|result| if let Ok(Reply::Expired(count)) = result { *count } else { 0 });
        metrics.expired.increment(expired.map(u64::from).sum());
        let granted = results.iter().filter(|result| result.is_ok()).count();
        metrics.commands_granted.increment(granted as u64);
        metrics.commands_refused.increment((results.len() - granted) as u64);
    }

    /// Decides about reserves that wait for units, as far as that is possible by now.
    fn revisit(&mut self, round: &mut Round) {
        if self.waiting.is_empty() || !self.serves() {
            return;
        }
        let mut products = std::mem::take(&mut self.queued);
        products.clear();
        self.waiting.products(&mut products);
        for product in &products {
            self.revisit_product(*product, round);
        }
        self.queued = products;
    }

    fn revisit_product(&mut self, product: ProductId, round: &mut Round) {
        let settled_through = self.backlog.settled_through(&self.pending);
        while let Some((call, settled)) = self.waiting.front(product, settled_through) {
            match self.decide(call, settled, round) {
                Decision::Stay => break,
                Decision::Answer(answer) => {
                    if let Some(call) = self.waiting.pop(product) {
                        round.answers.push(call.to, answer);
                    }
                }
                Decision::Enter(ticket) => {
                    let Some(mut call) = self.waiting.pop(product) else { break };
                    call.ticket = ticket;
                    if let Err(call) = self.enter(call) {
                        round.answers.push(call.to, Err(Failure::Busy { retry_after: BUSY_RETRY }));
                    }
                }
            }
        }
        self.around.gate.queue_behind_waiters(product, self.waiting.has(product));
    }

    fn decide(&self, call: &Call, settled: bool, round: &Round) -> Decision {
        let Some(reserve) = call.reserve() else { return Decision::Enter(None) };
        if !call.is_awaited(round.now) {
            return Decision::Answer(Err(Failure::WaitedTooLong));
        }
        let inventory = self.node.machine().inventory();
        if inventory.knows(reserve.reservation) {
            return Decision::Enter(None);
        }
        if self.feed_is_full() {
            return Decision::Answer(Err(super::feed::FULL));
        }
        // Only when no other reserve of the product is on its way, and nobody else can lead.
        let settled = settled && self.node.lease_holds(round.now);
        if settled && let Some(refusal) = inventory.refuse_reserve(self.clock.read(round.now), reserve) {
            return Decision::Answer(Err(Failure::Refused(refusal)));
        }
        // Without a ticket although it would be granted: others, who came later, were faster to take the tickets.
        let ticket = self.around.gate.take(reserve.product, reserve.quantity);
        if ticket.is_none() && planted::on(Bug::RefusalFromUncommitted) {
            // Planted: units in flight count as gone.
            let next_expiry = inventory.next_deadline().unwrap_or_default();
            return Decision::Answer(Err(Failure::Refused(Refusal::AllHeld { next_expiry })));
        }
        ticket.map_or(Decision::Stay, |ticket| Decision::Enter(Some(ticket)))
    }
}

#[allow(clippy::cast_precision_loss)] // at most a thousand commands
fn count_of(commands: usize) -> f64 {
    commands as f64
}
