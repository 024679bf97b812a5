//! Whose state is right when replicas differ: a vote among all of them, counted by each for itself. Pure: votes and times
//! go in, votes and verdicts come out.
//!
//! A replica *asks* when it has a reason to doubt: a log entry or a peer's vote has another digest than its own at the same
//! index, or it has just been elected and nobody has confirmed its state yet. It tells all others its digest at one index
//! and asks for theirs, again and again until it knows:
//! - a majority of all voters, itself included, has its digest there: it was right and goes on; others may be wrong;
//! - so many have another (or have stopped) that no majority can have its own: it is wrong, or nobody is right, and it
//!   stops;
//! - neither yet: it waits. A replica that cannot be reached is not guessed.
//!
//! Each replica asks one question at a time and keeps one unanswered vote of each other, so everything is bounded, and a
//! vote that is lost is asked for again. The index of a question moves on when others cannot answer any more: replicas
//! remember their digests for the last entries only.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbuster_protocol::types::{LogIndex, NodeId, StateHash};
use doorbuster_raft::Monotonic;

use super::vote::{Digest, Vote};

/// Who has not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// A question that is not decided by then moves to the present index, and callers wait no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a replica that has stopped says so, and how often a leader lets others compare.
const REPEAT: Duration = Duration::from_secs(1);
/// A peer is taken for wrong for so long after it was last known to be.
const REMEMBER: Duration = Duration::from_secs(5);

/// What this replica knows of its own digest at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its digest there.
    Hash(StateHash),
    /// It has not applied as much.
    NotYet,
    /// It has applied more than it remembers, or that index carried no command.
    Forgotten,
}

/// How a question was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A majority has the same state. These have another, or have stopped.
    Right(Vec<NodeId>),
    /// No majority can have the same state.
    Wrong {
        /// This replica's digest.
        own: Digest,
        /// The others', as far as they have said; `None`: stopped.
        others: Vec<(NodeId, Option<StateHash>)>,
    },
}

/// One replica's part in the vote on a shard's state.
#[derive(Debug)]
pub struct Dispute {
    others: Vec<NodeId>,
    question: Option<Question>,
    /// The newest vote of each other that could not be compared yet; whether it is a question.
    unheard: BTreeMap<NodeId, (Digest, bool)>,
    /// Who was found wrong, or said so, and when last.
    wrong: BTreeMap<NodeId, Monotonic>,
    /// Votes to be sent.
    said: Vec<(NodeId, Vote)>,
    repeat_at: Monotonic,
}

#[derive(Debug)]
struct Question {
    own: Digest,
    /// `None`: has stopped.
    heard: BTreeMap<NodeId, Option<StateHash>>,
    /// Somebody was seen to differ since it was asked first.
    contradicted: bool,
    since: Monotonic,
    /// When it was asked first at this index.
    placed: Monotonic,
    asked: Option<Monotonic>,
}

impl Dispute {
    /// Of a replica with these other voters.
    #[must_use]
    pub fn new(others: Vec<NodeId>) -> Self {
        Self {
            others,
            question: None,
            unheard: BTreeMap::new(),
            wrong: BTreeMap::new(),
            said: Vec::new(),
            repeat_at: Monotonic(0),
        }
    }

    /// Somebody else has another digest than this replica's at an index: asks, unless it does so already.
    pub fn doubt(&mut self, own: Digest, now: Monotonic) {
        let question = self.question.get_or_insert_with(|| Question::new(own, now));
        question.contradicted = true;
    }

    /// Asks at this index, whatever was asked before.
    pub fn ask(&mut self, own: Digest, now: Monotonic) {
        match &mut self.question {
            Some(question) => question.place(own, now),
            None => self.question = Some(Question::new(own, now)),
        }
    }

    /// This replica's state is another one now: what was asked about the old one is of no interest.
    pub fn forget(&mut self) {
        self.question = None;
    }

    /// A peer said something.
    pub fn hear(&mut self, from: NodeId, vote: Vote, now: Monotonic) {
        if !self.others.contains(&from) {
            return;
        }
        match vote {
            Vote::Stopped => {
                self.wrong.insert(from, now);
                if let Some(question) = &mut self.question {
                    question.heard.insert(from, None);
                }
            }
            Vote::Claim(digest) => {
                // A question that waits for its answer is not forgotten over a claim.
                self.unheard.entry(from).and_modify(|(last, _)| *last = digest).or_insert((digest, false));
            }
            Vote::Question(digest) => {
                self.unheard.insert(from, (digest, true));
            }
        }
    }

    /// Compares, answers, asks again and counts, as far as that is possible by now. `known` says what this replica's digest
    /// is at an index, `latest` what it is at present.
    pub fn attend(&mut self, now: Monotonic, latest: Digest, known: impl Fn(LogIndex) -> Known) -> Option<Verdict> {
        self.compare(now, known, true);
        let question = self.question.as_mut()?;
        if let Some(verdict) = question.verdict(&self.others) {
            self.question = None;
            if let Verdict::Right(wrong) = &verdict {
                self.wrong.extend(wrong.iter().map(|node| (*node, now)));
            }
            return Some(verdict);
        }
        if now.since(question.placed) >= PATIENCE && latest.index > question.own.index {
            question.place(latest, now);
        }
        if question.asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN) {
            question.asked = Some(now);
            let silent = self.others.iter().filter(|node| !question.heard.contains_key(node));
            self.said.extend(silent.map(|node| (*node, Vote::Question(question.own))));
        }
        None
    }

    /// The same for a replica that has stopped: it answers what it knows, and tells everybody that it has stopped.
    pub fn attend_stopped(&mut self, now: Monotonic, known: impl Fn(LogIndex) -> Known) {
        self.question = None;
        self.compare(now, known, false);
        if now >= self.repeat_at {
            self.repeat_at = now.after(REPEAT);
            self.said.extend(self.others.iter().map(|node| (*node, Vote::Stopped)));
        }
    }

    /// Lets all others compare their states with this one, once in a while.
    pub fn claim(&mut self, own: Digest, now: Monotonic) {
        if now >= self.repeat_at {
            self.repeat_at = now.after(REPEAT);
            self.said.extend(self.others.iter().map(|node| (*node, Vote::Claim(own))));
        }
    }

    /// Whether this replica's state is in doubt.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.question.is_some()
    }

    /// Whether somebody was seen to differ, and nobody can tell yet who is right.
    #[must_use]
    pub fn is_contradicted(&self) -> bool {
        self.question.as_ref().is_some_and(|question| question.contradicted)
    }

    /// Whether that, or a vote that lacks the voices of those who have stopped, has lasted for longer than callers are to be
    /// kept waiting.
    #[must_use]
    pub fn is_stuck(&self, now: Monotonic) -> bool {
        self.question.as_ref().is_some_and(|question| {
            let stopped = question.heard.values().any(Option::is_none);
            (question.contradicted || stopped) && now.since(question.since) >= PATIENCE
        })
    }

    /// Peers whose state was found or said to be wrong lately.
    pub fn wrong(&self, now: Monotonic) -> impl Iterator<Item = NodeId> {
        self.wrong.iter().filter(move |(_, at)| now.since(**at) < REMEMBER).map(|(node, _)| *node)
    }

    /// Takes what is to be sent.
    pub fn take_said(&mut self) -> std::vec::Drain<'_, (NodeId, Vote)> {
        self.said.drain(..)
    }

    /// Deals with the votes that can be compared by now.
    fn compare(&mut self, now: Monotonic, known: impl Fn(LogIndex) -> Known, doubts: bool) {
        let Self { unheard, question, wrong, said, .. } = self;
        unheard.retain(|from, (theirs, asks)| {
            let from = *from;
            // Of this very question, whatever else is known of that index: it was asked from what is ours.
            if let Some(question) = question.as_mut().filter(|question| question.own.index == theirs.index) {
                question.hear(from, theirs.hash);
            }
            let own = match known(theirs.index) {
                Known::NotYet => return true,
                Known::Hash(hash) => Digest { index: theirs.index, hash },
                Known::Forgotten => {
                    if *asks && !doubts {
                        said.push((from, Vote::Stopped));
                    }
                    return false;
                }
            };
            if *asks {
                said.push((from, Vote::Claim(own)));
            }
            // One that is known to be wrong does not stop the others again and again.
            let lately = wrong.get(&from).is_some_and(|at| now.since(*at) < REMEMBER);
            if doubts && own.hash != theirs.hash && question.is_none() && !lately {
                question.insert(Question::new(own, now)).hear(from, theirs.hash);
            }
            false
        });
    }
}

impl Question {
    fn new(own: Digest, now: Monotonic) -> Self {
        Self { own, heard: BTreeMap::new(), contradicted: false, since: now, placed: now, asked: None }
    }

    /// From now on about this index.
    fn place(&mut self, own: Digest, now: Monotonic) {
        self.heard.retain(|_, hash| hash.is_none());
        self.own = own;
        self.placed = now;
        self.asked = None;
    }

    fn hear(&mut self, from: NodeId, hash: StateHash) {
        self.heard.insert(from, Some(hash));
        self.contradicted |= hash != self.own.hash;
    }

    fn verdict(&self, others: &[NodeId]) -> Option<Verdict> {
        let voters = others.len() + 1;
        let majority = voters / 2 + 1;
        let agree = 1 + self.heard.values().filter(|hash| **hash == Some(self.own.hash)).count();
        let silent = others.len() - self.heard.len();
        if agree >= majority {
            let wrong = self.heard.iter().filter(|(_, hash)| **hash != Some(self.own.hash));
            return Some(Verdict::Right(wrong.map(|(node, _)| *node).collect()));
        }
        (agree + silent < majority).then(|| {
            let others = self.heard.iter().map(|(node, hash)| (*node, *hash)).collect();
            Verdict::Wrong { own: self.own, others }
        })
    }
}

#[cfg(test)]
mod tests;
