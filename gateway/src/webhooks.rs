//! What payment providers tell by themselves, over HTTP.

pub mod signature;
