//! Products and reservations, as tables for people and as JSON for programs.

use crate::names::{duration_text, reservation_text, time_text};
use crate::output::{facts, table};
use doorbuster_protocol::command::LatePaymentPolicy;
use doorbuster_protocol::reply::{ProductReply, ProductView, ReservationReply, ReservationView, SaleState};
use doorbuster_protocol::types::Quantity;
use serde_json::{Value, json};

/// A sale state's name.
#[must_use]
pub const fn sale_name(sale: SaleState) -> &'static str {
    match sale {
        SaleState::Active => "active",
        SaleState::Paused => "paused",
        SaleState::Closed => "closed",
    }
}

const fn late_payment_name(policy: LatePaymentPolicy) -> &'static str {
    match policy {
        LatePaymentPolicy::RetakeOrRefund => "retake_or_refund",
        LatePaymentPolicy::AlwaysRefund => "always_refund",
    }
}

/// One product for programs. Times are UTC milliseconds, 0 for not set; amounts are minor units.
#[must_use]
pub fn product_json(product: &ProductView) -> Value {
    let spec = &product.spec;
    json!({
        "product": spec.product.0,
        "name": spec.name,
        "sale": sale_name(product.sale),
        "stock": spec.stock.0,
        "available": product.available.0,
        "held": product.held.0,
        "sold": product.sold.0,
        "price_minor": spec.price.minor,
        "currency": spec.price.currency.to_string(),
        "limit_per_user": spec.limit_per_user.0,
        "limit_per_reservation": spec.limit_per_reservation.0,
        "ttl_ms": spec.ttl.0,
        "max_life_ms": spec.max_life.0,
        "payment_cap_ms": spec.payment_cap.0,
        "opens_at": spec.opens_at.0,
        "closes_at": spec.closes_at.0,
        "late_payment": late_payment_name(spec.late_payment),
        "next_expiry": product.next_expiry.0,
    })
}

/// The answer to a command on a product, for programs.
#[must_use]
pub fn product_reply_json(reply: &ProductReply) -> Value {
    json!({ "replayed": reply.replayed, "time": reply.time.0, "product": product_json(&reply.product) })
}

/// Products for people, one a line.
#[must_use]
pub fn products_table(products: &[ProductView]) -> String {
    let mut out = table(["product", "name", "sale", "stock", "available", "held", "sold", "price"]);
    for product in products {
        let spec = &product.spec;
        out.add_row([
            spec.product.to_string(),
            spec.name.clone(),
            sale_name(product.sale).to_owned(),
            spec.stock.to_string(),
            product.available.to_string(),
            product.held.to_string(),
            product.sold.to_string(),
            format!("{} {}", spec.price.minor, spec.price.currency),
        ]);
    }
    out.to_string()
}

/// One product for people.
#[must_use]
pub fn product_table(reply: &ProductReply) -> String {
    let (product, spec) = (&reply.product, &reply.product.spec);
    let rows = [
        ("product", spec.product.to_string()),
        ("name", spec.name.clone()),
        ("sale", sale_name(product.sale).to_owned()),
        (
            "stock",
            format!("{} = {} available + {} held + {} sold", spec.stock, product.available, product.held, product.sold),
        ),
        ("price", format!("{} {} (minor units)", spec.price.minor, spec.price.currency)),
        ("limit per user", limit_text(spec.limit_per_user)),
        ("limit per reservation", limit_text(spec.limit_per_reservation)),
        ("held for", format!("{}, at most {} with extensions", duration_text(spec.ttl), duration_text(spec.max_life))),
        ("a payment pins for", format!("at most {}", duration_text(spec.payment_cap))),
        ("opens", time_text(spec.opens_at)),
        ("closes", time_text(spec.closes_at)),
        ("late payment", late_payment_name(spec.late_payment).to_owned()),
        ("next expiry", time_text(product.next_expiry)),
    ];
    rows_table(&rows, reply.replayed)
}

fn limit_text(limit: Quantity) -> String {
    if limit.0 == 0 { "none".to_owned() } else { limit.to_string() }
}

/// One reservation for programs.
#[must_use]
pub fn reservation_json(view: &ReservationView) -> Value {
    json!({
        "id": reservation_text(view.product, view.reservation),
        "product": view.product.0,
        "reservation": format!("{:032x}", view.reservation.0),
        "user": format!("{:032x}", view.user.0),
        "quantity": view.quantity.0,
        "state": view.state.name(),
        "payment_attempts": view.payment_attempts,
        "late": view.late,
        "cancelled": view.cancelled.map(|how| json!({ "reason": how.reason.name(), "stock_returned": how.return_stock })),
        "created_at": view.created_at.0,
        "expires_at": view.expires_at.0,
        "changed_at": view.changed_at.0,
    })
}

/// The answer to a command on a reservation, for programs.
#[must_use]
pub fn reservation_reply_json(reply: &ReservationReply) -> Value {
    json!({ "replayed": reply.replayed, "time": reply.time.0, "reservation": reservation_json(&reply.reservation) })
}

/// One reservation for people.
#[must_use]
pub fn reservation_table(reply: &ReservationReply) -> String {
    let view = &reply.reservation;
    let mut rows = vec![
        ("reservation", reservation_text(view.product, view.reservation)),
        ("user", format!("id:{:032x}", view.user.0)),
        ("quantity", view.quantity.to_string()),
        ("state", if view.late { format!("{} (paid late)", view.state.name()) } else { view.state.name().to_owned() }),
        ("payments begun", view.payment_attempts.to_string()),
        ("made", time_text(view.created_at)),
        ("changed", time_text(view.changed_at)),
    ];
    if let Some(how) = view.cancelled {
        let units = if how.return_stock { "its units went back on sale" } else { "its units were written off" };
        rows.push(("cancelled", format!("{}; {units}", how.reason.name())));
    }
    if view.state.is_live() {
        let left = duration_text(view.expires_at.since(reply.time));
        rows.push(("expires", format!("{}, in {left}", time_text(view.expires_at))));
    }
    rows_table(&rows, reply.replayed)
}

fn rows_table(rows: &[(&str, String)], replayed: bool) -> String {
    let mut out = facts();
    for (name, value) in rows {
        out.add_row([*name, value.as_str()]);
    }
    if replayed {
        out.add_row(["replayed", "yes: this had been done before, and was not done again"]);
    }
    out.to_string()
}
