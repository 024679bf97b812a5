//! Numbers and times in JSON bodies, taken as they come and then checked, so that a wrong one is answered with its
//! field, its value and what it may be.

use std::fmt;

use doorbuster_protocol::types::Timestamp;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::problem::{Problem, kinds};
use crate::timestamp;

/// What stands where a number should.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// 0, 1, 2 ...
    Whole(u64),
    /// -1, -2 ...
    Negative(i64),
    /// A number with a fraction or an exponent, or beyond 64 bits.
    Other(f64),
    /// No number at all.
    Not(&'static str),
}

impl Number {
    /// The number, if it is whole and from `least` to `most`.
    ///
    /// # Errors
    /// 422 `invalid_field` that names the field and its limits.
    pub fn within(&self, field: &'static str, least: u64, most: u64) -> Result<u64, Problem> {
        match self {
            Self::Whole(number) if (least..=most).contains(number) => Ok(*number),
            _ => Err(out_of_range(field, self, least.into(), most.into())),
        }
    }

    /// The same for 32 bits.
    ///
    /// # Errors
    /// As [`Self::within`].
    pub fn within_u32(&self, field: &'static str, least: u32, most: u32) -> Result<u32, Problem> {
        let number = self.within(field, least.into(), most.into())?;
        // It is at most `most`, so it fits.
        Ok(u32::try_from(number).unwrap_or(most))
    }

    /// The number, if it is whole and at most `most` away from 0.
    ///
    /// # Errors
    /// As [`Self::within`].
    pub fn within_signed(&self, field: &'static str, most: u32) -> Result<i64, Problem> {
        let most = i64::from(most);
        let number = match self {
            Self::Whole(number) => i64::try_from(*number).ok(),
            Self::Negative(number) => Some(*number),
            _ => None,
        };
        number
            .filter(|number| (-most..=most).contains(number))
            .ok_or_else(|| out_of_range(field, self, (-most).into(), most.into()))
    }
}

fn out_of_range(field: &'static str, found: &Number, least: i128, most: i128) -> Problem {
    // Limits are at most 64 bits wide; JSON numbers carry them.
    let json = |limit: i128| {
        u64::try_from(limit).map_or_else(|_| i64::try_from(limit).unwrap_or(i64::MIN).into(), serde_json::Value::from)
    };
    Problem::new(&kinds::INVALID_FIELD, format!("{field} is {found}: give a whole number from {least} to {most}."))
        .with("field", field)
        .with("minimum", json(least))
        .with("maximum", json(most))
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Negative(number) => number.fmt(f),
            Self::Other(number) => number.fmt(f),
            Self::Not(what) => f.write_str(what),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(u64::try_from(number).map_or(Number::Negative(number), Number::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number::Other(number))
    }

    fn visit_str<E>(self, _: &str) -> Result<Number, E> {
        Ok(Number::Not("a string"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number::Not("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number::Not("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Number, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number::Not("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Number, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number::Not("an object"))
    }
}

/// A time in a body: RFC 3339 text, or milliseconds since 1970 UTC.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub enum Time {
    /// Text.
    Text(String),
    /// Anything else; only a whole number will do.
    Number(Number),
}

impl Time {
    /// The time.
    ///
    /// # Errors
    /// 422 `invalid_field` when it is neither.
    pub fn read(&self, field: &'static str) -> Result<Timestamp, Problem> {
        let time = match self {
            Self::Text(text) => timestamp::parse(text),
            Self::Number(Number::Whole(millis)) => Some(Timestamp(*millis)),
            Self::Number(_) => None,
        };
        let fix = "give RFC 3339 such as 2026-11-27T12:00:00Z, or milliseconds since 1970 UTC";
        time.ok_or_else(|| {
            Problem::new(&kinds::INVALID_FIELD, format!("{field} is no time: {fix}.")).with("field", field)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(json: &str) -> Number {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_whole_numbers_within_the_limits_pass() {
        for (json, expected) in [
            ("1", Some(1)),
            ("10", Some(10)),
            ("0", None),
            ("11", None),
            ("-1", None),
            ("1099511627776", None),
            ("18446744073709551616", None),
            ("1.5", None),
            ("1.0", None),
            ("1e1", None),
            ("\"1\"", None),
            ("true", None),
            ("null", None),
            ("[1]", None),
            ("{\"a\":1}", None),
        ] {
            assert_eq!(number(json).within("quantity", 1, 10).ok(), expected, "{json}");
        }
    }

    #[test]
    fn signed_numbers_have_two_limits() {
        for (json, expected) in
            [("-5", Some(-5)), ("5", Some(5)), ("6", None), ("-6", None), ("0", Some(0)), ("9223372036854775808", None)]
        {
            assert_eq!(number(json).within_signed("delta", 5).ok(), expected, "{json}");
        }
    }

    #[test]
    fn times_are_text_or_milliseconds() {
        let read = |json: &str| serde_json::from_str::<Time>(json).unwrap().read("opens_at").ok();
        assert_eq!(read("\"1970-01-01T00:00:01Z\""), Some(Timestamp(1000)));
        assert_eq!(read("1000"), Some(Timestamp(1000)));
        for bad in ["\"soon\"", "-1", "1.5", "true", "[]"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
