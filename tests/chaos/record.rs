//! What clients did and heard, written down as it happens, and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use doorbuster_cli::clock;
use doorbuster_protocol::command::Command;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::Timestamp;
use parking_lot::Mutex;

use crate::history::{Heard, History, Moment, Operation};

/// The history in the making, shared by all clients.
#[derive(Debug)]
pub struct Record {
    begun: Instant,
    epoch: Timestamp,
    operations: Mutex<Vec<Operation>>,
    unheard: Mutex<BTreeSet<usize>>,
}

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(usize);

/// How operations of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Done, or found.
    pub ok: u64,
    /// Refused by the sale.
    pub refused: u64,
    /// Surely not done.
    pub not_done: u64,
    /// Nobody knows.
    pub unknown: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self { begun: clock::now(), epoch: clock::wall(), operations: Mutex::default(), unheard: Mutex::default() }
    }
}

impl Record {
    /// A client is about to ask.
    pub fn call(&self, client: u32, body: RequestBody) -> Ticket {
        let mut operations = self.operations.lock();
        // Under the lock, so that the operations stand in the order of their calls.
        let called = self.now();
        operations.push(Operation { client, called, returned: None, body, heard: Heard::Unknown });
        Ticket(operations.len() - 1)
    }

    /// An attempt of it may have been done unheard. Said before what is heard at last.
    pub fn unheard(&self, ticket: Ticket) {
        self.unheard.lock().insert(ticket.0);
    }

    /// It has heard, or gives up.
    pub fn heard(&self, ticket: Ticket, heard: Heard) {
        let now = self.now();
        if let Some(operation) = self.operations.lock().get_mut(ticket.0) {
            operation.returned = Some(now);
            operation.heard = heard;
        }
    }

    /// What the machine's wall clock said when the history began.
    pub fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// How much was asked so far.
    pub fn len(&self) -> usize {
        self.operations.lock().len()
    }

    /// Whether nothing was asked yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything so far, and behind it the attempts that went unheard, each an operation that was given up.
    pub fn attempts(&self) -> History {
        let history = self.history();
        super::attempts::beside(history, &self.unheard.lock())
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        History { operations: self.operations.lock().clone() }
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Counts how the operations of each kind ended.
pub fn ends(history: &History) -> BTreeMap<&'static str, Ends> {
    let mut kinds: BTreeMap<&'static str, Ends> = BTreeMap::new();
    for operation in &history.operations {
        let ends = kinds.entry(kind(&operation.body)).or_default();
        match operation.heard {
            Heard::Reply(_) => ends.ok += 1,
            Heard::Refused(_) => ends.refused += 1,
            Heard::NotDone(_) => ends.not_done += 1,
            Heard::Unknown => ends.unknown += 1,
        }
    }
    kinds
}

fn kind(body: &RequestBody) -> &'static str {
    match body {
        RequestBody::Command(command) => match command {
            Command::CreateProduct(_) => "create product",
            Command::AdjustStock(_) => "adjust stock",
            Command::SetStock(_) => "set stock",
            Command::ChangeSale(_) => "pause, resume, close",
            Command::Reserve(_) => "reserve",
            Command::BeginPayment(_) => "begin payment",
            Command::PaymentFailed(_) => "payment failed",
            Command::Confirm(_) => "confirm",
            Command::Release(_) => "release",
            Command::Extend(_) => "extend",
            Command::LatePayment(_) => "late payment",
            Command::RefundDone(_) => "refund done",
            Command::Cancel(_) => "cancel",
            Command::AcknowledgeFeed { .. } => "acknowledge feed",
            Command::Expire => "expire",
        },
        RequestBody::Query(query) => match query {
            Query::Reservation(_) | Query::FindReservation { .. } => "read reservation",
            Query::Product(_) => "read product",
            _ => "other reads",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::types::ProductId;

    #[test]
    fn operations_stand_in_the_order_of_their_calls_and_keep_what_was_heard() {
        let record = Record::default();
        let ask = || RequestBody::Query(Query::Product(ProductId(1)));
        let (first, _second) = (record.call(1, ask()), record.call(2, ask()));
        record.heard(first, Heard::NotDone("no leader".to_owned()));
        let history = record.history();
        assert!(history.operations[0].called <= history.operations[1].called);
        assert_eq!(history.operations[1].returned, None);
        let ends = ends(&history)["read product"];
        assert_eq!(ends, Ends { not_done: 1, unknown: 1, ..Ends::default() });
    }
}
