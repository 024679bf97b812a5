//! Frames: how requests and answers stand in a byte stream, alone or many in one batch frame.
//!
//! Every frame begins with 16 bytes: its whole length (`u32`), protocol version (`u8`), kind (`u8`),
//! flags (`u16`, 0) and a request id (`u64`). A frame that breaks these rules has no effect, not even in
//! part, and ends the connection; a request that cannot be read ends only itself. Decoding allocates
//! nothing for hot requests.

use thiserror::Error;

use crate::cursor::{Cursor, DecodeError};
use crate::failure::Failure;
use crate::limits::{MAX_ANSWER_FRAME_BYTES, MAX_BATCH_REQUESTS, MAX_FRAME_BYTES};
use crate::reply::Answer;
use crate::request::Request;
use crate::types::RequestId;
use crate::wire::{get_answer, get_request, put_answer, put_request};

/// The protocol version of this crate.
pub const VERSION: u8 = 2;
/// Bytes in front of a frame's content.
pub const HEADER_BYTES: usize = 16;
/// Bytes in front of each item of a batch: length (`u32`) and request id (`u64`).
pub const ITEM_HEADER_BYTES: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Welcome = 2,
    Refused = 3,
    Request = 4,
    Requests = 5,
    Answer = 6,
    Answers = 7,
}

/// The byte stream is not of this protocol; the connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame is longer than allowed here.
    #[error("frame of {length} bytes, at most {limit} are allowed here")]
    TooLong {
        /// What its header says.
        length: u32,
        /// The most it may say.
        limit: usize,
    },
    /// A frame is shorter than its own header.
    #[error("frame of {length} bytes, shorter than its header of 16")]
    TooShort {
        /// What its header says.
        length: u32,
    },
    /// A frame of another protocol version than was agreed on.
    #[error("frame of protocol version {found}, expected {expected}")]
    Version {
        /// What its header says.
        found: u8,
        /// What was agreed on.
        expected: u8,
    },
    /// A frame of a kind that has no place here.
    #[error("frame of kind {found} has no place here")]
    Kind {
        /// What its header says.
        found: u8,
    },
    /// A frame with flags that this version does not know.
    #[error("frame with unknown flags {found:#06x}")]
    Flags {
        /// What its header says.
        found: u16,
    },
    /// A batch of more items than allowed.
    #[error("batch of more than {limit} items")]
    BatchTooLong {
        /// The most it may have.
        limit: usize,
    },
    /// The first frame does not begin with this protocol's magic bytes.
    #[error("not a Doorbuster connection: the magic bytes are missing")]
    Magic,
    /// The content of a frame cannot be read.
    #[error("frame content: {0}")]
    Content(#[from] DecodeError),
}

/// Appends one request as a frame.
pub fn encode_request(id: RequestId, request: &Request, out: &mut Vec<u8>) {
    put_frame(Kind::Request, VERSION, id, out, |out| put_request(request, out));
}

/// Appends many requests, as few frames as the limits allow.
pub fn encode_requests(batch: &[(RequestId, Request)], out: &mut Vec<u8>) {
    if let [(id, request)] = batch {
        return encode_request(*id, request, out);
    }
    let mut frames = RequestBatch::default();
    for (id, request) in batch {
        frames.push(*id, request, out);
    }
}

/// Appends one answer as a frame. An answer that would exceed the limit of a frame is replaced by a
/// failure that says so.
pub fn encode_answer(id: RequestId, answer: &Answer, out: &mut Vec<u8>) {
    put_frame(Kind::Answer, VERSION, id, out, |out| put_bounded_answer(answer, out));
}

/// Appends many answers, as few frames as the limits allow. Answers too long as in [`encode_answer`].
pub fn encode_answers(batch: &[(RequestId, Answer)], out: &mut Vec<u8>) {
    if let [(id, answer)] = batch {
        return encode_answer(*id, answer, out);
    }
    let mut open = OpenBatch::default();
    for (id, answer) in batch {
        open.push(&ANSWERS, *id, out, |out| put_bounded_answer(answer, out));
    }
}

/// Requests gathered one by one into batch frames at the end of a buffer, which is complete after each push.
///
/// The buffer must be the same in every push, and grow only by them; after it was taken or cleared,
/// begin with a new `RequestBatch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestBatch {
    open: OpenBatch,
}

impl RequestBatch {
    /// Appends a request to the open frame, or to a new one if the open one is full.
    pub fn push(&mut self, id: RequestId, request: &Request, out: &mut Vec<u8>) {
        self.open.push(&REQUESTS, id, out, |out| put_request(request, out));
    }
}

/// Takes every complete frame off the front of `input` and hands each request on, batches unpacked.
/// Returns how many bytes it took; what is left is the beginning of a frame that wants more.
/// A malformed request is handed on as a failure, so that only it is refused. Of a frame that is an error nothing
/// is handed on; the frames before it have been.
///
/// # Errors
/// The stream is not of this protocol; close the connection.
pub fn decode_requests(
    input: &[u8],
    sink: &mut dyn FnMut(RequestId, Result<Request, Failure>),
) -> Result<usize, FrameError> {
    decode_frames(input, &REQUESTS, &mut |id, body| {
        sink(id, get_request(body).map_err(|error| Failure::Malformed(error.to_string())));
        Ok(())
    })
}

/// Takes every complete frame off the front of `input` and hands each answer on, batches unpacked.
/// Returns how many bytes it took; what is left is the beginning of a frame that wants more.
///
/// # Errors
/// The stream is not of this protocol; close the connection.
pub fn decode_answers(input: &[u8], sink: &mut dyn FnMut(RequestId, Answer)) -> Result<usize, FrameError> {
    decode_frames(input, &ANSWERS, &mut |id, body| {
        sink(id, get_answer(body)?);
        Ok(())
    })
}

/// Length of the frame at the front of `input`, once its first four bytes are there: how much a reader
/// must make room for. Not checked against any limit; decoding does that.
#[must_use]
pub fn frame_length(input: &[u8]) -> Option<usize> {
    Cursor::new(input).u32("length").ok().and_then(|length| usize::try_from(length).ok())
}

/// Takes the content of one request or answer.
type ItemSink<'a> = &'a mut dyn FnMut(RequestId, &[u8]) -> Result<(), FrameError>;

/// One direction of the stream.
struct Direction {
    single: Kind,
    batch: Kind,
    limit: usize,
}

const REQUESTS: Direction = Direction { single: Kind::Request, batch: Kind::Requests, limit: MAX_FRAME_BYTES };
const ANSWERS: Direction = Direction { single: Kind::Answer, batch: Kind::Answers, limit: MAX_ANSWER_FRAME_BYTES };

/// What a frame's header says, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) id: RequestId,
}

/// Reads the header at the front of `input`; `None` while it is incomplete. A length that is not allowed
/// is an error as soon as it can be seen, so that nobody waits for, or stores, what will be refused.
pub(crate) fn get_header(input: &[u8], version: u8, limit: usize) -> Result<Option<Header>, FrameError> {
    let mut cursor = Cursor::new(input);
    let Ok(claimed) = cursor.u32("length") else { return Ok(None) };
    let length = usize::try_from(claimed).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FrameError::TooLong { length: claimed, limit });
    }
    if length < HEADER_BYTES {
        return Err(FrameError::TooShort { length: claimed });
    }
    if input.len() < HEADER_BYTES {
        return Ok(None);
    }
    let found = cursor.u8("version")?;
    if found != version {
        return Err(FrameError::Version { found, expected: version });
    }
    let kind = cursor.u8("kind")?;
    let flags = cursor.u16("flags")?;
    if flags != 0 {
        return Err(FrameError::Flags { found: flags });
    }
    Ok(Some(Header { length, kind, id: RequestId(cursor.u64("request id")?) }))
}

/// Appends a frame whose content `body` appends.
pub(crate) fn put_frame(kind: Kind, version: u8, id: RequestId, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_header(kind, version, id, out);
    body(out);
    set_length(out, start, start);
}

fn decode_frames(input: &[u8], direction: &Direction, item: ItemSink<'_>) -> Result<usize, FrameError> {
    let mut taken = 0;
    while let Some(header) = get_header(&input[taken..], VERSION, direction.limit)? {
        let is_batch = header.kind == direction.batch as u8;
        if !is_batch && header.kind != direction.single as u8 {
            return Err(FrameError::Kind { found: header.kind });
        }
        let Some(content) = input.get(taken + HEADER_BYTES..taken + header.length) else { break };
        if is_batch {
            decode_batch(content, item)?;
        } else {
            item(header.id, content)?;
        }
        taken += header.length;
    }
    Ok(taken)
}

/// Hands a batch's items on once all of it is known to keep the rules: half a batch has no effect.
fn decode_batch(content: &[u8], item: ItemSink<'_>) -> Result<(), FrameError> {
    check_batch(content)?;
    let mut cursor = Cursor::new(content);
    while !cursor.is_empty() {
        let (id, body) = get_item(&mut cursor)?;
        item(id, body)?;
    }
    Ok(())
}

/// Goes over the items' headers only.
fn check_batch(content: &[u8]) -> Result<(), FrameError> {
    let mut cursor = Cursor::new(content);
    let mut items = 0;
    while !cursor.is_empty() {
        items += 1;
        if items > MAX_BATCH_REQUESTS {
            return Err(FrameError::BatchTooLong { limit: MAX_BATCH_REQUESTS });
        }
        get_item(&mut cursor)?;
    }
    Ok(())
}

fn get_item<'a>(cursor: &mut Cursor<'a>) -> Result<(RequestId, &'a [u8]), DecodeError> {
    let length = cursor.count(cursor.rest().len(), "batch item")?;
    let id = RequestId(cursor.u64("batch item")?);
    Ok((id, cursor.bytes(length, "batch item")?))
}

/// The batch frame at the end of a buffer.
#[derive(Clone, Copy, Debug, Default)]
struct OpenBatch {
    /// Where it begins.
    start: usize,
    /// How many items it has; 0 when there is no frame yet.
    items: usize,
}

impl OpenBatch {
    fn push(&mut self, direction: &Direction, id: RequestId, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        if self.items == 0 || self.items == MAX_BATCH_REQUESTS {
            self.begin(direction, out);
        }
        let item = out.len();
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&id.0.to_le_bytes());
        body(out);
        set_length(out, item, item + ITEM_HEADER_BYTES);
        if out.len() - self.start > direction.limit && self.items > 0 {
            let moved = out.split_off(item);
            self.begin(direction, out);
            out.extend_from_slice(&moved);
        }
        self.items += 1;
        set_length(out, self.start, self.start);
    }

    fn begin(&mut self, direction: &Direction, out: &mut Vec<u8>) {
        *self = Self { start: out.len(), items: 0 };
        put_header(direction.batch, VERSION, RequestId(0), out);
    }
}

fn put_header(kind: Kind, version: u8, id: RequestId, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 0, version, kind as u8, 0, 0]);
    out.extend_from_slice(&id.0.to_le_bytes());
}

/// Writes at `at` how many bytes there are from `from` on.
fn set_length(out: &mut [u8], at: usize, from: usize) {
    let length = u32::try_from(out.len() - from).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Room that headers take from an answer's frame.
const ANSWER_LIMIT: usize = MAX_ANSWER_FRAME_BYTES - HEADER_BYTES - ITEM_HEADER_BYTES;

fn put_bounded_answer(answer: &Answer, out: &mut Vec<u8>) {
    let start = out.len();
    put_answer(answer, out);
    let length = out.len() - start;
    if length > ANSWER_LIMIT {
        out.truncate(start);
        let detail = format!("the answer has {length} bytes, more than the {ANSWER_LIMIT} of a frame: ask for less");
        put_answer(&Err(Failure::Malformed(detail)), out);
    }
}
