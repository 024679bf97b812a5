//! Frames: how requests and answers stand in a byte stream, alone or many in one batch frame.

use thiserror::Error;

use crate::failure::Failure;
use crate::reply::Answer;
use crate::request::Request;
use crate::types::RequestId;

/// The byte stream is not of this protocol; the connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The content of a frame cannot be read.
    #[error("frame content: {0}")]
    Content(#[from] crate::cursor::DecodeError),
}

/// Appends one request as a frame.
pub fn encode_request(_id: RequestId, _request: &Request, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends many requests, as few frames as the limits allow.
pub fn encode_requests(_batch: &[(RequestId, Request)], _out: &mut Vec<u8>) {
    todo!()
}

/// Appends one answer as a frame.
pub fn encode_answer(_id: RequestId, _answer: &Answer, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends many answers, as few frames as the limits allow.
pub fn encode_answers(_batch: &[(RequestId, Answer)], _out: &mut Vec<u8>) {
    todo!()
}

/// Takes every complete frame off the front of `input` and hands each request on, batches unpacked.
/// Returns how many bytes it took. A malformed request is handed on as a failure, so that only it is refused.
///
/// # Errors
/// The stream is not of this protocol; close the connection.
pub fn decode_requests(
    _input: &[u8],
    _sink: &mut dyn FnMut(RequestId, Result<Request, Failure>),
) -> Result<usize, FrameError> {
    todo!()
}

/// Takes every complete frame off the front of `input` and hands each answer on, batches unpacked.
/// Returns how many bytes it took.
///
/// # Errors
/// The stream is not of this protocol; close the connection.
pub fn decode_answers(_input: &[u8], _sink: &mut dyn FnMut(RequestId, Answer)) -> Result<usize, FrameError> {
    todo!()
}
