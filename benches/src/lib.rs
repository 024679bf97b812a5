//! Criterion suites, one a subject, in `benches/`; and the comparison with other systems, [`peers`]; and every
//! aim as a command, [`targets`], for which [`orders`] measures the gateway's order writer.
#![forbid(unsafe_code)]

pub mod folder;
pub mod orders;
pub mod peers;
pub mod targets;
