//! Who sends webhooks, and how they write them. A provider more is one [`Sender`] more, and what reads its events.

use serde::Deserialize;

use super::event::{Event, Kind, Unreadable};

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

/// `doorbuster payment-simulator`.
pub static SIMULATOR: Sender = Sender { name: "simulator", header: "doorbuster-signature", read: simulator };

/// `{"id": "evt_1", "type": "charge.succeeded", "data": {"key": "..."}}`; what else is there is not looked at.
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

#[cfg(test)]
mod tests {
    use super::*;

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
