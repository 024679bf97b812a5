//! A history's operations, by product, in the words of the search.

use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{ProductView, Reply, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ProductId, ReservationId, UserId};

use super::{Assumptions, ByProduct};
use crate::history::{Heard, History, Operation};

/// What was asked of one product.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    Command(&'a Command),
    Product,
    /// With the owner to be checked, or 0.
    Reservation(ReservationId, UserId),
}

/// What was answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    /// Cluster time is given in answers to commands.
    Reservation {
        replayed: bool,
        time: u64,
        view: &'a ReservationView,
    },
    Product {
        replayed: bool,
        view: &'a ProductView,
        time: u64,
    },
    Refused(&'a Refusal),
    Nothing,
}

/// One operation on one product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// Its place in the history.
    pub at: usize,
    pub called: u64,
    /// The end of time, if it was given up.
    pub returned: u64,
    /// The times that the cluster's clock may have shown meanwhile.
    pub from: u64,
    pub until: u64,
    pub asked: Asked<'a>,
    pub told: Told<'a>,
}

impl Ask<'_> {
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.told, Told::Nothing)
    }

    /// The stamp of the log entry that did it, if the answer says that it was done then.
    pub(super) fn stamp(&self) -> Option<u64> {
        match (self.asked, self.told) {
            (
                Asked::Command(_),
                Told::Reservation { replayed: false, time, .. } | Told::Product { replayed: false, time, .. },
            ) => Some(time),
            _ => None,
        }
    }

    /// Whether its answer says something of the product's units or deadlines, besides its own reservation's.
    pub(super) fn sees_counts(&self) -> bool {
        match self.asked {
            Asked::Product => true,
            Asked::Reservation(..) => false,
            Asked::Command(command) => !matches!(
                command,
                Command::BeginPayment(_)
                    | Command::PaymentFailed(_)
                    | Command::Confirm(_)
                    | Command::Release(_)
                    | Command::RefundDone(_)
                    | Command::Cancel(_)
                    | Command::Extend(_)
            ),
        }
    }

    /// Whether it may change how many units are held or sold.
    pub(super) fn changes_counts(&self) -> bool {
        let Asked::Command(command) = self.asked else { return false };
        !matches!(
            command,
            Command::BeginPayment(_) | Command::PaymentFailed(_) | Command::RefundDone(_) | Command::Extend(_)
        )
    }

    /// The reservation it names.
    pub(super) fn reservation(&self) -> Option<ReservationId> {
        match self.asked {
            Asked::Reservation(id, _) => Some(id),
            Asked::Product => None,
            Asked::Command(command) => match command {
                Command::Reserve(reserve) => Some(reserve.reservation),
                Command::BeginPayment(payment) | Command::PaymentFailed(payment) => Some(payment.target.reservation),
                Command::Confirm(target) | Command::Release(target) | Command::RefundDone(target) => {
                    Some(target.reservation)
                }
                Command::Extend(extend) => Some(extend.target.reservation),
                Command::Cancel(cancel) => Some(cancel.target.reservation),
                Command::LatePayment(late) => Some(late.target.reservation),
                _ => None,
            },
        }
    }
}

/// The operations of each product. Pages are taken apart into reads of what is on them, which is weaker; what concerns
/// no product, was surely not done, or failed as a read, is left out.
pub(super) fn by_product<'a>(history: &'a History, assumptions: &Assumptions) -> ByProduct<'a> {
    let mut products = ByProduct::new();
    for (at, operation) in history.operations.iter().enumerate() {
        let mut add = |product: ProductId, asked, told| {
            let ask = ask(at, operation, asked, told, assumptions);
            products.entry(product).or_default().push(ask);
        };
        let told = match &operation.heard {
            Heard::Reply(_) | Heard::Refused(_) if operation.returned.is_some() => told(&operation.heard),
            Heard::NotDone(_) => continue,
            _ => Told::Nothing,
        };
        match &operation.body {
            RequestBody::Command(command) => {
                if let Some(product) = command.product() {
                    add(product, Asked::Command(command), told);
                }
            }
            RequestBody::Query(_) if matches!(told, Told::Nothing) && !is_page(&operation.heard) => {}
            RequestBody::Query(query) => match (query, &operation.heard) {
                (Query::Product(product), _) => add(*product, Asked::Product, told),
                (Query::Reservation(target), _) => {
                    add(target.product, Asked::Reservation(target.reservation, target.user), told);
                }
                (_, Heard::Reply(Reply::Reservation(reply))) => {
                    let view = &reply.reservation;
                    add(view.product, Asked::Reservation(view.reservation, UserId(0)), told);
                }
                (_, Heard::Reply(Reply::Products(page))) => page.iter().for_each(|view| {
                    add(view.spec.product, Asked::Product, Told::Product { replayed: false, view, time: 0 });
                }),
                (_, Heard::Reply(Reply::Reservations(page))) => page.iter().for_each(|view| {
                    let told = Told::Reservation { replayed: false, time: 0, view };
                    add(view.product, Asked::Reservation(view.reservation, UserId(0)), told);
                }),
                _ => {}
            },
        }
    }
    products
}

fn is_page(heard: &Heard) -> bool {
    matches!(heard, Heard::Reply(Reply::Products(_) | Reply::Reservations(_)))
}

fn told(heard: &Heard) -> Told<'_> {
    match heard {
        Heard::Reply(Reply::Reservation(reply)) => {
            Told::Reservation { replayed: reply.replayed, time: reply.time.0, view: &reply.reservation }
        }
        Heard::Reply(Reply::Product(reply)) => {
            Told::Product { replayed: reply.replayed, view: &reply.product, time: reply.time.0 }
        }
        Heard::Refused(refusal) => Told::Refused(refusal),
        _ => Told::Nothing,
    }
}

fn ask<'a>(at: usize, operation: &Operation, asked: Asked<'a>, told: Told<'a>, assumptions: &Assumptions) -> Ask<'a> {
    let returned = match (told, operation.returned) {
        (Told::Nothing, _) | (_, None) => u64::MAX,
        (_, Some(returned)) => returned.0,
    };
    let called = operation.called.0;
    let wall = |moment: u64| assumptions.epoch.0.saturating_add(moment / 1_000_000);
    let from = wall(called).saturating_sub(assumptions.tolerance.0);
    let until = wall(returned).saturating_add(assumptions.tolerance.0);
    Ask { at, called, returned, from, until, asked, told }
}
