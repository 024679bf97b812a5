//! A shard's part in the replicas' vote on their states ([`super::dispute`]): what starts it, what waits for it, and what
//! follows from it.
//!
//! - A leader serves only with a state that a majority has: just elected, it asks before it serves, and whenever somebody
//!   differs it answers nothing until that is settled. What is applied meanwhile is answered then.
//! - A replica that was found wrong applies and answers nothing more, hands leadership over and leaves it to others. It
//!   keeps the log and votes, so that the others have their quorum.
//! - A replica alone has nobody to ask: one whose state is not what its own log says stops.

use bytes::Bytes;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::types::NodeId;
use doorbuster_raft::{Monotonic, PeerMessage};

use super::dispute::{Known, Verdict};
use super::machine::{Difference, Machine};
use super::vote::Vote;
use super::{Round, Shard};

impl Shard {
    /// A peer's replica said something to this one.
    pub(super) fn hear(&mut self, from: NodeId, note: &Bytes, now: Monotonic) {
        if let Some(vote) = Vote::decode(note) {
            self.dispute.hear(from, vote, now);
        }
    }

    /// Whether requests are answered: this node leads, and a majority has its state.
    pub(super) fn serves(&self) -> bool {
        self.role.is_open() && self.is_trusted()
    }

    /// Whether this replica's state is not in doubt.
    pub(super) fn is_trusted(&self) -> bool {
        !self.diverged && !self.dispute.is_open()
    }

    /// Whether nobody can tell, for longer than callers are to be kept waiting, if this replica is right.
    pub(super) fn is_stuck(&self, now: Monotonic) -> bool {
        self.diverged || self.dispute.is_stuck(now)
    }

    /// Before a new leader serves, a majority must have its state.
    pub(super) fn ask_before_serving(&mut self, now: Monotonic) {
        let latest = self.node.machine().latest();
        // There is no state before the first command.
        if latest.index.0 > 0 {
            self.dispute.ask(latest, now);
        }
    }

    /// This node leads no more: nobody waits for what it asked without a reason to doubt.
    pub(super) fn ask_no_more(&mut self) {
        if !self.dispute.is_contradicted() {
            self.dispute.forget();
        }
    }

    /// Something was applied: it may have told of a difference, or the state may be another one altogether.
    pub(super) fn notice_difference(&mut self, restored: bool, now: Monotonic) {
        if restored {
            self.dispute.forget();
        }
        let Some(difference) = self.node.machine_mut().take_difference() else { return };
        self.stirred = true;
        if self.node.voters().len() == 1 {
            return self.node.machine_mut().diverge(described(&difference));
        }
        if !self.dispute.is_contradicted() {
            tracing::warn!(
                shard = self.id.0,
                reason = described(&difference),
                "asking the others whose state is right"
            );
            self.around.metrics.state_disputes.increment(1);
        }
        self.dispute.doubt(difference.own, now);
    }

    /// Compares, asks and counts votes, and does what follows.
    pub(super) fn attend_dispute(&mut self, round: &mut Round) {
        let now = round.now;
        let machine = self.node.machine();
        if machine.diverged().is_some() {
            self.dispute.attend_stopped(now, |index| known_to_stopped(machine, index));
        } else {
            let contradicted = self.dispute.is_contradicted();
            match self.dispute.attend(now, machine.latest(), |index| machine.known(index)) {
                Some(Verdict::Right(wrong)) => self.was_right(&wrong, round),
                Some(verdict @ Verdict::Wrong { .. }) => self.node.machine_mut().diverge(told(&verdict)),
                None if !contradicted && self.dispute.is_contradicted() => {
                    tracing::warn!(shard = self.id.0, "a peer has another state: asking whose is right");
                    self.around.metrics.state_disputes.increment(1);
                }
                None => {}
            }
            if self.serves() && self.node.machine().latest().index.0 > 0 {
                self.dispute.claim(self.node.machine().latest(), now);
            }
        }
        self.note_divergence(round);
        if self.is_stuck(now) {
            self.refuse_everybody(&Failure::Diverged, round);
        }
        for (to, vote) in self.dispute.take_said() {
            let (from, peer) = (u64::from(self.around.view.node().0), u64::from(to.0));
            round.send(to, self.id, PeerMessage::of_note(from, peer, vote.encode()));
        }
        self.show_service();
    }

    /// The gate answers while this shard serves, and only then.
    pub(super) fn show_service(&mut self) {
        let serves = self.serves();
        if serves != self.serving {
            self.serving = serves;
            if serves { self.around.gate.lead(self.id) } else { self.around.gate.follow(self.id) }
        }
    }

    /// Raft and the handover know whose state is wrong. Once a tick.
    pub(super) fn avoid_the_wrong(&mut self, now: Monotonic) {
        let wrong: Vec<_> = self.dispute.wrong(now).map(|node| u64::from(node.0)).collect();
        self.node.avoid(&wrong);
    }

    fn was_right(&mut self, wrong: &[NodeId], round: &mut Round) {
        if !wrong.is_empty() {
            let wrong: Vec<_> = wrong.iter().map(|node| node.0).collect();
            tracing::error!(
                shard = self.id.0,
                ?wrong,
                "most replicas have this node's state; these differ or have stopped"
            );
        }
        for (to, answer) in self.withheld.drain(..) {
            round.answers.push(to, answer);
        }
        self.stirred = true;
    }

    /// The replica stopped, or was given another state.
    fn note_divergence(&mut self, round: &mut Round) {
        let reason = self.node.machine().diverged();
        if reason.is_some() == self.diverged {
            return;
        }
        self.diverged = !self.diverged;
        match reason {
            Some(reason) => {
                tracing::error!(shard = self.id.0, reason, "this replica differs from the others and serves no more");
            }
            None => tracing::warn!(shard = self.id.0, "this replica has got the others' state"),
        }
        self.node.stand_back(self.diverged);
        self.disclaim(round);
        self.around.view.set_status(self.status(round.now), self.counts());
    }

    /// What was applied while the state was in doubt is answered by nobody's state.
    pub(super) fn disclaim(&mut self, round: &mut Round) {
        self.around.metrics.outcome_unknown.increment(self.withheld.len() as u64);
        for (to, _) in self.withheld.drain(..) {
            round.answers.push(to, Err(Failure::OutcomeUnknown));
        }
    }
}

/// A replica that has stopped will not apply what it has not applied.
fn known_to_stopped(machine: &Machine, index: doorbuster_protocol::types::LogIndex) -> Known {
    match machine.known(index) {
        Known::NotYet => Known::Forgotten,
        known => known,
    }
}

fn described(difference: &Difference) -> String {
    let Difference { own, proposers, entry } = difference;
    format!(
        "the state at index {} has digest {:016x} here and {:016x} at the proposer of entry {entry}",
        own.index, own.hash.0, proposers.0
    )
}

fn told(verdict: &Verdict) -> String {
    let Verdict::Wrong { own, others } = verdict else { return String::new() };
    let others = others.iter().map(|(node, hash)| match hash {
        Some(hash) => format!("{:016x} on node {node}", hash.0),
        None => format!("node {node} has stopped"),
    });
    let others = others.collect::<Vec<_>>().join(", ");
    format!("the state at index {} has digest {:016x} here; {others}", own.index, own.hash.0)
}
