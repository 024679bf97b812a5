//! What to do about what came of an attempt: pure, so that the simulator's clients decide by the very same lines.
//!
//! RULE: a retry carries the id of the first attempt. Once a command's bytes may have been sent and no answer came, only
//! an answer to that id settles it.

use std::time::Duration;

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::reply::{Answer, Reply};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, NodeId, ReservationId};

/// An attempt may take half of what remains, but at least this long: a node that hangs is left in time for another.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
/// Pause before a request that found no room on a connection, or the connection ended, is queued again.
const REQUEUE_PAUSE: Duration = Duration::from_millis(5);
/// Pause after a node says that a request has waited too long there.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause that a node can impose.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The server answered.
    Answered(Answer),
    /// The connection ended before an answer came.
    Lost {
        /// Whether any of its bytes may have been sent.
        sent: bool,
    },
    /// No answer came in time.
    TimedOut {
        /// Whether any of its bytes may have been sent, or may be yet.
        sent: bool,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It was done, or found.
    Done(Reply),
    /// It is refused, for a reason of the sale.
    Refused(Refusal),
    /// The server will never take it.
    Rejected(Failure),
    /// Nothing was done here: go to the leader that was named, if one was.
    Redirected(Option<NodeId>),
    /// Nothing was sent: try again after a moment, at no cost.
    Unsent(Duration),
    /// Find out who leads, then try again.
    Elsewhere,
    /// Try again after a pause.
    After(Duration),
}

/// What one request has been through.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    is_command: bool,
    unheard: bool,
}

impl Course {
    /// Of a request that was not sent yet.
    #[must_use]
    pub const fn of(body: &RequestBody) -> Self {
        Self { is_command: matches!(body, RequestBody::Command(_)), unheard: false }
    }

    /// Whether a command may have had its effect unheard: giving up now means that nobody knows.
    #[must_use]
    pub const fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Makes the request ready for its next attempt: it says how long its caller will still wait, and is otherwise what
    /// it was.
    pub fn prepare(&self, request: &mut Request, remaining: Duration) {
        if planted::on(Bug::RetryUnderNewId)
            && self.unheard
            && let RequestBody::Command(Command::Reserve(reserve)) = &mut request.body
        {
            // Planted: a fresh id for each attempt.
            reserve.reservation = ReservationId(reserve.reservation.get().wrapping_add(1 << 64));
        }
        request.wait = Millis(u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1));
    }

    /// How long to wait for an answer. Who asks one certain node has nowhere else to go.
    #[must_use]
    pub fn patience(remaining: Duration, to_leader: bool) -> Duration {
        if to_leader { remaining.min((remaining / 2).max(SHORTEST_ATTEMPT)) } else { remaining }
    }

    /// An attempt came to an end.
    pub fn decide(&mut self, outcome: Outcome) -> Decision {
        match outcome {
            Outcome::Answered(Ok(reply)) => Decision::Done(reply),
            Outcome::Answered(Err(failure)) => self.failed(failure),
            Outcome::Lost { sent: false } => Decision::Unsent(REQUEUE_PAUSE),
            Outcome::TimedOut { sent: false } => Decision::Elsewhere,
            Outcome::Lost { sent: true } | Outcome::TimedOut { sent: true } => {
                self.unheard |= self.is_command;
                Decision::Elsewhere
            }
        }
    }

    fn failed(&mut self, failure: Failure) -> Decision {
        match failure {
            Failure::Refused(refusal) => Decision::Refused(refusal),
            Failure::Malformed(_) | Failure::Unauthorized | Failure::WrongCluster | Failure::UnsupportedVersion => {
                Decision::Rejected(failure)
            }
            Failure::NotLeader { leader } => Decision::Redirected(leader),
            Failure::OutcomeUnknown => {
                self.unheard |= self.is_command;
                Decision::Elsewhere
            }
            Failure::Busy { retry_after } => {
                Decision::After(Duration::from_millis(retry_after.get()).min(LONGEST_PAUSE))
            }
            Failure::WaitedTooLong => Decision::After(OVERLOAD_PAUSE),
            Failure::ShuttingDown | Failure::Diverged => Decision::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::Reserve;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::types::{ProductId, Quantity, UserId};

    use super::*;

    fn reserve() -> RequestBody {
        RequestBody::Command(Command::Reserve(Reserve {
            product: ProductId(1),
            reservation: ReservationId(2),
            user: UserId(3),
            quantity: Quantity(1),
            ttl: Millis(0),
        }))
    }

    #[test]
    fn the_table() {
        let seconds = Duration::from_secs;
        let failed = |failure| Outcome::Answered(Err(failure));
        for (outcome, decision, unheard) in [
            (Outcome::Lost { sent: false }, Decision::Unsent(REQUEUE_PAUSE), false),
            (Outcome::Lost { sent: true }, Decision::Elsewhere, true),
            (Outcome::TimedOut { sent: false }, Decision::Elsewhere, false),
            (Outcome::TimedOut { sent: true }, Decision::Elsewhere, true),
            (failed(Failure::OutcomeUnknown), Decision::Elsewhere, true),
            (failed(Failure::ShuttingDown), Decision::Elsewhere, false),
            (failed(Failure::Diverged), Decision::Elsewhere, false),
            (failed(Failure::WaitedTooLong), Decision::After(OVERLOAD_PAUSE), false),
            (failed(Failure::Busy { retry_after: Millis(7) }), Decision::After(Duration::from_millis(7)), false),
            (failed(Failure::Busy { retry_after: Millis(90_000) }), Decision::After(seconds(1)), false),
            (failed(Failure::NotLeader { leader: Some(NodeId(2)) }), Decision::Redirected(Some(NodeId(2))), false),
            (failed(Failure::Refused(Refusal::SoldOut)), Decision::Refused(Refusal::SoldOut), false),
            (failed(Failure::Unauthorized), Decision::Rejected(Failure::Unauthorized), false),
        ] {
            let mut course = Course::of(&reserve());
            assert_eq!(course.decide(outcome.clone()), decision, "{outcome:?}");
            assert_eq!(course.is_unheard(), unheard, "{outcome:?}");
        }
    }

    #[test]
    fn a_read_has_no_effect_to_miss_and_what_went_unheard_stays_so() {
        let mut read = Course::of(&RequestBody::Query(Query::Status));
        read.decide(Outcome::Lost { sent: true });
        assert!(!read.is_unheard());
        let mut command = Course::of(&reserve());
        command.decide(Outcome::Lost { sent: true });
        command.decide(Outcome::Answered(Err(Failure::WaitedTooLong)));
        assert!(command.is_unheard());
    }

    #[test]
    fn a_retry_is_the_same_request_with_less_time() {
        let mut request = Request { body: reserve(), wait: Millis(0) };
        let mut course = Course::of(&request.body);
        course.decide(Outcome::TimedOut { sent: true });
        course.prepare(&mut request, Duration::from_millis(120));
        assert_eq!((request.body, request.wait), (reserve(), Millis(120)));
    }
}
