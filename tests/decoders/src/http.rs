//! Bodies of HTTP requests, of every route that reads one.

use doorbuster_gateway::bodies::{self, Body};

/// Every route's reader takes any bytes, and what it refuses it refuses as a client's mistake.
pub fn bodies(bytes: &[u8]) {
    for body in Body::ALL {
        if let Err(problem) = bodies::check(body, bytes) {
            let status = problem.kind.status;
            assert!((400..500).contains(&status), "{body:?} answers {status} for a body that it cannot read");
        }
    }
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
