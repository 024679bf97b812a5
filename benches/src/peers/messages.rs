//! PostgreSQL's protocol, version 3.0, as far as a prepared statement needs it: messages out, messages in. What comes from the
//! socket is checked against limits before it is believed.

use doorbuster_cli::error::CliError;

/// Longest message that we ever ask for, in bytes.
const LONGEST: usize = 1 << 20;
/// Text and binary, as the protocol numbers them.
const BINARY: i16 = 1;

/// A message, as it lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its kind: `D` is a row, `C` the end of a command, `Z` that the next may come, `E` an error.
    pub kind: u8,
    /// What it says.
    pub body: &'a [u8],
}

/// The message at the front of the input and how many bytes it takes; `None` if it is not whole yet.
///
/// # Errors
/// It is longer than anything that was asked for, or shorter than a message can be.
pub fn message(input: &[u8]) -> Result<Option<(Message<'_>, usize)>, CliError> {
    let Some((kind, rest)) = input.split_first() else { return Ok(None) };
    let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*length)).ok().filter(|length| (4..=LONGEST).contains(length));
    let length = length.ok_or_else(|| {
        CliError::failed(format!(
            "PostgreSQL does not keep to its protocol: a message of kind {kind} and no such length"
        ))
    })?;
    Ok(rest.get(4..length).map(|body| (Message { kind: *kind, body }, length + 1)))
}

impl Message<'_> {
    /// What an error message says to people.
    #[must_use]
    pub fn error(&self) -> String {
        let fields = self.body.split(|byte| *byte == 0);
        let text = |wanted: u8| fields.clone().find_map(|field| field.strip_prefix(&[wanted]));
        let shown = |wanted| String::from_utf8_lossy(text(wanted).unwrap_or_default()).into_owned();
        format!("{} ({})", shown(b'M'), shown(b'C'))
    }

    /// Whether it asks for a password: `R` is about letting in, and 0 says that nothing is wanted.
    #[must_use]
    pub fn wants_password(&self) -> bool {
        self.kind == b'R' && self.body != [0; 4]
    }
}

/// Appends the first message of a connection.
pub fn startup(user: &str, database: &str, out: &mut Vec<u8>) {
    sized(out, |out| {
        out.extend_from_slice(&196_608_i32.to_be_bytes());
        for word in ["user", user, "database", database] {
            text(word, out);
        }
        out.push(0);
    });
}

/// Appends statements that take nothing and are answered as text.
pub fn query(sql: &str, out: &mut Vec<u8>) {
    out.push(b'Q');
    sized(out, |out| text(sql, out));
}

/// Appends the preparation of a statement whose parameters are of these types.
pub fn parse(name: &str, sql: &str, types: &[i32], out: &mut Vec<u8>) {
    out.push(b'P');
    sized(out, |out| {
        text(name, out);
        text(sql, out);
        out.extend_from_slice(&count(types.len()));
        for kind in types {
            out.extend_from_slice(&kind.to_be_bytes());
        }
    });
}

/// Appends the execution of a prepared statement; parameters and results are binary.
pub fn execute(name: &str, parameters: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'B');
    sized(out, |out| {
        text("", out);
        text(name, out);
        for number in [1, BINARY] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&count(parameters.len()));
        for parameter in parameters {
            out.extend_from_slice(&i32::try_from(parameter.len()).unwrap_or(i32::MAX).to_be_bytes());
            out.extend_from_slice(parameter);
        }
        for number in [1, BINARY] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    });
    out.push(b'E');
    sized(out, |out| {
        text("", out);
        out.extend_from_slice(&[0; 4]);
    });
}

/// Appends the end of what belongs together: it is committed, and the answers come.
pub fn sync(out: &mut Vec<u8>) {
    out.push(b'S');
    sized(out, |_| {});
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn count(count: usize) -> [u8; 2] {
    i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes()
}

/// Appends what `body` appends, with its length, which counts itself, before it.
fn sized(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let bytes = b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        for cut in 0..14 {
            assert_eq!(message(&bytes[..cut]).expect("it may be whole later"), None, "cut at {cut}");
        }
        let (first, length) = message(bytes).expect("it is one").expect("it is whole");
        assert_eq!((first, length), (Message { kind: b'C', body: b"SELECT 1\0" }, 14));
        let (second, length) = message(&bytes[14..]).expect("it is one").expect("it is whole");
        assert_eq!((second, length), (Message { kind: b'Z', body: b"I" }, 6));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for length in [0_i32, 3, -1, i32::MAX, 1 << 21] {
            let bytes = [&b"D"[..], &length.to_be_bytes()].concat();
            assert!(message(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn an_error_says_what_and_its_code() {
        let body = b"SERROR\0VERROR\0C23505\0Mduplicate key\0\0";
        assert_eq!(Message { kind: b'E', body }.error(), "duplicate key (23505)");
        assert_eq!(Message { kind: b'E', body: b"" }.error(), " ()");
    }

    #[test]
    fn messages_count_their_own_length() {
        let mut out = Vec::new();
        sync(&mut out);
        query("x", &mut out);
        assert_eq!(out, b"S\0\0\0\x04Q\0\0\0\x06x\0");
    }
}
