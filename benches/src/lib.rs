//! Criterion suites, one a subject, in `benches/`; and the comparison with other systems, [`peers`]; and every
//! aim as a command, [`targets`].
#![forbid(unsafe_code)]

pub mod peers;
pub mod targets;
