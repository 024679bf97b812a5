//! How webhooks are signed: Stripe's `v1` scheme, `t=SECONDS,v1=HEX`, with one `v1` for each secret in force; the MAC is
//! HMAC-SHA-256 over the time, a dot, and the body.

use std::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// The secrets in force. Never shown.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

/// What was given is not one secret or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "give one secret, or two while it is being changed, with white space between, of at least {MIN_SECRET_BYTES} bytes each"
)]
pub struct NoSecrets;

impl Secrets {
    /// Reads one secret, or two.
    ///
    /// # Errors
    /// None, more, or one that is too short.
    pub fn read(text: &str) -> Result<Self, NoSecrets> {
        let secrets: Vec<Vec<u8>> = text.split_ascii_whitespace().map(|secret| secret.as_bytes().to_vec()).collect();
        let is_fine = (1..=2).contains(&secrets.len()) && secrets.iter().all(|secret| secret.len() >= MIN_SECRET_BYTES);
        if is_fine { Ok(Self(secrets)) } else { Err(NoSecrets) }
    }

    /// The header's value for this body, sent at this time, in seconds since 1970.
    #[must_use]
    pub fn sign(&self, seconds: i64, body: &[u8]) -> String {
        let mut header = format!("t={seconds}");
        for secret in &self.0 {
            let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            let mac = mac.chain_update(seconds.to_string()).chain_update(b".").chain_update(body).finalize();
            header.push_str(",v1=");
            for byte in mac.into_bytes() {
                // Writing to a String cannot fail.
                let _ = write!(header, "{byte:02x}");
            }
        }
        header
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_or_two_sign() {
        let (first, second) = ("whsec_0123456789abcdef0123456789", "whsec_9876543210fedcba9876543210");
        let signed = Secrets::read(&format!("{first}\n{second}\n")).unwrap().sign(1_614_265_330, b"{}");
        // printf '1614265330.{}' | openssl dgst -sha256 -hmac whsec_...
        let macs = [
            "3282d7868b4cedc5f1c5b5e98402b030b784cd0fd47e0c8de878fcd852975815",
            "464d7467e9e4f5d3daeb485b34dbd37be0a74b9ab88c5bf4b85644e1dda787ae",
        ];
        assert_eq!(signed, format!("t=1614265330,v1={},v1={}", macs[0], macs[1]));
        assert!(!format!("{:?}", Secrets::read(first).unwrap()).contains("whsec"));
        for bad in ["", "  ", "short", &format!("{first} {second} {first}"), &format!("{first} short")] {
            assert_eq!(Secrets::read(bad).unwrap_err(), NoSecrets, "{bad}");
        }
    }
}
