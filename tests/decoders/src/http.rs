//! Bodies of HTTP requests, of every route that reads one; signatures of webhooks.

use doorbuster_gateway::bodies::{self, Body};
use doorbuster_gateway::webhooks::signature::{Secrets, Signature, SignatureError};
use doorbuster_protocol::types::Timestamp;

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
        r#"{"expected": 5, "stock": 10}"#,
        r#"{"product": 7, "name": "Phone \u00e9", "stock": 100, "price": {"minor": 49900, "currency": "EUR"}, "limit_per_user": 2,
            "ttl_ms": 1000, "opens_at": "2026-11-27T12:00:00Z", "closes_at": "2026-11-28T00:00:00+01:00", "late_payment": "always_refund"}"#,
        r#"{"product": 1e300, "quantity": -0.5}"#,
        r#"{"product": "7", "quantity": null, "x": [[[[[[]]]]]]}"#,
    ];
    bodies.iter().map(|body| body.as_bytes().to_vec()).collect()
}
