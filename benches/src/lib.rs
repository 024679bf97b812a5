//! Criterion suites, one a subject, in `benches/`; and the comparison with other systems, [`peers`].
#![forbid(unsafe_code)]

pub mod peers;
