//! How ids, durations and times are written at a terminal. Each parser says what it wanted.

use doorbuster_gateway::ids;
use doorbuster_protocol::limits::RETENTION;
use doorbuster_protocol::types::{Millis, ProductId, ReservationId, Timestamp, UserId};

/// A reservation as people and HTTP write it: the product's id, a dash, 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationName {
    /// The reservation's product, which leads to its shard.
    pub product: ProductId,
    /// The reservation.
    pub reservation: ReservationId,
}

/// Writes a reservation the way [`parse_reservation`] reads it.
#[must_use]
pub fn reservation_text(product: ProductId, reservation: ReservationId) -> String {
    format!("{product}-{:032x}", reservation.0)
}

/// Reads `7-00000000000000000000000000000001`.
pub fn parse_reservation(text: &str) -> Result<ReservationName, String> {
    let wanted = || {
        format!("'{text}' is no reservation: wanted PRODUCT-ID with 32 hex digits, as `doorbuster reserve` prints it")
    };
    let (product, reservation) = text.split_once('-').ok_or_else(wanted)?;
    let product = parse_product(product).map_err(|_| wanted())?;
    let reservation = parse_hex(reservation).ok_or_else(wanted)?;
    Ok(ReservationName { product, reservation: ReservationId(reservation) })
}

/// Reads a bare reservation id of up to 32 hex digits, as `--id` takes it.
pub fn parse_reservation_id(text: &str) -> Result<ReservationId, String> {
    parse_hex(text).map(ReservationId).ok_or_else(|| format!("'{text}' is no id: wanted 1 to 32 hex digits, not all 0"))
}

/// Reads a product's id: a whole number, not 0.
pub fn parse_product(text: &str) -> Result<ProductId, String> {
    match text.parse::<u64>() {
        Ok(id) if id > 0 => Ok(ProductId(id)),
        _ => Err(format!("'{text}' is no product id: wanted a whole number from 1 to {}", u64::MAX)),
    }
}

/// Reads a user: `id:` and 32 hex digits, or a name, which becomes the id that the gateway derives for
/// a token with this `sub`.
pub fn parse_user(text: &str) -> Result<UserId, String> {
    match text.strip_prefix("id:") {
        Some(hex) => parse_hex(hex)
            .map(UserId)
            .ok_or_else(|| format!("'{text}' is no user: wanted id: and 1 to 32 hex digits, not all 0")),
        None if text.is_empty() => Err("a user's name cannot be empty".to_owned()),
        None => Ok(ids::user(text)),
    }
}

fn parse_hex(text: &str) -> Option<u128> {
    let plain = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(text, 16).ok()).flatten().filter(|id| *id > 0)
}

/// Reads `250ms`, `30s`, `10m`, `2h`, `7d`. The unit is never left out.
pub fn parse_duration(text: &str) -> Result<Millis, String> {
    let wanted = || format!("'{text}' is no duration: wanted a whole number and a unit of ms, s, m, h or d, as in 90s");
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wanted)?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(wanted()),
    };
    let number: u64 = number.parse().map_err(|_| wanted())?;
    number.checked_mul(scale).map(Millis).ok_or_else(|| format!("'{text}' is longer than can be counted"))
}

/// Writes a duration in the largest unit that leaves it whole or short: `1.5s`, `2m`, `3h 20m`.
#[must_use]
pub fn duration_text(duration: Millis) -> String {
    let ms = duration.0;
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => two_units(ms / 60_000, "m", ms % 60_000 / 1000, "s"),
        _ if duration < RETENTION => two_units(ms / 3_600_000, "h", ms % 3_600_000 / 60_000, "m"),
        _ => two_units(ms / 86_400_000, "d", ms % 86_400_000 / 3_600_000, "h"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit} {small}{small_unit}") }
}

/// When something shall be: an instant, or so long from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(Timestamp),
    /// So long from now.
    In(Millis),
}

impl When {
    /// The instant it means at `now`.
    #[must_use]
    pub const fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(delay) => now.plus(delay),
        }
    }
}

/// Reads `2026-11-27T12:00:00Z`, the same with `.250`, UTC milliseconds since 1970, or `+10m`.
pub fn parse_when(text: &str) -> Result<When, String> {
    if let Some(delay) = text.strip_prefix('+') {
        return parse_duration(delay).map(When::In);
    }
    if text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map(|ms| When::At(Timestamp(ms)))
            .map_err(|_| format!("'{text}' is too far in the future"));
    }
    parse_utc(text).map(When::At).ok_or_else(|| {
        format!("'{text}' is no time: wanted 2026-11-27T12:00:00Z (UTC), milliseconds since 1970, or +10m")
    })
}

/// Since when something counts: an instant, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Since this time.
    At(Timestamp),
    /// Since so long ago.
    Ago(Millis),
}

impl Since {
    /// The instant it means at `now`.
    #[must_use]
    pub const fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(time) => Timestamp(now.0.saturating_sub(time.0)),
        }
    }
}

/// Reads `36h`, `2026-11-27T12:00:00Z`, or UTC milliseconds since 1970.
pub fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(duration) = parse_duration(text) {
        return Ok(Since::Ago(duration));
    }
    match parse_when(text) {
        Ok(When::At(time)) => Ok(Since::At(time)),
        _ => {
            Err(format!("'{text}' is no time that has been: wanted 2026-11-27T12:00:00Z (UTC), or 36h for so long ago"))
        }
    }
}

fn parse_utc(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let in_range =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    if !in_range || day < 1 || day > days_in_month(year, month) || fraction.len() > 3 {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").parse().ok()?;
    let seconds = ((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp(seconds * 1000 + millis))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Vec<u64> = text
        .split(separator)
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| days_in_month(year, month)).sum();
    years + months + day - 1
}

/// Writes a time as `2026-11-27T12:00:00.000Z`, and 0 as `-`.
#[must_use]
pub fn time_text(time: Timestamp) -> String {
    if time.0 == 0 {
        return "-".to_owned();
    }
    let (days, ms) = (time.0 / 86_400_000, time.0 % 86_400_000);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// Year, month and day of so many days after 1970-01-01.
fn date_of(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    // 400 years have 146,097 days: a time far off costs no more steps than a near one.
    year += days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= days_in_month(year, month) {
        days -= days_in_month(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_read_back() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(parse_duration(text), Ok(Millis(ms)), "{text}");
            assert_eq!(duration_text(Millis(ms)), text);
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(duration_text(Millis(1_500)), "1.5s");
        assert_eq!(duration_text(Millis(12_000_000)), "3h 20m");
    }

    #[test]
    fn times_read_and_write_the_same_instant() {
        let known = [
            ("1970-01-01T00:00:00.001Z", 1),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-27T12:00:00.000Z", 1_795_780_800_000),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
        ];
        for (text, ms) in known {
            assert_eq!(parse_when(text), Ok(When::At(Timestamp(ms))), "{text}");
            assert_eq!(time_text(Timestamp(ms)), text);
        }
        assert_eq!(parse_when("+2s").map(|when| when.at(Timestamp(500))), Ok(Timestamp(2500)));
        assert_eq!(parse_when("1795780800000"), Ok(When::At(Timestamp(1_795_780_800_000))));
        for text in
            ["tomorrow", "2026-11-27", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-27T24:00:00Z", "+5"]
        {
            assert!(parse_when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_been_is_a_time_or_so_long_ago() {
        let now = Timestamp(1_795_780_800_000);
        for (text, expected) in [
            ("2026-11-27T11:00:00Z", 1_795_777_200_000),
            ("1h", 1_795_777_200_000),
            ("1795777200000", 1_795_777_200_000),
            ("99999d", 0),
        ] {
            assert_eq!(parse_since(text).map(|since| since.at(now)), Ok(Timestamp(expected)), "{text}");
        }
        for text in ["+1h", "yesterday", "", "17"] {
            assert!(parse_since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reservations_and_ids_read_back_and_strangers_are_refused() {
        let text = reservation_text(ProductId(7), ReservationId(0xabc));
        assert_eq!(text, "7-00000000000000000000000000000abc");
        assert_eq!(
            parse_reservation(&text),
            Ok(ReservationName { product: ProductId(7), reservation: ReservationId(0xabc) })
        );
        for text in ["7", "7-", "-1", "0-1", "7-0", "7-xyz", "7-+1", "7-100000000000000000000000000000000"] {
            assert!(parse_reservation(text).is_err(), "{text}");
        }
        assert_eq!(parse_user("id:ff"), Ok(UserId(255)));
        assert!(parse_user("").is_err());
        assert_ne!(parse_user("alice"), parse_user("bob"));
    }
}
