//! A request: how long its caller will wait, then a command or a query.

use super::opcode;
use super::query::{get_query, put_query};
use crate::command::Command;
use crate::cursor::{Cursor, DecodeError};
use crate::limits::MAX_WAIT;
use crate::request::{Request, RequestBody};
use crate::types::Millis;

/// Appends the request's bytes. A wait beyond [`MAX_WAIT`] travels as that.
pub fn put_request(request: &Request, out: &mut Vec<u8>) {
    let wait = u32::try_from(request.wait.0.min(MAX_WAIT.0)).unwrap_or(u32::MAX);
    out.extend_from_slice(&wait.to_le_bytes());
    match &request.body {
        RequestBody::Command(command) => command.encode(out),
        RequestBody::Query(query) => put_query(query, out),
    }
}

/// Reads a whole request. The time entry, which only leaders write, is not accepted.
pub fn get_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let wait = cursor.u32("wait")?;
    if u64::from(wait) > MAX_WAIT.0 {
        return Err(DecodeError::TooLong { what: "wait in ms", length: wait.into(), limit: MAX_WAIT.0 });
    }
    let body = match cursor.u8("opcode")? {
        opcode @ opcode::EXPIRE => return Err(DecodeError::Invalid { what: "opcode", value: opcode.into() }),
        opcode if opcode::is_command(opcode) => RequestBody::Command(Command::decode_body(opcode, &mut cursor)?),
        opcode => RequestBody::Query(get_query(opcode, &mut cursor)?),
    };
    cursor.finish("request")?;
    Ok(Request { body, wait: Millis(wait.into()) })
}
