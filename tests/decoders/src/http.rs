//! Bodies of HTTP requests, of every route that reads one; signatures of webhooks, and the events that they bring.

use doorbuster_gateway::Key;
use doorbuster_gateway::bodies::{self, Body};
use doorbuster_gateway::config::Provider;
use doorbuster_gateway::webhooks::event::Event;
use doorbuster_gateway::webhooks::sender;
use doorbuster_gateway::webhooks::signature::{Secrets, Signature, SignatureError};
use doorbuster_protocol::types::Timestamp;
use serde_json::{Value, json};

/// The secret in force and the one before, and when the seeds were signed.
const SECRETS: (&[u8], &[u8]) = (b"whsec_new", b"whsec_old");
const SIGNED: Timestamp = Timestamp(1_614_265_330_000);

/// Every route's reader takes any bytes, and what it refuses it refuses as a client's mistake.
pub fn bodies(bytes: &[u8]) {
    for body in Body::ALL {
        if let Err(problem) = bodies::check(body, bytes) {
            let status = problem.kind.status;
            assert!((400..500).contains(&status), "{body:?} answers {status} for a body that it cannot read");
        }
    }
}

/// A first line is a header, the rest its body. Read, written and read, a header says the same; only who has a secret
/// signs, what is signed is believed for five minutes, and nothing else that looks like it.
pub fn signatures(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (header, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let secrets = Secrets::new(SECRETS.0, Some(SECRETS.1));
    let believed = secrets.verify(header, body, SIGNED);
    if let Ok(signature) = Signature::parse(header) {
        assert_eq!(Signature::parse(signature.to_string().as_bytes()).as_ref(), Ok(&signature));
        let at = Timestamp(signature.seconds.saturating_mul(1000));
        let own = secrets.sign(at, body);
        let signed = own.seconds == signature.seconds && own.macs.iter().any(|mac| signature.macs.contains(mac));
        assert_eq!(signed, believed != Err(SignatureError::Forged));
    } else {
        assert!(matches!(believed, Err(SignatureError::Malformed(_))));
    }
    let own = secrets.sign(SIGNED, body).to_string();
    for secret in [SECRETS.0, SECRETS.1] {
        let one = Secrets::new(secret, None);
        assert_eq!(one.verify(own.as_bytes(), body, SIGNED), Ok(SIGNED));
        let other = [body, b"!"].concat();
        assert_eq!(one.verify(own.as_bytes(), &other, SIGNED), Err(SignatureError::Forged));
        let late = one.verify(own.as_bytes(), body, Timestamp(SIGNED.0 + 300_001));
        assert!(matches!(late, Err(SignatureError::Stale { .. })));
    }
}

/// Each provider's events: what is read has names that the table of events takes, and a payment that is written as it was read;
/// and the provider that writes it again is understood the same.
pub fn events(bytes: &[u8]) {
    for (provider, write) in [(Provider::Simulator, simulators as fn(&Event) -> Value), (Provider::Stripe, stripes)] {
        let sender = sender::of(provider);
        let Ok(event) = (sender.read)(bytes) else { continue };
        for name in [&event.id, &event.type_name] {
            assert!(
                (1..=255).contains(&name.len()) && name.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
                "{name:?}"
            );
        }
        if let Some(key) = event.payment {
            let text = key.to_string();
            assert!(text.len() <= 255 && text.parse::<Key>() == Ok(key), "{text}");
        }
        let again = write(&event).to_string();
        let again = (sender.read)(again.as_bytes()).unwrap_or_else(|error| panic!("{again}: {error}"));
        assert_eq!(again, event);
    }
}

fn simulators(event: &Event) -> Value {
    json!({ "id": event.id, "type": event.type_name, "data": { "key": key_of(event) } })
}

fn stripes(event: &Event) -> Value {
    let metadata = json!({ "doorbuster_key": key_of(event) });
    json!({ "id": event.id, "type": event.type_name, "data": { "object": { "metadata": metadata } } })
}

fn key_of(event: &Event) -> String {
    event.payment.map_or_else(String::new, |key| key.to_string())
}

/// One of each kind that either provider sends, and the usual mistakes.
pub fn event_seeds() -> Vec<Vec<u8>> {
    let key = "000000000000000000000000000000ab-1753370000000-1";
    let simulators = ["charge.succeeded", "charge.declined", "charge.refunded", "charge.disputed"].map(|name| {
        let data = json!({ "number": 7, "key": key, "amount": 500, "currency": "EUR", "state": "succeeded", "reason": null });
        json!({ "id": "evt_9c56cc51b374c3ba189210d5b6d4bf57", "type": name, "created": 1_753_370_000_123_u64, "data": data })
    });
    let stripes =
        ["payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled", "charge.refunded"];
    let stripes = stripes.map(|name| {
        let metadata = json!({ "doorbuster_key": key, "doorbuster_product": "7" });
        let object = json!({ "id": "pi_3Pgc6sB7WZ01zgkW0Y", "object": "payment_intent", "amount": 500, "currency": "eur", "metadata": metadata });
        json!({ "id": "evt_1Pgc6tB7WZ01zgkWQJmhD1R6", "object": "event", "type": name, "livemode": false, "data": { "object": object } })
    });
    let mistakes = [
        r#"{"id": "evt_1", "id": "evt_2", "type": "charge.succeeded"}"#,
        r#"{"id": "evt\u0000", "type": "t"}"#,
        r#"{"id": "evt_1", "type": "", "data": null}"#,
        r#"{"id": "evt_1", "type": "t", "data": {"key": "000000000000000000000000000000AB-07-0"}}"#,
        r#"{"id": "evt_1", "type": "t", "data": {"object": {"metadata": null}}}"#,
        r#"["evt_1", "charge.succeeded", ["000000000000000000000000000000ab-7-1"]]"#,
    ];
    let written = simulators.iter().chain(&stripes).map(|event| event.to_string().into_bytes());
    written.chain(mistakes.iter().map(|mistake| mistake.as_bytes().to_vec())).collect()
}

/// Signed ones, and the usual mistakes.
pub fn signature_seeds() -> Vec<Vec<u8>> {
    let body = r#"{"id": "evt_1", "type": "payment_intent.succeeded"}"#;
    let signed = Secrets::new(SECRETS.0, Some(SECRETS.1)).sign(SIGNED, body.as_bytes());
    let headers = [
        signed.to_string(),
        Secrets::new(SECRETS.1, None).sign(SIGNED, body.as_bytes()).to_string(),
        format!("{signed},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"),
        format!("t=1,{signed}"),
        "t=1614265330,v1=00".to_owned(),
        "v1=,t=".to_owned(),
    ];
    headers.iter().map(|header| format!("{header}\n{body}").into_bytes()).collect()
}

/// One body of each kind, and the usual mistakes.
pub fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"product": 7, "quantity": 1, "ttl_ms": 30000}"#,
        r#"{"by_ms": 60000}"#,
        r#"{"card_token": "tok_visa", "attempt": 1}"#,
        r#"{"delta": -5}"#,
        r#"{"return_stock": true, "reason": "fraud"}"#,
        r#"{"expected": 5, "stock": 10}"#,
        r#"{"product": 7, "name": "Phone \u00e9", "stock": 100, "price": {"minor": 49900, "currency": "EUR"}, "limit_per_user": 2,
            "ttl_ms": 1000, "opens_at": "2026-11-27T12:00:00Z", "closes_at": "2026-11-28T00:00:00+01:00", "late_payment": "always_refund"}"#,
        r#"{"product": 1e300, "quantity": -0.5}"#,
        r#"{"product": "7", "quantity": null, "x": [[[[[[]]]]]]}"#,
    ];
    bodies.iter().map(|body| body.as_bytes().to_vec()).collect()
}
