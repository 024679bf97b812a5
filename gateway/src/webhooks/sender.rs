//! Who sends webhooks, and how they write them. A provider more is one [`Sender`] more, and what reads its events.
//! Members that are not named here are not looked at.

use serde::Deserialize;

use super::event::{Event, Kind, Unreadable};
use crate::config::Provider;

/// A provider as a sender of webhooks.
#[derive(Debug)]
pub struct Sender {
    /// Its name in the route's path.
    pub name: &'static str,
    /// The header that carries the signature, in lower case.
    pub header: &'static str,
    /// Reads an event.
    pub read: fn(&[u8]) -> Result<Event, Unreadable>,
}

/// The configured one.
#[must_use]
pub fn of(provider: Provider) -> &'static Sender {
    match provider {
        Provider::Simulator => &SIMULATOR,
        Provider::Stripe => &STRIPE,
    }
}

/// `doorbuster payment-simulator`.
static SIMULATOR: Sender = Sender { name: "simulator", header: "doorbuster-signature", read: simulator };

/// Stripe. Its intents carry our key as metadata, and so do their charges.
static STRIPE: Sender = Sender { name: "stripe", header: "stripe-signature", read: stripe };

/// `{"id": "evt_1", "type": "charge.succeeded", "data": {"key": "..."}}`
fn simulator(body: &[u8]) -> Result<Event, Unreadable> {
    #[derive(Deserialize)]
    struct Body {
        id: String,
        #[serde(rename = "type")]
        type_name: String,
        #[serde(default)]
        data: Data,
    }
    #[derive(Default, Deserialize)]
    struct Data {
        #[serde(default)]
        key: String,
    }
    let Body { id, type_name, data } = serde_json::from_slice(body)?;
    let kind = match type_name.as_str() {
        "charge.succeeded" => Some(Kind::Succeeded),
        "charge.declined" => Some(Kind::Declined),
        "charge.refunded" => Some(Kind::Refunded),
        _ => None,
    };
    Event { id, type_name, kind, payment: data.key.parse().ok() }.checked()
}

/// `{"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {"metadata": {"doorbuster_key": "..."}}}}`
fn stripe(body: &[u8]) -> Result<Event, Unreadable> {
    #[derive(Deserialize)]
    struct Body {
        id: String,
        #[serde(rename = "type")]
        type_name: String,
        #[serde(default)]
        data: Data,
    }
    #[derive(Default, Deserialize)]
    struct Data {
        #[serde(default)]
        object: Object,
    }
    #[derive(Default, Deserialize)]
    struct Object {
        metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        doorbuster_key: Option<String>,
    }
    let Body { id, type_name, data } = serde_json::from_slice(body)?;
    let kind = match type_name.as_str() {
        "payment_intent.succeeded" => Some(Kind::Succeeded),
        "payment_intent.payment_failed" | "payment_intent.canceled" => Some(Kind::Declined),
        "charge.refunded" => Some(Kind::Refunded),
        _ => None,
    };
    let key = data.object.metadata.and_then(|metadata| metadata.doorbuster_key);
    Event { id, type_name, kind, payment: key.and_then(|key| key.parse().ok()) }.checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_events() {
        let key = "000000000000000000000000000000ab-7-1";
        let read = |type_name: &str, object: serde_json::Value| {
            let event = serde_json::json!({
                "id": "evt_1Pgc6tB7WZ01zgkWQJmhD1R6", "object": "event", "api_version": "2025-06-30.basil", "created": 1_721_000_000,
                "data": { "object": object }, "livemode": false, "pending_webhooks": 1,
                "request": { "id": null, "idempotency_key": key }, "type": type_name,
            });
            stripe(event.to_string().as_bytes()).unwrap()
        };
        let intent = serde_json::json!({
            "id": "pi_3Pgc6sB7WZ01zgkW0Y", "object": "payment_intent", "amount": 500, "currency": "eur",
            "metadata": { "doorbuster_key": key, "doorbuster_product": "7" },
        });
        for (type_name, kind) in [
            ("payment_intent.succeeded", Some(Kind::Succeeded)),
            ("payment_intent.payment_failed", Some(Kind::Declined)),
            ("payment_intent.canceled", Some(Kind::Declined)),
            ("charge.refunded", Some(Kind::Refunded)),
            ("payment_intent.created", None),
            ("charge.dispute.created", None),
        ] {
            let event = read(type_name, intent.clone());
            assert_eq!((event.kind, event.payment), (kind, Some(key.parse().unwrap())), "{type_name}");
        }
        // Another shop's of the same account.
        for object in [
            serde_json::json!({ "metadata": {} }),
            serde_json::json!({ "metadata": null }),
            serde_json::json!({ "metadata": { "doorbuster_key": "x" } }),
            serde_json::json!({}),
        ] {
            assert_eq!(read("payment_intent.succeeded", object).payment, None);
        }
        assert!(stripe(br#"{"id": "evt_1", "type": "t", "data": {"object": 5}}"#).is_err());
    }

    #[test]
    fn the_simulators_events() {
        let key = "000000000000000000000000000000ab-7-1";
        let read = |id: &str, type_name: &str, key: &str| {
            let body =
                serde_json::json!({ "id": id, "type": type_name, "created": 5, "data": { "key": key, "state": "x" } });
            simulator(body.to_string().as_bytes())
        };
        for (type_name, kind) in [
            ("charge.succeeded", Some(Kind::Succeeded)),
            ("charge.declined", Some(Kind::Declined)),
            ("charge.refunded", Some(Kind::Refunded)),
            ("charge.disputed", None),
        ] {
            let event = read("evt_1", type_name, key).unwrap();
            assert_eq!((event.kind, event.payment), (kind, Some(key.parse().unwrap())), "{type_name}");
        }
        assert_eq!(read("evt_1", "charge.succeeded", "somebody-elses").unwrap().payment, None);
        assert_eq!(simulator(br#"{"id": "e", "type": "t"}"#).unwrap().payment, None);
        for (body, says) in [
            (&b"{"[..], "EOF"),
            (b"[]", "invalid length"),
            (br#"{"type": "t"}"#, "`id`"),
            (br#"{"id": "e"}"#, "`type`"),
            (br#"{"id": "", "type": "t"}"#, "its id"),
            (br#"{"id": "a\u0000b", "type": "t"}"#, "its id"),
            (br#"{"id": "e", "type": "a b"}"#, "its type"),
        ] {
            let error = simulator(body).unwrap_err().to_string();
            assert!(error.contains(says), "{}: {error}", String::from_utf8_lossy(body));
        }
        assert!(read(&"x".repeat(256), "t", key).is_err());
    }
}
