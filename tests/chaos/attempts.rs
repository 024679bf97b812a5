//! A command whose bytes were sent and not answered may be done whenever they arrive, also after a later attempt of it was
//! answered. So such a command is two operations: the one that was answered, and one that was given up.
//!
//! If the answer says that it was done just then, there is only that one: the same id has one effect.

use std::collections::BTreeSet;

use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::RequestBody;

use crate::history::{Heard, History, Operation};

/// The history, and behind it the attempts that went unheard of the operations with these numbers.
pub fn beside(mut history: History, unheard: &BTreeSet<usize>) -> History {
    let missed =
        unheard.iter().filter_map(|number| history.operations.get(*number)).filter(|operation| matters(operation));
    let given_up = |operation: &Operation| Operation { returned: None, heard: Heard::Unknown, ..operation.clone() };
    let attempts: Vec<_> = missed.map(given_up).collect();
    history.operations.extend(attempts);
    history
}

fn matters(operation: &Operation) -> bool {
    let settled = match &operation.heard {
        Heard::Reply(Reply::Reservation(reply)) => !reply.replayed,
        Heard::Reply(Reply::Product(reply)) => !reply.replayed,
        Heard::Refused(_) => false,
        // What is unknown is given up itself.
        Heard::Reply(_) | Heard::NotDone(_) | Heard::Unknown => true,
    };
    matches!(operation.body, RequestBody::Command(_)) && !settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;
    use doorbuster_protocol::command::{Command, Target};
    use doorbuster_protocol::failure::Refusal;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::types::{ProductId, ReservationId, UserId};

    #[test]
    fn a_refusal_leaves_an_unheard_attempt_behind_and_an_unknown_outcome_none() {
        let target = Target { product: ProductId(1), reservation: ReservationId(2), user: UserId(3) };
        let command = RequestBody::Command(Command::Confirm(target));
        let read = RequestBody::Query(Query::Reservation(target));
        let refused = || Heard::Refused(Refusal::UnknownReservation);
        for (body, heard, unheard, attempts) in [
            (command.clone(), refused(), true, 1),
            (command.clone(), refused(), false, 0),
            (command, Heard::Unknown, true, 0),
            (read, refused(), true, 0),
        ] {
            let operation = Operation { client: 1, called: Moment(1), returned: Some(Moment(2)), body, heard };
            let numbers = unheard.then_some(0).into_iter().collect();
            let history = beside(History { operations: vec![operation.clone()] }, &numbers);
            assert_eq!(history.operations[0], operation);
            assert_eq!(history.operations.len(), 1 + attempts, "{operation:?}");
            for attempt in &history.operations[1..] {
                assert_eq!((attempt.called, attempt.returned, &attempt.heard), (Moment(1), None, &Heard::Unknown));
            }
        }
    }
}
