//! The only module of this crate that asks for randomness.

/// 128 bits from the operating system.
///
/// # Errors
/// If the operating system has none to give.
#[allow(clippy::disallowed_methods)] // this is the module the ban points to
pub fn random_bytes() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}
