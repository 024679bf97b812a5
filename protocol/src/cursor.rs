//! A bounded reader over bytes that nobody vouches for: every read is checked, none panics, and no
//! length is believed before the bytes behind it are there.

use thiserror::Error;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("{what} is cut short")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// A field has a value it cannot have.
    #[error("{what} cannot be {value}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// The value that was found.
        value: u64,
    },
    /// A text or list is longer than it may be.
    #[error("{what} has length {length}, at most {limit} is allowed")]
    TooLong {
        /// Which one.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The most it may have.
        limit: u64,
    },
    /// A text is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
    },
    /// A control message does not parse as protobuf.
    #[error("{what} is no valid protobuf message")]
    Protobuf {
        /// Which message.
        what: &'static str,
    },
    /// Bytes are left over behind the end.
    #[error("{bytes} bytes are left over behind {what}")]
    LeftOver {
        /// Behind what.
        what: &'static str,
        /// How many.
        bytes: usize,
    },
}

/// Reads little-endian values from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
