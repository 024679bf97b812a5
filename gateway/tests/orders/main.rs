//! The way of orders into real databases: the same bodies over SQLite and over a PostgreSQL of the test's own.
//! Without PostgreSQL's binaries on the machine its half is skipped with a word on standard error.

mod bodies;
mod database;
mod feed;
mod postgres;

macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::bodies::$name(crate::database::Database::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(database) = crate::database::Database::postgres() {
                    crate::bodies::$name(database).await;
                }
            })*
        }
    };
}

on_both! {
    an_order_is_read_as_it_was_written
    nothing_is_stored_twice
    what_does_not_fit_together_is_refused_whole
    refunds_change_the_order
    two_writers_at_once_write_each_order_once
    a_writer_goes_on_behind_what_another_stored
    a_crash_between_commit_and_acknowledgement_is_made_good
    cancelled_at_any_moment_nothing_is_lost_or_doubled
    a_database_that_stops_delays_orders
    a_database_that_is_down_at_the_start_is_waited_for
    a_refused_order_holds_up_only_those_behind_it
    another_clusters_database_is_left_alone
    an_earlier_clusters_database_is_left_alone
}

#[test]
fn addresses_that_cannot_be_used_are_named_without_their_password() {
    for (url, expected) in [
        ("mysql://x", "mysql"),
        ("", "scheme is not known"),
        ("postgres://shop:secret@host:notaport/db", "postgres://..."),
        ("sqlite:x.db?mode=wrong", "sqlite:"),
    ] {
        let error = doorbuster_gateway::orders::OrderStore::open(url).expect_err(url).to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{url}: {error}");
    }
}
