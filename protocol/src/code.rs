//! Stable numbers and names of everything that can be in the way of a request, and what its caller may do.
//! Numbers and names are never reused or changed: they stand in other people's programs.

use std::fmt;

use crate::types::Millis;

/// Stable number of a [`Failure`](crate::failure::Failure) or [`Refusal`](crate::failure::Refusal), as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

/// What is fixed about a code.
struct Row {
    code: Code,
    name: &'static str,
    retryable: bool,
    same_id: bool,
    /// In milliseconds.
    after: Option<u64>,
}

const fn row(code: Code, name: &'static str, advice: Advice) -> Row {
    let (retryable, same_id, after) = match advice {
        Advice::Final => (false, false, None),
        Advice::Later => (true, false, None),
        Advice::After(millis) => (true, false, Some(millis)),
        Advice::SameIdAfter(millis) => (true, true, Some(millis)),
    };
    Row { code, name, retryable, same_id, after }
}

/// What a caller may do.
#[derive(Clone, Copy)]
enum Advice {
    /// The same request will not succeed, unless somebody changes something.
    Final,
    /// It may succeed later; the answer says when, or nobody knows.
    Later,
    /// It may succeed after so many milliseconds.
    After(u64),
    /// Likewise, but the first attempt may have had its effect: only the same id is safe.
    SameIdAfter(u64),
}

/// Every code, by number. The inventory's refusals are below 64, the servers' failures from there on.
const TABLE: [Row; 38] = {
    use Advice::{After, Final, Later, SameIdAfter};
    [
        row(Code::SOLD_OUT, "sold_out", Final),
        row(Code::ALL_HELD, "all_held", Later),
        row(Code::INSUFFICIENT_STOCK, "insufficient_stock", Later),
        row(Code::LIMIT_REACHED, "limit_reached", Final),
        row(Code::QUANTITY_TOO_LARGE, "quantity_too_large", Final),
        row(Code::NOT_OPEN, "not_open", Later),
        row(Code::CLOSED, "closed", Final),
        row(Code::PAUSED, "paused", After(1000)),
        row(Code::UNKNOWN_PRODUCT, "unknown_product", Final),
        row(Code::UNKNOWN_RESERVATION, "unknown_reservation", Final),
        row(Code::CONFLICTING_RETRY, "conflicting_retry", Final),
        row(Code::RESERVATION_EXPIRED, "reservation_expired", Final),
        row(Code::RESERVATION_RELEASED, "reservation_released", Final),
        row(Code::ALREADY_CONFIRMED, "already_confirmed", Final),
        row(Code::PAYMENT_IN_PROGRESS, "payment_in_progress", After(1000)),
        row(Code::PAYMENT_NOT_IN_PROGRESS, "payment_not_in_progress", Final),
        row(Code::REFUNDING, "refunding", Final),
        row(Code::NO_REFUND_DUE, "no_refund_due", Final),
        row(Code::LIFE_LIMIT_REACHED, "life_limit_reached", Final),
        row(Code::STOCK_BELOW_COMMITTED, "stock_below_committed", Final),
        row(Code::STOCK_MISMATCH, "stock_mismatch", Final),
        row(Code::STOCK_TOO_LARGE, "stock_too_large", Final),
        row(Code::PRODUCT_EXISTS, "product_exists", Final),
        row(Code::CAPACITY_REACHED, "capacity_reached", After(60_000)),
        row(Code::INVALID_ARGUMENT, "invalid_argument", Final),
        row(Code::FEED_POSITION_UNKNOWN, "feed_position_unknown", Final),
        row(Code::NOT_CONFIRMED, "not_confirmed", Final),
        row(Code::RESERVATION_CANCELLED, "reservation_cancelled", Final),
        row(Code::NOT_LEADER, "not_leader", After(50)),
        row(Code::BUSY, "busy", After(50)),
        row(Code::OUTCOME_UNKNOWN, "outcome_unknown", SameIdAfter(50)),
        row(Code::WAITED_TOO_LONG, "waited_too_long", After(50)),
        row(Code::SHUTTING_DOWN, "shutting_down", After(50)),
        row(Code::DIVERGED, "diverged", After(50)),
        row(Code::MALFORMED, "malformed", Final),
        row(Code::UNAUTHORIZED, "unauthorized", Final),
        row(Code::WRONG_CLUSTER, "wrong_cluster", Final),
        row(Code::UNSUPPORTED_VERSION, "unsupported_version", Final),
    ]
};

const _: () = {
    let mut i = 1;
    while i < TABLE.len() {
        assert!(TABLE[i - 1].code.0 < TABLE[i].code.0);
        i += 1;
    }
};

#[allow(missing_docs)] // each is explained at the variant of `Refusal` or `Failure` of that name
impl Code {
    pub const SOLD_OUT: Self = Self(1);
    pub const ALL_HELD: Self = Self(2);
    pub const INSUFFICIENT_STOCK: Self = Self(3);
    pub const LIMIT_REACHED: Self = Self(4);
    pub const QUANTITY_TOO_LARGE: Self = Self(5);
    pub const NOT_OPEN: Self = Self(6);
    pub const CLOSED: Self = Self(7);
    pub const PAUSED: Self = Self(8);
    pub const UNKNOWN_PRODUCT: Self = Self(9);
    pub const UNKNOWN_RESERVATION: Self = Self(10);
    pub const CONFLICTING_RETRY: Self = Self(11);
    pub const RESERVATION_EXPIRED: Self = Self(12);
    pub const RESERVATION_RELEASED: Self = Self(13);
    pub const ALREADY_CONFIRMED: Self = Self(14);
    pub const PAYMENT_IN_PROGRESS: Self = Self(15);
    pub const PAYMENT_NOT_IN_PROGRESS: Self = Self(16);
    pub const REFUNDING: Self = Self(17);
    pub const NO_REFUND_DUE: Self = Self(18);
    pub const LIFE_LIMIT_REACHED: Self = Self(19);
    pub const STOCK_BELOW_COMMITTED: Self = Self(20);
    pub const STOCK_MISMATCH: Self = Self(21);
    pub const STOCK_TOO_LARGE: Self = Self(22);
    pub const PRODUCT_EXISTS: Self = Self(23);
    pub const CAPACITY_REACHED: Self = Self(24);
    pub const INVALID_ARGUMENT: Self = Self(25);
    pub const FEED_POSITION_UNKNOWN: Self = Self(26);
    pub const NOT_CONFIRMED: Self = Self(27);
    pub const RESERVATION_CANCELLED: Self = Self(28);
    pub const NOT_LEADER: Self = Self(64);
    pub const BUSY: Self = Self(65);
    pub const OUTCOME_UNKNOWN: Self = Self(66);
    pub const WAITED_TOO_LONG: Self = Self(67);
    pub const SHUTTING_DOWN: Self = Self(68);
    pub const DIVERGED: Self = Self(69);
    pub const MALFORMED: Self = Self(70);
    pub const UNAUTHORIZED: Self = Self(71);
    pub const WRONG_CLUSTER: Self = Self(72);
    pub const UNSUPPORTED_VERSION: Self = Self(73);
}

impl Code {
    /// The code of that number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::all().find(|code| code.0 == number)
    }

    /// Every code, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.code)
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its stable name, e.g. `sold_out`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether the same request may succeed later, on this node or another.
    #[must_use]
    pub const fn retryable(self) -> bool {
        self.row().retryable
    }

    /// Whether a retry must carry the same id, because this attempt may have had its effect. With every
    /// other code nothing changed, and the same id is as good as a new one.
    #[must_use]
    pub const fn same_id(self) -> bool {
        self.row().same_id
    }

    /// How long to wait before a retry, where nothing else says; `None` if retrying is of no use or if
    /// the answer itself tells when.
    #[must_use]
    pub const fn retry_after(self) -> Option<Millis> {
        match self.row().after {
            Some(millis) => Some(Millis(millis)),
            None => None,
        }
    }

    const fn row(self) -> &'static Row {
        let mut i = 0;
        while TABLE[i].code.0 != self.0 {
            i += 1; // ends before the table does: codes are made from the constants above only
        }
        &TABLE[i]
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_find_each_other() {
        for code in Code::all() {
            assert_eq!(Code::from_number(code.number()), Some(code));
            assert_eq!(Code::all().filter(|other| other.name() == code.name()).count(), 1, "{code}");
        }
        assert_eq!(Code::from_number(0), None, "0 stands for success on the wire");
    }

    #[test]
    fn only_an_unknown_outcome_needs_the_same_id() {
        let bound: Vec<Code> = Code::all().filter(|code| code.same_id()).collect();
        assert_eq!(bound, [Code::OUTCOME_UNKNOWN]);
        assert!(Code::all().all(|code| code.retry_after().is_none() || code.retryable()));
    }
}
