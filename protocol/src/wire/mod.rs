//! The bytes of single messages, one file a family. `PROTOCOL.md` is their specification.
//!
//! Encoders append to a `Vec` that the caller reuses and cannot fail; decoders are total. A message is
//! one opcode byte and a body: hot ones of fixed layout ([`layout`]), control ones a `u32` length and
//! protobuf ([`control`]). Lists stand outside of protobuf, behind a count that is checked first, so
//! that a few bytes cannot ask for much memory.

mod command;
mod control;
mod failure;
pub(crate) mod layout;
mod opcode;
mod query;
mod reply;
mod request;
mod shards;

pub(crate) use failure::{get_failure, put_failure};
pub(crate) use reply::{get_answer, put_answer};
pub(crate) use request::{get_request, put_request};
pub(crate) use shards::{get_shard_map, put_shard_map};

/// Appends a `u32` length and the text, cut to the limit at a character boundary.
pub(crate) fn put_text(text: &str, limit: usize, out: &mut Vec<u8>) {
    put_bytes(&text.as_bytes()[..text.floor_char_boundary(limit)], out);
}

/// Appends a `u32` length and the bytes.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends a count or length as `u32`. All that are counted are bounded far below its range.
fn put_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}
