//! The search for an order: depth first, with an explicit stack, an undo for every step, and a memory of where it was.

use std::collections::BTreeSet;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::ReservationId;
use hashbrown::HashSet;

use super::Assumptions;
use super::asked::{Ask, Asked, Told};
use super::facts::{AllFacts, Facts};
use super::fates::{Fate, fates};
use super::object::{Object, mixed};
use super::sightings;

/// A free expiry is tried before a command that is stamped so much later than the deadline, in ms; else behind it.
const SURELY_EXPIRED: u64 = 60;

/// What the search came to.
#[derive(Debug)]
pub(super) enum Found {
    /// An order that explains everything.
    Order,
    /// There is none. The operations that could not be placed where the longest attempt ended, and its state there.
    None { stuck: Vec<usize>, state: String },
    /// The budget is spent.
    TooMuch,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Move {
    /// An answered operation.
    Answer(usize),
    /// One that was given up took effect, with this stamp if it is known.
    Guess(usize, Option<u64>),
    Expire(ReservationId, Option<u64>),
}

struct Frame {
    moves: Vec<Move>,
    next: usize,
    mark: usize,
    taken: usize,
}

/// See the module.
pub(super) struct Search<'a, 'b> {
    asks: Vec<Ask<'a>>,
    /// Fates of those that were given up, by place in `asks`.
    fates: Vec<Fate>,
    facts: &'b AllFacts,
    shared: &'b BTreeSet<u128>,
    budget: u64,
    assumptions: &'b Assumptions,
    object: Object<'a>,
    /// Answered operations that are not placed: by call, a list through both arrays; by return; by stamp.
    next: Vec<usize>,
    previous: Vec<usize>,
    returns: BTreeSet<(u64, usize)>,
    stamps: BTreeSet<(u64, usize)>,
    /// Given-up operations that may take effect at any moment, and those that have.
    open: Vec<usize>,
    placed: Vec<bool>,
    taken: Vec<usize>,
    digest: u64,
}

impl<'a, 'b> Search<'a, 'b> {
    /// Of the operations of one product.
    pub(super) fn new(
        mut asks: Vec<Ask<'a>>,
        facts: &'b AllFacts,
        shared: &'b BTreeSet<u128>,
        assumptions: &'b Assumptions,
    ) -> Self {
        sightings::bound(&mut asks);
        asks.sort_by_key(|ask| ask.called);
        let fates = fates(&asks, facts);
        let end = asks.len();
        let answered: Vec<usize> = (0..end).filter(|at| !asks[*at].is_given_up()).collect();
        let (mut next, mut previous) = (vec![end; end + 1], vec![end; end + 1]);
        let mut last = end;
        for at in &answered {
            (next[last], previous[*at]) = (*at, last);
            last = *at;
        }
        (next[last], previous[end]) = (end, last);
        let stamp = |at: usize| match fates[at] {
            Fate::At(stamp) if asks[at].is_given_up() => Some(stamp),
            _ => asks[at].stamp(),
        };
        Self {
            returns: answered.iter().map(|at| (asks[*at].returned, *at)).collect(),
            stamps: (0..end).filter_map(|at| Some((stamp(at)?, at))).collect(),
            open: (0..end).filter(|at| asks[*at].is_given_up() && fates[*at] == Fate::Open).collect(),
            placed: vec![false; end],
            asks,
            fates,
            facts,
            shared,
            budget: assumptions.steps,
            assumptions,
            object: Object::default(),
            next,
            previous,
            taken: Vec::new(),
            digest: 0,
        }
    }

    /// Searches. Says how many steps it took, too.
    pub(super) fn run(mut self) -> (Found, u64) {
        let mut seen = HashSet::new();
        let mut stack: Vec<Frame> = Vec::new();
        let (mut steps, mut deepest, mut stuck, mut state) = (0, None, Vec::new(), String::new());
        loop {
            self.take_what_changes_nothing();
            if self.returns.is_empty() && self.stamps.is_empty() {
                return (Found::Order, steps);
            }
            steps += 1;
            if steps > self.budget {
                return (Found::TooMuch, steps);
            }
            if deepest.is_none_or(|deepest| self.taken.len() >= deepest) {
                deepest = Some(self.taken.len());
                stuck = self.candidates().take(8).map(|at| self.asks[at].at).collect();
                state = self.object.to_string();
            }
            let new = seen.insert((self.digest, self.object.hash()));
            let moves = if new { self.moves() } else { Vec::new() };
            stack.push(Frame { moves, next: 0, mark: self.object.mark(), taken: self.taken.len() });
            if !self.go_on(&mut stack) {
                return (Found::None { stuck, state }, steps);
            }
        }
    }

    /// Makes the next move that is possible, back from dead ends. False if there is none left.
    fn go_on(&mut self, stack: &mut Vec<Frame>) -> bool {
        while let Some(frame) = stack.last_mut() {
            self.object.back_to(frame.mark);
            let (taken, next) = (frame.taken, frame.moves.get(frame.next).copied());
            frame.next += 1;
            self.put_back(taken);
            match next {
                None => {
                    stack.pop();
                }
                Some(step) if self.make(step) => return true,
                Some(_) => {}
            }
        }
        false
    }

    fn make(&mut self, step: Move) -> bool {
        match step {
            Move::Answer(at) => {
                let ask = self.asks[at];
                let done = self.object.answer(&ask, self.shared);
                if done {
                    self.take(at);
                }
                done
            }
            Move::Guess(at, stamp) => {
                let ask = self.asks[at];
                let facts = ask.reservation().and_then(|id| facts_of(self.facts, &ask, id));
                let done = self.object.guess(&ask, stamp, facts);
                if done {
                    self.take(at);
                }
                done
            }
            Move::Expire(id, at) => {
                self.object.expire(id, at);
                true
            }
        }
    }

    /// Operations that change nothing and whose answers are true now: taking them at once never hurts.
    fn take_what_changes_nothing(&mut self) {
        let mut again = true;
        while again {
            again = false;
            let last = self.first_return();
            let mut at = self.next[self.asks.len()];
            while at < self.asks.len() && self.asks[at].called <= last {
                let following = self.next[at];
                let ask = self.asks[at];
                if ask.stamp().is_none() {
                    let mark = self.object.mark();
                    if self.object.answer(&ask, self.shared) && self.object.mark() == mark {
                        self.take(at);
                        again = true;
                    } else {
                        self.object.back_to(mark);
                    }
                }
                at = following;
            }
            again &= self.first_return() != last;
        }
    }

    /// Answered operations that may come next.
    fn candidates(&self) -> impl Iterator<Item = usize> {
        let (end, last) = (self.asks.len(), self.first_return());
        let from = move |at: usize| Some(self.next[at]).filter(|at| *at < end && self.asks[*at].called <= last);
        std::iter::successors(from(end), move |at| from(*at))
    }

    fn first_return(&self) -> u64 {
        self.returns.first().map_or(u64::MAX, |(returned, _)| *returned)
    }

    /// The latest time that the cluster's clock may show before the next answered operation must have been placed.
    fn horizon(&self) -> u64 {
        let last = self.first_return();
        let wall = self.assumptions.epoch.0.saturating_add(last / 1_000_000);
        if last == u64::MAX { u64::MAX } else { wall.saturating_add(self.assumptions.tolerance.0) }
    }

    /// All steps that may come next, the likeliest first.
    fn moves(&self) -> Vec<Move> {
        let stamp = self.stamps.first().map(|(stamp, _)| *stamp);
        let told = self.told_expiries(stamp);
        let next = told.first().map(|(at, _)| *at).into_iter().chain(stamp).min();
        let passed = |id: &ReservationId| {
            let known = self.object.made.get(id).filter(|made| made.knows_expires);
            known.is_some_and(|made| next.is_none_or(|next| made.view.expires_at.0 + SURELY_EXPIRED < next))
        };
        let (early, late): (Vec<_>, Vec<_>) = self.free_expiries().into_iter().partition(passed);
        let expire = |id| Move::Expire(id, None);
        let mut moves = self.refunds_now();
        moves.extend(early.into_iter().map(expire));
        // Those told to have happened before the next stamp, one after the other; then what has that stamp.
        let before = told.first().filter(|(at, _)| stamp.is_some_and(|stamp| *at < stamp));
        match before {
            Some((at, id)) => moves.push(Move::Expire(*id, Some(*at))),
            None => {
                moves.extend(told.iter().map(|(at, id)| Move::Expire(*id, Some(*at))));
                moves.extend(self.stamped(stamp));
            }
        }
        moves.extend(self.candidates().filter(|at| self.asks[*at].stamp().is_none()).map(Move::Answer));
        moves.extend(late.into_iter().map(expire));
        moves.extend(self.guesses(&moves));
        let mut each = Vec::with_capacity(moves.len());
        moves.into_iter().for_each(|step| {
            if !each.contains(&step) {
                each.push(step);
            }
        });
        each
    }

    /// Money that came too late, when nobody says, and went back: it must have come while there were too few units left, which
    /// nothing else notices, and which may not be so later. It changes no counts, so that the first such moment will do.
    fn refunds_now(&self) -> Vec<Move> {
        let last = self.first_return();
        let open = self.open.iter().copied().filter(|at| !self.placed[*at] && self.asks[*at].called <= last);
        let too_late = open.filter(|at| {
            let Asked::Command(Command::LatePayment(late)) = self.asks[*at].asked else { return false };
            let made = self.object.made.get(&late.target.reservation);
            let is_gone = made
                .is_some_and(|made| matches!(made.view.state, ReservationState::Expired | ReservationState::Released));
            is_gone
                && self.object.available() < i64::from(late.quantity.0)
                && self.facts_of(late.target.reservation).is_some_and(Facts::never_sold)
        });
        too_late.map(|at| Move::Guess(at, None)).collect()
    }

    /// Given-up operations that something which may come next would notice, the most urgent first. What nobody would
    /// notice now can as well happen later.
    fn guesses(&self, moves: &[Move]) -> Vec<Move> {
        let (end, last) = (self.asks.len(), self.first_return());
        let open = self.open.iter().copied().filter(|at| !self.placed[*at] && self.asks[*at].called <= last);
        let open: Vec<usize> = open.collect();
        if open.is_empty() {
            return Vec::new();
        }
        let blocked = self.returns.first().and_then(|(_, at)| self.asks[*at].reservation());
        let mut named = BTreeSet::new();
        let mut counts = false;
        for step in moves {
            match step {
                Move::Answer(at) | Move::Guess(at, _) => {
                    named.extend(self.asks[*at].reservation());
                    counts |= self.asks[*at].sees_counts();
                }
                Move::Expire(id, _) => drop(named.insert(*id)),
            }
        }
        // A command on a reservation may need another one before it.
        let counted = open.iter().filter(|at| counts && self.asks[**at].changes_counts());
        named.extend(counted.filter_map(|at| self.asks[*at].reservation()));
        let urgency = |at: &usize| match self.asks[*at].reservation() {
            Some(id) if Some(id) == blocked => 0,
            None => 1,
            Some(id) if named.contains(&id) => 2,
            Some(_) if counts => 3,
            Some(_) => end,
        };
        let mut noticed: Vec<usize> = open.into_iter().filter(|at| urgency(at) < end).collect();
        noticed.sort_by_key(urgency);
        noticed.into_iter().map(|at| Move::Guess(at, None)).collect()
    }

    /// Those with the earliest stamp that is left.
    fn stamped(&self, stamp: Option<u64>) -> Vec<Move> {
        let Some(stamp) = stamp else { return Vec::new() };
        let last = self.first_return();
        let first = self.stamps.range((stamp, 0)..=(stamp, usize::MAX)).map(|(_, at)| *at);
        let may = first.filter(|at| self.asks[*at].called <= last);
        may.map(|at| match self.fates[at] {
            Fate::At(stamp) if self.asks[at].is_given_up() => Move::Guess(at, Some(stamp)),
            _ => Move::Answer(at),
        })
        .collect()
    }

    /// Expiries of which an answer says when they happened, not after the next stamp, in their order.
    fn told_expiries(&self, stamp: Option<u64>) -> Vec<(u64, ReservationId)> {
        let horizon = self.horizon();
        let told = self.object.live.iter().filter_map(|(deadline, id)| {
            let at = self.facts_of(*id)?.expired_at?;
            (at >= deadline.0 && at <= horizon && stamp.is_none_or(|stamp| at <= stamp)).then_some((at, *id))
        });
        let mut told: Vec<_> = told.collect();
        told.sort_unstable();
        told
    }

    /// Expiries that no answer tells the time of: the one with the earliest deadline, those whose deadline nobody knows,
    /// and those that an answer which may come next shows.
    fn free_expiries(&self) -> Vec<ReservationId> {
        let horizon = self.horizon();
        let free = |id: &ReservationId| {
            let facts = self.facts_of(*id);
            facts.is_none_or(|facts| !facts.never_expired && facts.expired_at.is_none())
        };
        let due = self.object.live.iter().take_while(|(deadline, _)| deadline.0 <= horizon);
        let due = due.map(|(_, id)| *id).filter(free);
        let knows = |id: &ReservationId| self.object.made.get(id).is_some_and(|made| made.knows_expires);
        let (known, unknown): (Vec<_>, Vec<_>) = due.partition(knows);
        let named = self.candidates().filter_map(|at| match (self.asks[at].reservation(), self.asks[at].told) {
            (Some(id), Told::Refused(_)) => Some(id),
            (Some(id), Told::Reservation { view, .. }) if view.state == ReservationState::Expired || view.late => {
                Some(id)
            }
            _ => None,
        });
        let named: Vec<_> = named.filter(|id| known.contains(id)).collect();
        named.into_iter().chain(known.first().copied()).chain(unknown).collect()
    }

    fn facts_of(&self, id: ReservationId) -> Option<&'b Facts> {
        let product = self.object.made.get(&id)?.view.product;
        self.facts.get(&(product, id))
    }

    fn take(&mut self, at: usize) {
        if !self.asks[at].is_given_up() {
            let (previous, next) = (self.previous[at], self.next[at]);
            (self.next[previous], self.previous[next]) = (next, previous);
            self.returns.remove(&(self.asks[at].returned, at));
        }
        if let Some(stamp) = self.stamp(at) {
            self.stamps.remove(&(stamp, at));
        }
        self.placed[at] = true;
        self.digest ^= mixed(&[at as u64 + 1]);
        self.taken.push(at);
    }

    fn put_back(&mut self, until: usize) {
        while self.taken.len() > until {
            let Some(at) = self.taken.pop() else { return };
            if !self.asks[at].is_given_up() {
                let (previous, next) = (self.previous[at], self.next[at]);
                (self.next[previous], self.previous[next]) = (at, at);
                self.returns.insert((self.asks[at].returned, at));
            }
            if let Some(stamp) = self.stamp(at) {
                self.stamps.insert((stamp, at));
            }
            self.placed[at] = false;
            self.digest ^= mixed(&[at as u64 + 1]);
        }
    }

    fn stamp(&self, at: usize) -> Option<u64> {
        match self.fates[at] {
            Fate::At(stamp) if self.asks[at].is_given_up() => Some(stamp),
            _ => self.asks[at].stamp(),
        }
    }
}

fn facts_of<'b>(facts: &'b AllFacts, ask: &Ask<'_>, id: ReservationId) -> Option<&'b Facts> {
    let Asked::Command(command) = ask.asked else { return None };
    facts.get(&(command.product()?, id))
}
