//! Leading and following: what a shard does when its role changes.
//!
//! A new leader serves only once an *opening entry* of its own term is applied: until then its state may lack what its
//! predecessors committed. A leader that steps down keeps its proposals for a moment: those that are still applied
//! at their (term, index) get their answers, the others *outcome unknown*.

use std::time::Duration;

use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::types::{ProductId, Timestamp};
use doorbuster_raft::{Cause, Monotonic, ProposeError, Proposed, RoleChange};

use super::entry::{Builder, Header};
use super::{Round, Shard, node_id};

/// How long proposals of a former leader wait for their entries to be applied after all.
const GRACE: Duration = Duration::from_millis(500);
/// Pause between two attempts to hand leadership over.
const HANDOVER_RETRY: Duration = Duration::from_millis(200);
/// Products read from the state at once.
const PRODUCT_PAGE: u32 = 4096;

/// What this node is to a shard.
#[derive(Debug, Default)]
pub(super) enum Role {
    /// Another node leads, or none.
    #[default]
    Following,
    /// Stepped down a moment ago: proposals wait until then for their entries.
    SteppedDown {
        /// When the rest is given up.
        until: Monotonic,
    },
    /// Elected; the opening entry is on its way, or is still to be proposed.
    Opening {
        /// The term it was elected in.
        term: u64,
        /// Where the opening entry stands.
        opening: Option<Proposed>,
    },
    /// Leads, with all of its predecessors' entries applied.
    Leading {
        /// Since which term.
        term: u64,
    },
}

impl Role {
    /// Whether requests are taken in.
    pub(super) fn leads(&self) -> bool {
        matches!(self, Self::Opening { .. } | Self::Leading { .. })
    }

    /// Whether requests are answered.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Leading { .. })
    }

    fn term(&self) -> Option<u64> {
        match self {
            Self::Opening { term, .. } | Self::Leading { term } => Some(*term),
            Self::Following | Self::SteppedDown { .. } => None,
        }
    }
}

impl Shard {
    /// The leader or the term changed.
    pub(super) fn change_role(&mut self, change: RoleChange, round: &mut Round) {
        let leader = change.leader.map(node_id);
        if leader != self.around.view.leader(self.id) {
            self.around.metrics.leader_changes.increment(1);
        }
        self.around.view.set_leader(self.id, leader);
        if change.leading {
            if self.role.term() != Some(change.term) {
                self.close(round);
                self.give_up_pending(round);
                tracing::info!(shard = self.id.0, term = change.term, "leading");
                self.node.machine_mut().keep_results(true);
                self.role = Role::Opening { term: change.term, opening: None };
            }
        } else if self.role.leads() {
            tracing::info!(
                shard = self.id.0,
                term = change.term,
                leader = leader.map(|node| node.0),
                "leading no more"
            );
            self.close(round);
            self.role = Role::SteppedDown { until: round.now.after(GRACE) };
        }
    }

    /// The replica asks to be elected.
    pub(super) fn note_campaign(&self, cause: Cause) {
        let (why, counter) = match cause {
            Cause::Silence => ("no leader was heard", &self.around.metrics.campaigns_silence),
            Cause::Closed => ("the leader's connection closed", &self.around.metrics.campaigns_closed),
        };
        tracing::info!(shard = self.id.0, why, "campaigning");
        counter.increment(1);
    }

    /// Proposes the opening entry, and serves when it is applied. Whether anything was done.
    pub(super) fn open(&mut self) -> bool {
        let Role::Opening { term, opening: None } = self.role else { return false };
        if self.diverged {
            return false;
        }
        // Stamp 0 asks for no time: the clock starts when everything before is applied.
        let header = Header { stamp: Timestamp(0), ..self.header() };
        match self.node.propose(Builder::new(header).finish()) {
            Ok(proposed) => {
                self.role = Role::Opening { term, opening: Some(proposed) };
                true
            }
            Err(ProposeError::NotLeader { .. } | ProposeError::Transferring | ProposeError::Full) => false,
            Err(error @ ProposeError::Size { .. }) => unreachable!("an opening entry has a header only: {error}"),
        }
    }

    /// An entry was applied: if it was the opening one, the shard serves from now on.
    pub(super) fn opened(&mut self, applied: Proposed, round: &Round) {
        let Role::Opening { term, opening: Some(opening) } = self.role else { return };
        if opening != applied {
            return;
        }
        self.role = Role::Leading { term };
        self.clock.lead(round.now, self.around.wall_clocks.median(round.now, round.wall));
        self.around.view.set_time(self.id, round.now, self.clock.read(round.now));
        self.ask_before_serving(round.now);
        self.show_service();
    }

    /// After a role or a handover came to an end: what is due by time alone.
    pub(super) fn attend_role(&mut self, round: &mut Round) {
        match self.role {
            Role::SteppedDown { until } if round.now >= until => {
                self.give_up_pending(round);
                self.node.machine_mut().keep_results(false);
                self.role = Role::Following;
            }
            Role::Opening { .. } | Role::Leading { .. }
                if round.now >= self.handover_after && self.wants_to_hand_over() =>
            {
                self.hand_over(round);
            }
            _ => {}
        }
    }

    fn wants_to_hand_over(&self) -> bool {
        let idle = self.backlog.is_empty() && self.pending.is_empty() && self.waiting.is_empty();
        (self.role.is_open() && self.draining && idle && !self.was_given_back()) || self.diverged
    }

    /// Leadership was handed over to shut down, and came back: the other node shuts down too, and the two would pass
    /// it to and fro until one of them is gone.
    pub(super) fn was_given_back(&self) -> bool {
        let handed_over_in = self.handed_over_in;
        self.role.term().is_some_and(|term| handed_over_in.is_some_and(|earlier| earlier < term))
    }

    fn hand_over(&mut self, round: &Round) {
        let peers = self.node.status().peers;
        let wrong: Vec<_> = self.dispute.wrong(round.now).collect();
        let able = peers.iter().filter(|peer| peer.active && !peer.snapshot && !wrong.contains(&node_id(peer.node)));
        let best = able.max_by_key(|peer| peer.matched);
        if let Some(peer) = best
            && self.node.transfer_leadership(peer.node)
            && self.draining
        {
            self.handed_over_in = self.handed_over_in.or(self.role.term());
        }
        self.handover_after = round.now.after(HANDOVER_RETRY);
    }

    /// Stops serving: everybody whose command was not proposed hears who leads instead.
    fn close(&mut self, round: &mut Round) {
        self.serving = false;
        self.around.gate.follow(self.id);
        self.clock.follow();
        self.ask_no_more();
        self.refuse_everybody(&self.not_leader(), round);
    }

    /// Nobody waits any longer, except for what is in flight.
    pub(super) fn refuse_everybody(&mut self, failure: &Failure, round: &mut Round) {
        self.disclaim(round);
        let answers = &mut round.answers;
        while let Some(call) = self.backlog.pop() {
            answers.push(call.to, Err(failure.clone()));
        }
        self.queued.clear();
        self.waiting.products(&mut self.queued);
        for product in self.queued.drain(..) {
            self.around.gate.queue_behind_waiters(product, false);
        }
        self.waiting.abandon(|call| answers.push(call.to, Err(failure.clone())));
        self.reads.abandon(|call| answers.push(call.to, Err(failure.clone())));
    }

    /// Nobody can tell any more what became of the proposals.
    fn give_up_pending(&mut self, round: &mut Round) {
        let proposals = self.pending.abandon().collect();
        self.answer_unknown(proposals, round);
    }

    /// The filter starts anew when retention has let go of most of what it holds.
    pub(super) fn trim_filter(&self) {
        if self.around.gate.filter_wants_rebuild(self.id, self.node.machine().inventory().reservation_ids().len()) {
            self.rebuild_filter();
        }
    }

    fn rebuild_filter(&self) {
        let known = self.node.machine().inventory().reservation_ids();
        self.around.gate.rebuild_filter(self.id, known.len(), known);
    }

    /// The whole state is new: the gate learns every product and every reservation.
    pub(super) fn introduce_state(&mut self) {
        self.rebuild_filter();
        let inventory = self.node.machine().inventory();
        let mut after = ProductId(0);
        loop {
            let page = inventory.products(after, PRODUCT_PAGE);
            let Some(last) = page.last() else { break };
            after = last.spec.product;
            for product in page.iter().map(|view| view.spec.product) {
                if let Some(view) = inventory.gate_view(product) {
                    self.around.gate.publish(product, &view);
                }
            }
        }
    }
}
