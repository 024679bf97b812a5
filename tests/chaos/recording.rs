//! A history in a file, so that it can be judged again: one operation a line, in the bytes of the protocol.

use std::fmt::Write as _;
use std::path::Path;

use doorbuster_cli::error::CliError;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{decode_answers, decode_requests, encode_answer, encode_request};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::{Millis, RequestId, Timestamp};

use crate::history::{Heard, History, Moment, Operation};

const ID: RequestId = RequestId(1);
const NOT_DONE: &str = "not-done";
const UNKNOWN: &str = "unknown";

/// What a checker needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// What the wall clock said when it began.
    pub epoch: Timestamp,
    /// What was done and heard.
    pub history: History,
}

impl Recording {
    /// Reads a file that was written here.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let wrong = |what: &str| CliError::usage(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        Self::parse(&text).map_err(|what| wrong(&what))
    }

    /// From the file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let epoch = lines.next().and_then(|line| line.strip_prefix("epoch ")?.parse().ok());
        let epoch = Timestamp(epoch.ok_or("it does not begin with the epoch")?);
        let operation = |(number, line): (usize, &str)| {
            parse_operation(line).ok_or_else(|| format!("line {} is no operation", number + 2))
        };
        let operations = lines.enumerate().map(operation).collect::<Result<_, _>>()?;
        Ok(Self { epoch, history: History { operations } })
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("epoch {}\n", self.epoch);
        self.history.operations.iter().for_each(|operation| put_operation(operation, &mut text));
        text
    }
}

fn put_operation(operation: &Operation, text: &mut String) {
    let mut request = Vec::new();
    encode_request(ID, &Request { body: operation.body.clone(), wait: Millis(0) }, &mut request);
    let heard = match &operation.heard {
        Heard::Reply(reply) => hex_of_answer(&Ok(reply.clone())),
        Heard::Refused(refusal) => hex_of_answer(&Err(Failure::Refused(*refusal))),
        Heard::NotDone(_) => NOT_DONE.to_owned(),
        Heard::Unknown => UNKNOWN.to_owned(),
    };
    let returned = operation.returned.map_or_else(|| "-".to_owned(), |returned| returned.0.to_string());
    // A string has room.
    let _ = writeln!(text, "{} {} {returned} {} {heard}", operation.client, operation.called.0, hex(&request));
}

fn hex_of_answer(answer: &Answer) -> String {
    let mut bytes = Vec::new();
    encode_answer(ID, answer, &mut bytes);
    hex(&bytes)
}

fn parse_operation(line: &str) -> Option<Operation> {
    let mut fields = line.split(' ');
    let mut next = || fields.next();
    let (client, called) = (next()?.parse().ok()?, Moment(next()?.parse().ok()?));
    let returned = match next()? {
        "-" => None,
        returned => Some(Moment(returned.parse().ok()?)),
    };
    let mut body = None;
    decode_requests(&bytes(next()?)?, &mut |_, request| body = request.ok().map(|request| request.body)).ok()?;
    let heard = match next()? {
        NOT_DONE => Heard::NotDone(String::new()),
        UNKNOWN => Heard::Unknown,
        answer => {
            let mut heard = None;
            decode_answers(&bytes(answer)?, &mut |_, answer| heard = heard_of(answer)).ok()?;
            heard?
        }
    };
    Some(Operation { client, called, returned, body: body?, heard })
}

fn heard_of(answer: Answer) -> Option<Heard> {
    match answer {
        Ok(reply) => Some(Heard::Reply(reply)),
        Err(Failure::Refused(refusal)) => Some(Heard::Refused(refusal)),
        Err(_) => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::failure::Refusal;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::request::RequestBody;
    use doorbuster_protocol::types::ProductId;

    #[test]
    fn what_was_written_is_read() {
        let body = RequestBody::Query(Query::Product(ProductId(7)));
        let operation =
            |returned, heard| Operation { client: 3, called: Moment(5), returned, body: body.clone(), heard };
        let operations = vec![
            operation(Some(Moment(9)), Heard::Refused(Refusal::UnknownProduct)),
            operation(None, Heard::Unknown),
            operation(Some(Moment(11)), Heard::NotDone(String::new())),
        ];
        let recording = Recording { epoch: Timestamp(1_800_000_000_000), history: History { operations } };
        let text = recording.text();
        assert_eq!(Recording::parse(&text), Ok(recording));
        assert!(Recording::parse(&text.replace(" - ", " x ")).is_err());
    }
}
