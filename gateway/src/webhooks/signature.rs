//! A provider's signature on a webhook: that somebody who knows the endpoint's secret said this body, at that time.
//!
//! The scheme is Stripe's `v1` (its documentation, "Resolve webhook signature verification errors" and "Verify manually"):
//! the header is `t=SECONDS,v1=HEX`, with one `v1` for each secret in force at the sender, and the MAC is HMAC-SHA-256
//! over the header's `t`, a dot, and the body as it came. What has another name than these two is ignored: `v0` and names
//! to come. Comparisons take the same time whatever differs.

use std::fmt;
use std::time::Duration;

use doorbuster_protocol::types::{Millis, Timestamp};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// A signature is good for so long before and after the time it names.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// Longest header that is read, in bytes.
pub const MAX_HEADER: usize = 1024;
/// Most `v1` signatures in a header.
pub const MAX_MACS: usize = 8;

/// An HMAC-SHA-256.
pub type Mac = [u8; 32];

/// Why a webhook is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header cannot be read.
    #[error("the signature header cannot be read: {0}")]
    Malformed(&'static str),
    /// Nobody who knows the secret signed this body.
    #[error("no signature fits the body under the endpoint's secret; is it the secret of this endpoint?")]
    Forged,
    /// It was signed, too long ago or in the future.
    #[error("signed at {signed} ms, and it is {now} ms: more than {tolerance} s apart", tolerance = TOLERANCE.as_secs())]
    Stale {
        /// When, by the sender's clock; UTC milliseconds.
        signed: Timestamp,
        /// The time here.
        now: Timestamp,
    },
}

/// What a signature header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// When it was signed; UTC seconds.
    pub seconds: u64,
    /// One for each secret in force at the sender; at least one.
    pub macs: Vec<Mac>,
}

/// The secrets of one endpoint or several: each one's in force, and the one before it while it is being replaced. Never shown.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// The secret in force, and the one before it that is still accepted.
    #[must_use]
    pub fn new(current: &[u8], previous: Option<&[u8]>) -> Self {
        Self([Some(current), previous].into_iter().flatten().map(<[u8]>::to_vec).collect())
    }

    /// Several endpoints': what any of these signed is believed. Of none, nothing is.
    #[must_use]
    pub fn any_of(secrets: &[&[u8]]) -> Self {
        Self(secrets.iter().map(|secret| secret.to_vec()).collect())
    }

    /// Is this body from who knows a secret, signed not long ago? Its time, if so.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, header: &[u8], body: &[u8], now: Timestamp) -> Result<Timestamp, SignatureError> {
        let signature = Signature::parse(header)?;
        let fits = |secret: &Vec<u8>| {
            let over = over(secret, signature.seconds, body);
            // All of them, so that the time it takes tells nothing.
            signature.macs.iter().fold(false, |any, mac| over.clone().verify_slice(mac).is_ok() | any)
        };
        if !self.0.iter().fold(false, |any, secret| fits(secret) | any) {
            return Err(SignatureError::Forged);
        }
        let signed = Timestamp(signature.seconds.saturating_mul(1000));
        let apart = Millis(signed.0.abs_diff(now.0));
        if Duration::from_millis(apart.0) > TOLERANCE {
            return Err(SignatureError::Stale { signed, now });
        }
        Ok(signed)
    }

    /// What a sender puts on this body: a signature with every secret in force.
    #[must_use]
    pub fn sign(&self, now: Timestamp, body: &[u8]) -> Signature {
        let seconds = now.0 / 1000;
        let macs = self.0.iter().map(|secret| over(secret, seconds, body).finalize().into_bytes().into());
        Signature { seconds, macs: macs.collect() }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Signature {
    /// Reads a header's value.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`].
    pub fn parse(header: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |why| Err(SignatureError::Malformed(why));
        if header.len() > MAX_HEADER {
            return wrong("it is longer than 1024 bytes");
        }
        let Ok(text) = std::str::from_utf8(header) else { return wrong("it is not text") };
        let (mut seconds, mut macs) = (None, Vec::new());
        for part in text.split(',') {
            match part.trim().split_once('=') {
                Some(("t", _)) if seconds.is_some() => return wrong("it has two times"),
                Some(("t", digits)) => match number(digits) {
                    None => return wrong("its t is no number of seconds"),
                    found => seconds = found,
                },
                Some(("v1", _)) if macs.len() == MAX_MACS => return wrong("it has more than 8 signatures"),
                Some(("v1", digits)) => match mac(digits) {
                    None => return wrong("a v1 is not 64 hexadecimal digits"),
                    Some(mac) => macs.push(mac),
                },
                Some(_) => {}
                None => return wrong("a part has no value"),
            }
        }
        match seconds {
            None => wrong("it has no t"),
            Some(_) if macs.is_empty() => wrong("it has no v1"),
            Some(seconds) => Ok(Self { seconds, macs }),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={}", self.seconds)?;
        for mac in &self.macs {
            f.write_str(",v1=")?;
            mac.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

fn over(secret: &[u8], seconds: u64, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.chain_update(seconds.to_string()).chain_update(b".").chain_update(body)
}

/// Decimal, without a sign or a leading zero, so that it reads as it was signed.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

fn mac(digits: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in mac.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id": "evt_1"}"#;
    const AT: u64 = 1_614_265_330;
    /// Computed with another implementation.
    const FIRST: &str = "aff4d2b195a86ab0d433d19ff4345603bc073e46f05b517040d70b727aedcf9e";
    const SECOND: &str = "d5bf47f675a16640a3e916df3eddf00c31c7785a29e17338088ab8c1927e6f6d";

    fn now(after: i64) -> Timestamp {
        Timestamp(AT.saturating_add_signed(after) * 1000)
    }

    #[test]
    fn the_table() {
        use SignatureError::{Forged, Malformed};
        let first = Secrets::new(b"whsec_first", None);
        let second = Secrets::new(b"whsec_second", None);
        let rotating = Secrets::new(b"whsec_second", Some(b"whsec_first"));
        let any = Secrets::any_of(&[b"whsec_third", b"whsec_second", b"whsec_first"]);
        let ok = Ok(now(0));
        let one = format!("t={AT},v1={FIRST}");
        let both = format!("t={AT},v1={SECOND},v1={FIRST},v0=whatever");
        let stale = |after| Err(SignatureError::Stale { signed: now(0), now: now(after) });
        for (secrets, header, after, expected) in [
            (&first, one.clone(), 0, ok.clone()),
            (&first, one.to_uppercase().replace('T', "t").replace('V', "v"), 0, ok.clone()),
            (&first, both.clone(), 0, ok.clone()),
            (&second, both.clone(), 0, ok.clone()),
            (&rotating, one.clone(), 0, ok.clone()),
            (&any, one.clone(), 0, ok.clone()),
            (&Secrets::any_of(&[]), one.clone(), 0, Err(Forged)),
            (&first, one.clone(), 300, ok.clone()),
            (&first, one.clone(), -300, ok),
            (&first, one.clone(), 301, stale(301)),
            (&first, one.clone(), -301, stale(-301)),
            (&second, one.clone(), 0, Err(Forged)),
            (&second, one.clone(), 301, Err(Forged)),
            (&first, one.replace(&AT.to_string(), "1614265331"), 0, Err(Forged)),
            (&first, one.replace("v1=", "v0="), 0, Err(Malformed("it has no v1"))),
            (&first, format!("v1={FIRST}"), 0, Err(Malformed("it has no t"))),
            (&first, format!("t=0{AT},v1={FIRST}"), 0, Err(Malformed("its t is no number of seconds"))),
            (&first, format!("t=-1,v1={FIRST}"), 0, Err(Malformed("its t is no number of seconds"))),
            (&first, format!("t={AT},{one}"), 0, Err(Malformed("it has two times"))),
            (&first, one.replace("v1=", "v1=0"), 0, Err(Malformed("a v1 is not 64 hexadecimal digits"))),
            (&first, format!("{one},,"), 0, Err(Malformed("a part has no value"))),
            (
                &first,
                format!("t={AT}{}", format!(",v1={SECOND}").repeat(9)),
                0,
                Err(Malformed("it has more than 8 signatures")),
            ),
            (&first, format!("{one},{}", "x".repeat(1024)), 0, Err(Malformed("it is longer than 1024 bytes"))),
            (&first, String::new(), 0, Err(Malformed("a part has no value"))),
        ] {
            assert_eq!(secrets.verify(header.as_bytes(), BODY, now(after)), expected, "{header} {after}");
        }
        assert_eq!(first.verify(b"t=\xff", BODY, now(0)), Err(Malformed("it is not text")));
        assert_eq!(first.verify(one.as_bytes(), b"{}", now(0)), Err(Forged));
    }

    #[test]
    fn what_is_signed_while_secrets_change_is_believed_under_either() {
        let signed = Secrets::new(b"whsec_second", Some(b"whsec_first")).sign(now(0), BODY).to_string();
        assert_eq!(signed, format!("t={AT},v1={SECOND},v1={FIRST}"));
        for secret in [b"whsec_first".as_slice(), b"whsec_second"] {
            assert_eq!(Secrets::new(secret, None).verify(signed.as_bytes(), BODY, now(1)), Ok(now(0)));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Secrets::new(b"whsec_first", Some(b"whsec_second")));
        assert!(!shown.contains("whsec") && !shown.contains("119"), "{shown}");
    }
}
