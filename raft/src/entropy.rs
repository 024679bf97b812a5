//! The only place of this crate that asks the system for randomness: numbers used once, and jitter. Nothing replicated
//! depends on it.

/// Bytes nobody can guess.
#[allow(clippy::disallowed_methods)] // This is the module that may.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness: nobody could be authenticated without");
    bytes
}

/// A duration between half of `duration` and all of it.
pub(crate) fn jittered(duration: std::time::Duration) -> std::time::Duration {
    let half = duration / 2;
    half + half.mul_f64(f64::from(u16::from_le_bytes(bytes())) / f64::from(u16::MAX))
}
