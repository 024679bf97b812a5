//! What clients did and what they heard, in the order of its beginning: what the checkers judge.
//!
//! An operation is one id asked for until it was answered or given up, retries included: it took effect at most once,
//! at some moment between its call and its return; one that was given up may have at any moment after its call.

use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::RequestBody;

/// Nanoseconds since the history began, on the one clock that all its clients share: virtual in the simulator, the
/// machine's monotonic clock in a chaos run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

/// What a client heard at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was done, or found.
    Reply(Reply),
    /// It was refused, for a reason of the sale.
    Refused(Refusal),
    /// It was surely not done, and why.
    NotDone(String),
    /// Nobody knows whether it was done.
    Unknown,
}

/// One thing that one client wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which client; a client wants one thing at a time.
    pub client: u32,
    /// When it was first sent.
    pub called: Moment,
    /// When it was answered, or given up; none while it is under way.
    pub returned: Option<Moment>,
    /// What was asked.
    pub body: RequestBody,
    /// What came of it.
    pub heard: Heard,
}

/// All operations of a run, by the moment of their call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
}
