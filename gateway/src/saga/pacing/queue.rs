//! Who waits for an account, and who is next: pure.
//!
//! There are two ranks: buyers who wait for their charge, and what settles payments that others began or gives money back.
//! While both wait, buyers have four turns of five: nobody's sweep or refunds hold up a sale, and a sale never stops them
//! altogether, for they free what is pinned and owed. Within a rank users take turns, each user's own in order, so that who
//! asks a thousand times holds up only themselves.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use doorbuster_protocol::types::UserId;

/// Turns of buyers before one of the others, while both wait.
const BUYERS_IN_A_ROW: u32 = 4;

/// Whose turn it is, and when which rank comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// A buyer waits for a charge.
    Buyer,
    /// A payment is settled that somebody else began, or money given back.
    Settling,
}

/// Both, in the order of [`Rank::index`].
pub const RANKS: [(Rank, &str); 2] = [(Rank::Buyer, "buyer"), (Rank::Settling, "settling")];

/// Somebody who waits. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    ranks: [Turns; 2],
    waiting: BTreeMap<Ticket, Waiting>,
    last: u64,
    in_a_row: u32,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    rank: Rank,
    user: UserId,
    since: Duration,
}

/// Users of a rank; who is in `order` has somebody waiting, and the other way round.
#[derive(Debug, Default)]
struct Turns {
    users: HashMap<UserId, VecDeque<Ticket>>,
    order: VecDeque<UserId>,
    length: usize,
}

impl Rank {
    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Buyer => 0,
            Self::Settling => 1,
        }
    }
}

impl Queue {
    /// Joins at `now`.
    pub fn push(&mut self, rank: Rank, user: UserId, now: Duration) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.waiting.insert(ticket, Waiting { rank, user, since: now });
        self.ranks[rank.index()].push(user, ticket);
        ticket
    }

    /// The next one's rank, if anybody waits.
    #[must_use]
    pub fn next(&self) -> Option<Rank> {
        let [buyers, settling] = [&self.ranks[0], &self.ranks[1]].map(|turns| turns.length > 0);
        match (buyers, settling) {
            (true, true) if self.in_a_row >= BUYERS_IN_A_ROW => Some(Rank::Settling),
            (true, _) => Some(Rank::Buyer),
            (false, true) => Some(Rank::Settling),
            (false, false) => None,
        }
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<(Rank, Ticket)> {
        let rank = self.next()?;
        let ticket = self.ranks[rank.index()].pop()?;
        self.waiting.remove(&ticket);
        self.in_a_row = if rank == Rank::Buyer { self.in_a_row.saturating_add(1) } else { 0 };
        Some((rank, ticket))
    }

    /// Takes one out who does not wait any longer.
    pub fn leave(&mut self, ticket: Ticket) {
        if let Some(Waiting { rank, user, .. }) = self.waiting.remove(&ticket) {
            self.ranks[rank.index()].remove(user, ticket);
        }
    }

    /// How many of a rank would have their turn before this user, who joins now.
    #[must_use]
    pub fn ahead(&self, rank: Rank, user: UserId) -> usize {
        let turns = &self.ranks[rank.index()];
        let own = turns.users.get(&user).map_or(0, VecDeque::len);
        turns.users.iter().map(|(other, tickets)| tickets.len().min(own + usize::from(*other != user))).sum()
    }

    /// How many of a rank wait.
    #[must_use]
    pub fn len(&self, rank: Rank) -> usize {
        self.ranks[rank.index()].length
    }

    /// Since when the one waits who has waited longest.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.waiting.values().next().map(|waiting| waiting.since)
    }
}

impl Turns {
    fn push(&mut self, user: UserId, ticket: Ticket) {
        let tickets = self.users.entry(user).or_default();
        if tickets.is_empty() {
            self.order.push_back(user);
        }
        tickets.push_back(ticket);
        self.length += 1;
    }

    fn pop(&mut self) -> Option<Ticket> {
        let user = self.order.pop_front()?;
        let tickets = self.users.get_mut(&user)?;
        let ticket = tickets.pop_front();
        if tickets.is_empty() {
            self.users.remove(&user);
        } else {
            self.order.push_back(user);
        }
        self.length -= usize::from(ticket.is_some());
        ticket
    }

    fn remove(&mut self, user: UserId, ticket: Ticket) {
        let Some(tickets) = self.users.get_mut(&user) else { return };
        let before = tickets.len();
        tickets.retain(|other| *other != ticket);
        self.length -= before - tickets.len();
        if tickets.is_empty() {
            self.users.remove(&user);
            self.order.retain(|other| *other != user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins as written, such as `b1` for buyer 1 and `s2` for something of user 2 to settle; returns who comes when.
    fn order(joined: &str) -> String {
        let mut queue = Queue::default();
        let mut names = HashMap::new();
        for name in joined.split_whitespace() {
            let rank = if name.starts_with('b') { Rank::Buyer } else { Rank::Settling };
            let ticket = queue.push(rank, UserId(name[1..].parse().unwrap()), Duration::ZERO);
            names.insert(ticket, name);
        }
        let mut order = Vec::new();
        while let Some((_, ticket)) = queue.pop() {
            order.push(names[&ticket]);
        }
        assert_eq!((queue.len(Rank::Buyer), queue.len(Rank::Settling), queue.oldest()), (0, 0, None));
        order.join(" ")
    }

    #[test]
    fn who_is_next() {
        for (joined, expected) in [
            ("", ""),
            ("b1 b2 b3", "b1 b2 b3"),
            // One user's flood holds up nobody else.
            ("b1 b1 b1 b1 b2 b3", "b1 b2 b3 b1 b1 b1"),
            ("s1 s1 s1 s2", "s1 s2 s1 s1"),
            // Nor does a sweeper's, and it is not stopped either.
            ("s1 s2 s3 b1 b2 b3 b4 b5 b6", "b1 b2 b3 b4 s1 b5 b6 s2 s3"),
        ] {
            assert_eq!(order(joined), expected, "{joined}");
        }
    }

    #[test]
    fn who_leaves_is_forgotten_and_the_others_keep_their_places() {
        let mut queue = Queue::default();
        let at = Duration::from_secs;
        let tickets =
            [(1, 1), (1, 2), (2, 3), (3, 4)].map(|(user, now)| queue.push(Rank::Buyer, UserId(user), at(now)));
        assert_eq!(queue.oldest(), Some(at(1)));
        queue.leave(tickets[0]);
        queue.leave(tickets[2]);
        queue.leave(tickets[2]);
        assert_eq!((queue.len(Rank::Buyer), queue.oldest()), (2, Some(at(2))));
        assert_eq!(queue.pop(), Some((Rank::Buyer, tickets[1])));
        assert_eq!(queue.pop(), Some((Rank::Buyer, tickets[3])));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn how_many_are_ahead() {
        let mut queue = Queue::default();
        for user in [1, 1, 1, 1, 2, 3, 3] {
            queue.push(Rank::Buyer, UserId(user), Duration::ZERO);
        }
        for (user, expected) in [(9, 3), (2, 1 + 2 + 2), (3, 3 + 1 + 2), (1, 4 + 1 + 2)] {
            assert_eq!(queue.ahead(Rank::Buyer, UserId(user)), expected, "{user}");
        }
        assert_eq!(queue.ahead(Rank::Settling, UserId(9)), 0);
    }
}
