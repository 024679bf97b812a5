//! What becomes of a leader's place when the connection ends over which it spoke: a process that ends closes its
//! connections, long before anybody would miss its heartbeats.
//!
//! The close is a hint and no more, for connections also end between processes that live. So it changes *when* this replica
//! campaigns, and nothing else: one election timeout after the close instead of at a random moment up to two after the last
//! heartbeat, and in turns instead of by chance. What makes that safe:
//! * The promise to the leader (see `lease`) is kept to its end, to the replica's own campaign as to others'. No lease
//!   that a living leader may still have is shortened.
//! * A leader that lives connects again and is heard: the place was never vacant. One that reaches the others and not this
//!   replica keeps its place: they are bound by their promises to it, and a campaign begins with a pre-vote, which changes
//!   nobody's term.
//! * A crash without a close (power, a cut network) is found out by silence, as ever.
//!
//! Turns: the other replicas, the preferred leader first, begin [`STAGGER`] ticks apart, so that one is elected before the next
//! asks. All count from the close, which they see at the same moment. A turn that comes to nothing
//! (another was bound a little longer, or has more of the log) comes round again. After [`TURNS`] of them the random timeouts
//! of an ordinary election take over.

use raft::{INVALID_ID, StateRole};

use super::Node;
use crate::config::NodeConfig;
use crate::effects::Cause;
use crate::machine::StateMachine;
use crate::types::{Monotonic, NodeId};

/// Ticks between the turns of two replicas: an election takes one sync on each of two nodes, and two round trips.
const STAGGER: u32 = 2;
/// Campaigns of one replica for one vacant place.
const TURNS: u32 = 3;

/// The place of a leader that may be gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacancy {
    leader: NodeId,
    term: u64,
    since: Monotonic,
    /// How often this replica has campaigned for it.
    turns: u32,
    /// It does so no sooner than then.
    not_before: Monotonic,
    /// Another that asked lacks entries that are here: this replica need not wait for those before it.
    ahead: bool,
}

impl Vacancy {
    /// A replica's place among those that may succeed, and how many they are. Counted from the voters alone, so that no two
    /// of them count differently.
    fn rank(&self, config: &NodeConfig) -> (u32, u32) {
        let mut heirs: Vec<_> = config.voters.iter().copied().filter(|voter| *voter != self.leader).collect();
        heirs.sort_unstable_by_key(|heir| (Some(*heir) < config.preferred, *heir));
        let rank = heirs.iter().take_while(|heir| **heir != config.node).count();
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        (number(rank), number(heirs.len()))
    }
}

impl<S: StateMachine> Node<S> {
    /// The connection over which `peer` spoke to this node has ended, and no newer one stands: its process may be gone.
    /// Wrong news do no harm.
    pub fn peer_lost(&mut self, now: Monotonic, peer: NodeId) {
        self.observe(now);
        let raft = &self.raw.raft;
        let follows = peer != INVALID_ID && raft.leader_id == peer;
        if self.vacancy().is_none() && raft.state == StateRole::Follower && follows {
            let since = self.now;
            let vacancy =
                Vacancy { leader: peer, term: raft.term, since, turns: 0, not_before: Monotonic(0), ahead: false };
            self.vacancy = Some(vacancy);
        }
    }

    /// When [`Node::poll`] has a campaign to begin, if nothing comes before; never later than a tick after that is known.
    #[must_use]
    pub fn campaigns_at(&self) -> Option<Monotonic> {
        let due = self.turn_at()?.max(self.now);
        // Still bound then: a tick will find it free.
        (!self.promise.binds(due)).then_some(due)
    }

    /// The random election timeout does not count: this replica waits for its turn.
    pub(super) fn awaits_turn(&self) -> bool {
        self.turn_at().is_some()
    }

    /// Once free of the promise to a leader that may be gone, this replica knows of no leader: it may vote.
    pub(super) fn vacate(&mut self) {
        if self.vacancy().is_some() && !self.promise.binds(self.now) {
            self.raw.raft.leader_id = INVALID_ID;
        }
    }

    /// Campaigns if it is this replica's turn.
    pub(super) fn take_turn(&mut self) {
        let due = self.turn_at().is_some_and(|at| self.now >= at);
        if !due || self.promise.binds(self.now) {
            return;
        }
        let pause = self.now.after(self.config.tick * STAGGER);
        if let Some(vacancy) = &mut self.vacancy {
            vacancy.turns += 1;
            vacancy.not_before = pause;
        }
        self.raw.raft.election_elapsed = 0;
        self.campaigned = Some(Cause::Closed);
        if let Err(error) = self.raw.campaign() {
            panic!("shard {}: campaigning for a vacant place: {error}", self.config.shard);
        }
    }

    /// A replica that asked for this one's vote lacks entries that are here: no reason to let it go first.
    pub(super) fn go_first(&mut self) {
        if self.vacancy().is_some()
            && let Some(vacancy) = &mut self.vacancy
        {
            vacancy.ahead = true;
        }
    }

    /// The vacant place, while nobody has taken it.
    fn vacancy(&self) -> Option<&Vacancy> {
        let raft = &self.raw.raft;
        let open = matches!(raft.state, StateRole::Follower | StateRole::PreCandidate);
        self.vacancy.as_ref().filter(|vacancy| {
            open && raft.term == vacancy.term && [INVALID_ID, vacancy.leader].contains(&raft.leader_id)
        })
    }

    /// When it is this replica's turn to campaign for the vacant place.
    fn turn_at(&self) -> Option<Monotonic> {
        let vacancy = self.vacancy().filter(|vacancy| vacancy.turns < TURNS && !self.standing.stands_back())?;
        let (rank, heirs) = vacancy.rank(&self.config);
        let turn = vacancy.turns * heirs + if vacancy.ahead { 0 } else { rank };
        // Others may have seen the close a moment later.
        let grace = self.config.tick / 2;
        let wait = self.config.election_timeout() + grace + self.config.tick * (STAGGER * turn);
        Some(vacancy.since.after(wait).max(vacancy.not_before))
    }
}
