//! Replies and refusals in few words.

use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{FeedEntry, FeedKind, ProductView, Reply, ReservationView, SaleState};

pub fn outcome(outcome: &Result<Reply, Refusal>) -> String {
    match outcome {
        Ok(Reply::Reservation(reply)) => reservation(&reply.reservation) + replayed(reply.replayed),
        Ok(Reply::Product(reply)) => product(&reply.product) + replayed(reply.replayed),
        Ok(Reply::FeedAcknowledged(through)) => format!("acknowledged through {through}"),
        Ok(Reply::Expired(count)) => format!("{count} expired"),
        Ok(other) => format!("{other:?}"),
        Err(refusal) => self::refusal(refusal),
    }
}

fn replayed(replayed: bool) -> &'static str {
    if replayed { " (replayed)" } else { "" }
}

pub fn refusal(refusal: &Refusal) -> String {
    let units = ["Timestamp(", "Quantity(", "InvalidArgument("];
    let mut text = format!("{refusal:?}");
    for unit in units {
        let plain = if unit == "InvalidArgument(" { "InvalidArgument " } else { "" };
        text = text.replace(unit, plain);
    }
    format!("refused: {}", text.replace([')', '{', '}'], "").trim().replace("  ", " "))
}

pub fn reservation(view: &ReservationView) -> String {
    let mut text = format!(
        "r{} {}: {} of p{} for u{}, until {}",
        view.reservation,
        view.state.name(),
        view.quantity,
        view.product,
        view.user,
        view.expires_at
    );
    if view.payment_attempts > 0 {
        text += &format!(", attempt {}", view.payment_attempts);
    }
    if view.late {
        text += ", late";
    }
    text + &cancelled(view.cancelled)
}

fn cancelled(how: Option<Cancellation>) -> String {
    let units = |back| if back { "returned" } else { "written off" };
    how.map_or(String::new(), |how| format!(", cancelled by {} and {}", how.reason.name(), units(how.return_stock)))
}

pub fn product(view: &ProductView) -> String {
    let sale = match view.sale {
        SaleState::Active => "active",
        SaleState::Paused => "paused",
        SaleState::Closed => "closed",
    };
    let mut text = format!(
        "p{} {sale}: {} = {} available + {} held + {} sold",
        view.spec.product, view.spec.stock, view.available, view.held, view.sold
    );
    if view.next_expiry.get() > 0 {
        text += &format!(", next expiry {}", view.next_expiry);
    }
    text
}

pub fn feed_entry(entry: &FeedEntry) -> String {
    let kind = match entry.kind {
        FeedKind::Confirmed => "confirmed",
        FeedKind::RefundDue => "refund due",
        FeedKind::Refunded => "refunded",
        FeedKind::Cancelled => "cancelled",
    };
    let late = if entry.late { ", late" } else { "" };
    format!(
        "{}: r{} {kind}: {} of p{} for u{} at {} {}, at {}{late}{}",
        entry.position,
        entry.reservation,
        entry.quantity,
        entry.product,
        entry.user,
        entry.price.minor,
        entry.price.currency,
        entry.at,
        cancelled(entry.cancelled)
    )
}
