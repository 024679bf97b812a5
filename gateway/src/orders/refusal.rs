//! Whether a database that said no objects to what it was given, or is not able to take anything: the first is parked, the
//! second tried again.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// SQLSTATE classes: data exception, integrity constraint violation, with check option violation.
const CLASSES: [&str; 3] = ["22", "23", "44"];
/// What a trigger or function of the shop's own raises.
const RAISED: &str = "P0001";
/// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT` (what a trigger raises is one), `SQLITE_MISMATCH`.
const PRIMARY_CODES: [i32; 3] = [18, 19, 20];

/// Whether it is the contents that the database objects to.
pub(super) fn is_of_contents(said: &dyn DatabaseError) -> bool {
    if let Some(said) = said.try_downcast_ref::<PgDatabaseError>() {
        return is_postgres_refusal(said.code());
    }
    let Some(code) = said.try_downcast_ref::<SqliteError>().and_then(DatabaseError::code) else { return false };
    code.parse().is_ok_and(is_sqlite_refusal)
}

fn is_postgres_refusal(code: &str) -> bool {
    code == RAISED || CLASSES.iter().any(|class| code.starts_with(class))
}

/// Of an extended code; its low byte is the primary one.
fn is_sqlite_refusal(code: i32) -> bool {
    PRIMARY_CODES.contains(&(code & 0xff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_refused_and_everything_else_is_tried_again() {
        for (code, refused) in [
            ("22001", true),  // a text too long
            ("22003", true),  // a number too large
            ("23502", true),  // not null
            ("23505", true),  // unique
            ("23514", true),  // check
            ("44000", true),  // a view's check option
            ("P0001", true),  // a trigger's RAISE
            ("08006", false), // the connection is gone
            ("25006", false), // read only: a standby
            ("40001", false), // serialization
            ("40P01", false), // deadlock
            ("42P01", false), // no such table
            ("42501", false), // no privilege
            ("53100", false), // disk full
            ("53300", false), // too many connections
            ("55P03", false), // a lock was not to be had in time
            ("57014", false), // cancelled: the statement took too long
            ("57P01", false), // shutting down
            ("57P03", false), // starting up
            ("58030", false), // an I/O error
            ("XX001", false), // data corrupted
        ] {
            assert_eq!(is_postgres_refusal(code), refused, "{code}");
        }
        for (code, refused) in [
            (18, true),
            (275, true),  // check
            (1299, true), // not null
            (1555, true), // primary key
            (1811, true), // a trigger's RAISE
            (2067, true), // unique
            (3091, true), // the datatype of a STRICT column
            (1, false),   // an SQL error: no such table
            (5, false),   // busy
            (261, false), // busy: recovering
            (6, false),   // locked
            (8, false),   // read only
            (10, false),  // an I/O error
            (778, false), // an I/O error: write
            (11, false),  // the file is damaged
            (13, false),  // the disk is full
            (14, false),  // the file cannot be opened
        ] {
            assert_eq!(is_sqlite_refusal(code), refused, "{code}");
        }
    }
}
