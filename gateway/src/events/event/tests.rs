//! What is published is what the schema says. The checker knows the few keywords that the schema uses, and objects to others.

use doorbuster_protocol::command::{CancelReason, Cancellation};
use doorbuster_protocol::types::{Currency, FeedPosition, ProductId, Quantity, ReservationId, Timestamp, UserId};
use serde_json::{Value, json};

use super::*;

const KINDS: [FeedKind; 4] = [FeedKind::Confirmed, FeedKind::RefundDue, FeedKind::Refunded, FeedKind::Cancelled];

fn entry(kind: FeedKind, cancelled: Option<Cancellation>) -> FeedEntry {
    FeedEntry {
        position: FeedPosition(17),
        kind,
        product: ProductId(7),
        reservation: ReservationId(0xff),
        user: UserId(0xab),
        quantity: Quantity(2),
        price: Money { minor: 4999, currency: Currency(*b"EUR") },
        at: Timestamp(1_795_780_800_123),
        late: false,
        cancelled,
    }
}

fn value(event: &Event<'_>) -> Value {
    serde_json::from_str(&event.json()).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../event.schema.json")).unwrap()
}

/// What of a value does not fit a schema.
fn objections(value: &Value, schema: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        let length = value.as_str().map(|text| text.chars().count() as u64);
        let fits = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" => true,
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("the checker does not know the type {other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().is_none_or(|number| number >= wanted.as_i64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|number| number <= wanted.as_u64().unwrap()),
            "minLength" => length.is_none_or(|length| length >= wanted.as_u64().unwrap()),
            "maxLength" => length.is_none_or(|length| length <= wanted.as_u64().unwrap()),
            "format" => value.as_str().is_none_or(|text| crate::timestamp::parse(text).is_some()),
            "required" => wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        found.extend(objections(value, schema, &format!("{at}.{name}")));
                    }
                }
                // What the schema does not name is not documented.
                let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                names.all(|name| wanted.get(name).is_some())
            }
            other => panic!("the checker does not know the keyword {other}"),
        };
        if !fits {
            found.push(format!("{at}: {keyword} is {wanted}, and there is {value}"));
        }
    }
    found
}

#[test]
fn every_event_fits_the_schema() {
    let schema = schema();
    let undone = CancelReason::ALL.map(|reason| Some(Cancellation { reason, return_stock: false }));
    for kind in KINDS {
        for cancelled in undone.into_iter().chain([None]) {
            let least = entry(kind, cancelled);
            let most = FeedEntry {
                position: FeedPosition(u64::MAX),
                product: ProductId(u64::MAX),
                reservation: ReservationId(u128::MAX),
                user: UserId(u128::MAX),
                quantity: Quantity(u32::MAX),
                price: Money { minor: u64::MAX, currency: Currency(*b"JPY") },
                at: Timestamp(253_402_300_799_999),
                late: true,
                ..least
            };
            for (entry, shard, cluster) in [(least, 0, "d".to_owned()), (most, u16::MAX, "x".repeat(64))] {
                let event = value(&Event::of(&cluster, ShardId(shard), &entry));
                assert_eq!(objections(&event, &schema, "event"), Vec::<String>::new(), "{event}");
            }
        }
    }
}

#[test]
fn the_schema_refuses_what_is_no_event() {
    let fine = value(&Event::of("doorbuster", ShardId(3), &entry(FeedKind::Confirmed, None)));
    for (name, wrong) in [
        ("id", json!("")),
        ("type", json!("order.sold")),
        ("shard", json!(-1)),
        ("position", json!("17")),
        ("at", json!("yesterday")),
        ("user", json!("ab")),
        ("quantity", json!(0)),
        ("price", json!({ "minor": 1 })),
        ("amount", json!({ "minor": 1.5, "currency": "EUR" })),
        ("late", json!(0)),
        ("cancelled", json!({ "reason": "regret", "stock_returned": true })),
        ("undocumented", json!(1)),
    ] {
        let mut event = fine.clone();
        event[name] = wrong;
        assert!(!objections(&event, &schema(), "event").is_empty(), "{event}");
    }
    for name in schema()["required"].as_array().unwrap() {
        let mut event = fine.clone();
        event.as_object_mut().unwrap().remove(name.as_str().unwrap());
        assert!(!objections(&event, &schema(), "event").is_empty(), "without {name}");
    }
}

/// The example in `EVENTS.md`.
#[test]
fn the_documented_example_is_what_is_published() {
    let cancelled = Cancellation { reason: CancelReason::Customer, return_stock: true };
    let entry = entry(FeedKind::RefundDue, Some(cancelled));
    let event = Event::of("doorbuster", ShardId(3), &entry);
    let document = include_str!("../../../EVENTS.md");
    let (_, rest) = document.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(serde_json::from_str::<Value>(example).unwrap(), value(&event));
    assert_eq!(event.key(), "7");
    let header = format!("| `schema` | `{}` |", Event::SCHEMA);
    assert!(document.contains(&header), "{header}");
}
