//! Identifiers, amounts and times. Each has its own type, so that mixing them up does not compile.

use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit!(
    /// A product, chosen by whoever creates it. Never 0.
    ProductId(u64)
);
unit!(
    /// A user. Over HTTP it is derived from the token's subject. 0 stands for "any user" where a
    /// request on a reservation does not want the owner checked, and is refused by reserve.
    UserId(u128)
);
unit!(
    /// A reservation, chosen by the caller; it *is* the idempotency key of the reserve. Never 0.
    ReservationId(u128)
);
unit!(
    /// Idempotency key of a command that has no reservation or product of its own to be known by:
    /// extend, adjust, set stock, pause, resume, close. Never 0.
    OperationId(u128)
);
unit!(
    /// Units of a product.
    Quantity(u32)
);
unit!(
    /// A duration in milliseconds.
    Millis(u64)
);
unit!(
    /// Cluster time: UTC milliseconds since 1970. 0 stands for "never" or "not set" where a field says so.
    Timestamp(u64)
);
unit!(
    /// A server process of the cluster, 1-based.
    NodeId(u16)
);
unit!(
    /// A Raft group and its inventory, 0-based.
    ShardId(u16)
);
unit!(
    /// Position in a shard's replicated log.
    LogIndex(u64)
);
unit!(
    /// Position in a shard's order feed: 1, 2, 3 ... without gaps. 0 is "before the first".
    FeedPosition(u64)
);
unit!(
    /// A request on one connection, chosen by the client; its reply carries it back.
    RequestId(u64)
);
unit!(
    /// Digest of a shard's whole state; equal on every replica at an equal log index.
    StateHash(u64)
);

impl Timestamp {
    /// This time moved later.
    #[must_use]
    pub const fn plus(self, by: Millis) -> Self {
        Self(self.0.saturating_add(by.0))
    }

    /// How long from `earlier` until this time; zero if it is already past.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// ISO 4217 currency code, three upper-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(pub [u8; 3]);

impl Currency {
    /// Parses three ASCII letters in upper case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// An amount of money in the currency's minor unit (cents, pence, yen).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// Amount in minor units.
    pub minor: u64,
    /// Its currency.
    pub currency: Currency,
}

/// The shard that a product lives on: the finalizer of splitmix64 over the product id, modulo the
/// number of shards. Part of the wire protocol.
#[must_use]
pub const fn shard_of(product: ProductId, shards: u16) -> ShardId {
    let mut z = product.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    #[allow(clippy::cast_possible_truncation)] // a remainder below a u16 fits a u16
    ShardId((z % shards as u64) as u16)
}
