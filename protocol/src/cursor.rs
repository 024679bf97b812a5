//! A bounded reader over bytes that nobody vouches for: every read is checked, none panics, and no
//! length is believed before the bytes behind it are there.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

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

impl From<std::convert::Infallible> for DecodeError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// Reads little-endian values from the front of a byte slice. A read that fails takes nothing.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

macro_rules! numbers {
    ($($name:ident -> $type:ident),*) => {$(
        /// Reads a little-endian number.
        ///
        /// # Errors
        /// Too few bytes are left.
        pub fn $name(&mut self, what: &'static str) -> Result<$type, DecodeError> {
            let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
            self.rest = rest;
            Ok($type::from_le_bytes(*bytes))
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    numbers!(u8 -> u8, u16 -> u16, u32 -> u32, u64 -> u64, u128 -> u128, i64 -> i64);

    /// Reads a byte that is 0 or 1.
    ///
    /// # Errors
    /// No byte is left, or it has another value.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        flag(self.u8(what)?, what)
    }

    /// Reads so many bytes, in place.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads a `u32` length that may not exceed `limit`, then so many bytes, in place.
    ///
    /// # Errors
    /// The length is above the limit, or fewer bytes are left.
    pub fn counted_bytes(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.count(limit, what)?;
        self.bytes(length, what)
    }

    /// Reads a `u32` length that may not exceed `limit`, then UTF-8 of that length, in place.
    ///
    /// # Errors
    /// The length is above the limit, fewer bytes are left, or they are not UTF-8.
    pub fn text(&mut self, limit: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.counted_bytes(limit, what)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { what })
    }

    /// Reads a `u32` that may not exceed `limit`.
    ///
    /// # Errors
    /// Too few bytes are left, or the number is above the limit.
    pub fn count(&mut self, limit: usize, what: &'static str) -> Result<usize, DecodeError> {
        let length = self.u32(what)?;
        match usize::try_from(length) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(DecodeError::TooLong { what, length: length.into(), limit: limit as u64 }),
        }
    }

    /// Reads a message of fixed layout, in place.
    pub(crate) fn layout<T>(&mut self, what: &'static str) -> Result<&'a T, DecodeError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let (layout, rest) = T::ref_from_prefix(self.rest).map_err(|_| DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(layout)
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

    /// Ends the reading of `what`.
    ///
    /// # Errors
    /// Bytes are left over.
    pub const fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::LeftOver { what, bytes }),
        }
    }
}

/// A byte that is 0 or 1.
pub(crate) fn flag(byte: u8, what: &'static str) -> Result<bool, DecodeError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(DecodeError::Invalid { what, value: value.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u32("number"), Err(DecodeError::Truncated { what: "number" }));
        assert_eq!(cursor.u16("number"), Ok(0x0201));
        assert_eq!(cursor.finish("it"), Err(DecodeError::LeftOver { what: "it", bytes: 1 }));
        assert_eq!(cursor.u8("number"), Ok(3));
        assert_eq!(cursor.finish("it"), Ok(()));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_whether_or_not_the_bytes_are_there() {
        let bytes = [5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
        let refused = DecodeError::TooLong { what: "text", length: 5, limit: 4 };
        assert_eq!(Cursor::new(&bytes).text(4, "text"), Err(refused.clone()));
        assert_eq!(Cursor::new(&bytes[..4]).text(4, "text"), Err(refused));
        assert_eq!(Cursor::new(&bytes).text(5, "text"), Ok("hello"));
        assert_eq!(Cursor::new(&bytes[..8]).text(5, "text"), Err(DecodeError::Truncated { what: "text" }));
    }

    #[test]
    fn a_flag_is_zero_or_one() {
        assert_eq!(Cursor::new(&[1]).flag("flag"), Ok(true));
        assert_eq!(Cursor::new(&[2]).flag("flag"), Err(DecodeError::Invalid { what: "flag", value: 2 }));
    }
}
