//! Ids as HTTP callers see them, and how they are derived from who asks and with which `Idempotency-Key`: nobody can
//! choose, collide with or guess another's, and every gateway derives the same.

use std::fmt::Write;

use doorbuster_protocol::types::{OperationId, ProductId, ReservationId, UserId};
use sha2::{Digest, Sha256};

/// The user that a token's subject stands for.
#[must_use]
pub fn user(subject: &str) -> UserId {
    UserId(digest(&[b"doorbuster/user", subject.as_bytes()]))
}

/// The reservation that a user makes with an `Idempotency-Key`.
#[must_use]
pub fn reservation(user: UserId, key: &str) -> ReservationId {
    ReservationId(digest(&[b"doorbuster/reservation", &user.0.to_be_bytes(), b"\0", key.as_bytes()]))
}

/// The operation that a user asks for with an `Idempotency-Key`; `scope` says of what kind and on what, so that a key
/// may serve once for each.
#[must_use]
pub fn operation(user: UserId, scope: &str, key: &str) -> OperationId {
    let parts = [b"doorbuster/operation".as_slice(), &user.0.to_be_bytes(), scope.as_bytes(), b"\0", key.as_bytes()];
    OperationId(digest(&parts))
}

/// A reservation's name in paths: the product, which leads to its shard, and 32 hexadecimal digits.
#[must_use]
pub fn format(product: ProductId, reservation: ReservationId) -> String {
    let mut text = String::with_capacity(53);
    // Writing to a String cannot fail.
    let _ = write!(text, "{product}-{:032x}", reservation.0);
    text
}

/// The inverse of [`format()`]; one spelling only.
#[must_use]
pub fn parse(text: &str) -> Option<(ProductId, ReservationId)> {
    let (product, reservation) = text.split_once('-')?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if reservation.len() != 32 || !reservation.bytes().all(hex) {
        return None;
    }
    let reservation = u128::from_str_radix(reservation, 16).ok().filter(|id| *id != 0)?;
    Some((parse_product(product)?, ReservationId(reservation)))
}

/// A product id in a path: decimal, not 0, one spelling only.
#[must_use]
pub fn parse_product(text: &str) -> Option<ProductId> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok().map(ProductId))?
}

/// The first 16 bytes of the SHA-256 of the parts. 0 stands for "none" in the protocol and becomes 1.
fn digest(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    let full = hasher.finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&full[..16]);
    u128::from_be_bytes(first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_stable() {
        // printf 'doorbuster/useralice' | sha256sum
        assert_eq!(format!("{:032x}", user("alice").0), "766103e5b2ca617de9607bdb6ea85b11");
        let (alice, bob) = (user("alice"), user("bob"));
        assert_ne!(reservation(alice, "1"), reservation(bob, "1"));
        assert_ne!(reservation(alice, "1"), reservation(alice, "2"));
        assert_ne!(operation(alice, "extend/1", "1"), operation(alice, "extend/", "11"));
    }

    #[test]
    fn text_form_has_one_spelling() {
        let text = "42-000000000000000000000000000000ff";
        assert_eq!(parse(text), Some((ProductId(42), ReservationId(255))));
        assert_eq!(format(ProductId(42), ReservationId(255)), text);
        for bad in [
            "",
            "-",
            "42",
            "42-ff",
            "0-000000000000000000000000000000ff",
            "042-000000000000000000000000000000ff",
            "+42-000000000000000000000000000000ff",
            "42-000000000000000000000000000000FF",
            "42-+00000000000000000000000000000ff",
            "42-00000000000000000000000000000000",
            "42-000000000000000000000000000000ff0",
            "18446744073709551616-000000000000000000000000000000ff",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
