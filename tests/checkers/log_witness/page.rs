//! Whether an answer to a read is true of the state after an entry.

use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::limits::MAX_PAGE;
use doorbuster_protocol::query::{Changed, Query, Unsettled};
use doorbuster_protocol::reply::{FeedPage, ProductView, Reply, ReservationState, ReservationView, UnsettledPage};
use doorbuster_protocol::types::{FeedPosition, ProductId, ReservationId};

use crate::checkers::ledger::ShardLedger;
use crate::history::Heard;

/// See the module. What a node says of itself is always true.
pub(super) fn answers(log: &ShardLedger, index: u64, query: &Query, heard: &Heard) -> bool {
    match query {
        Query::Product(id) => product(heard, log.product(*id, index)),
        Query::Reservation(target) => {
            let found = log.reservation(target.reservation, index);
            let own = found.filter(|view| view.product == target.product);
            let own = own.filter(|view| target.user.0 == 0 || target.user == view.user);
            match log.product(target.product, index) {
                Some(_) => reservation(heard, own),
                None => *heard == Heard::Refused(Refusal::UnknownProduct),
            }
        }
        Query::FindReservation { reservation: id, .. } => reservation(heard, log.reservation(*id, index)),
        Query::Products { after, limit, .. } => {
            matches!(heard, Heard::Reply(Reply::Products(page)) if *page == products(log, index, *after, *limit))
        }
        Query::Reservations { after, limit, .. } => {
            let page = || reservations(log, index, *after, *limit);
            matches!(heard, Heard::Reply(Reply::Reservations(heard)) if *heard == page())
        }
        Query::Unsettled { of, after, limit, .. } => {
            matches!(heard, Heard::Reply(Reply::Unsettled(page)) if unsettled(log, index, (*of, *after, *limit), page))
        }
        Query::Feed { after, limit, .. } => {
            matches!(heard, Heard::Reply(Reply::Feed(page)) if *page == feed(log, index, *after, *limit))
        }
        Query::Audit { .. } | Query::Status | Query::ShardMap => true,
    }
}

fn product(heard: &Heard, wants: Option<&ProductView>) -> bool {
    match (heard, wants) {
        (Heard::Reply(Reply::Product(reply)), Some(wants)) => !reply.replayed && reply.product == *wants,
        (Heard::Refused(Refusal::UnknownProduct), None) => true,
        _ => false,
    }
}

fn reservation(heard: &Heard, wants: Option<&ReservationView>) -> bool {
    match (heard, wants) {
        (Heard::Reply(Reply::Reservation(reply)), Some(wants)) => !reply.replayed && reply.reservation == *wants,
        (Heard::Refused(Refusal::UnknownReservation), None) => true,
        _ => false,
    }
}

fn products(log: &ShardLedger, index: u64, after: ProductId, limit: u32) -> Vec<ProductView> {
    let behind = log.products().iter().filter(|(id, _)| **id > after);
    behind.filter_map(|(_, versions)| versions.at(index)).take(length(limit)).cloned().collect()
}

fn reservations(log: &ShardLedger, index: u64, after: ReservationId, limit: u32) -> Vec<ReservationView> {
    let behind = log.reservations().iter().filter(|(id, _)| **id > after);
    behind.filter_map(|(_, versions)| versions.at(index).copied().flatten()).take(length(limit)).collect()
}

/// The log's views do not say which expired reservations were being paid, so of those only what is listed is judged.
fn unsettled(
    log: &ShardLedger,
    index: u64,
    (of, after, limit): (Unsettled, Changed, u32),
    page: &UnsettledPage,
) -> bool {
    let place = |view: &ReservationView| Changed { at: view.changed_at, reservation: view.reservation };
    let listed = &page.reservations;
    let end = if listed.len() < length(limit) { None } else { listed.last().map(place) };
    let is_certain = |view: &ReservationView| match of {
        Unsettled::Payments => view.state == ReservationState::Paying,
        Unsettled::Refunds => view.state == ReservationState::RefundDue,
    };
    let may_be = |view: &ReservationView| {
        is_certain(view) || of == Unsettled::Payments && view.state == ReservationState::Expired
    };
    let wants = log.reservations().values().filter_map(|versions| versions.at(index).copied().flatten());
    let wants = wants.filter(is_certain).filter(|view| place(view) > after && end.is_none_or(|end| place(view) <= end));
    let mut found = listed.iter().map(place).collect::<Vec<_>>();
    found.dedup();
    found.len() == listed.len()
        && found.is_sorted()
        && found.first().is_none_or(|first| *first > after)
        && listed.iter().all(|view| may_be(view) && log.reservation(view.reservation, index) == Some(view))
        && listed.len() <= length(limit)
        && page.total >= listed.len() as u64
        && (length(limit) == 0 || wants.into_iter().all(|view| listed.contains(&view)))
}

fn feed(log: &ShardLedger, index: u64, after: FeedPosition, limit: u32) -> FeedPage {
    let (last, acknowledged) = log.feed(index);
    let known = log.model().feed.iter().take_while(|entry| entry.position.0 <= last);
    let behind = known.filter(|entry| entry.position.0 > after.0.max(acknowledged));
    FeedPage {
        entries: behind.take(length(limit)).copied().collect(),
        acknowledged: FeedPosition(acknowledged),
        last: FeedPosition(last),
    }
}

fn length(limit: u32) -> usize {
    limit.min(MAX_PAGE) as usize
}
