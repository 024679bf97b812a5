//! Criterion suites, one a subject, in `benches/`.
#![forbid(unsafe_code)]
