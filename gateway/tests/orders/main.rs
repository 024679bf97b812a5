//! The way of orders into real databases: the same bodies over SQLite and over a PostgreSQL of the test's own.
//! Without PostgreSQL's binaries on the machine its half is skipped with a word on standard error.

mod bodies;
mod cancelled;
mod database;
mod events;
mod feed;
mod money;
mod outgoing;
mod parked;
mod postgres;

macro_rules! on_both {
    ($($bodies:ident { $($name:ident)* })*) => {
        mod on_sqlite {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::$bodies::$name(crate::database::Database::sqlite()).await;
            })*)*
        }
        mod on_postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(database) = crate::database::Database::postgres() {
                    crate::$bodies::$name(database).await;
                }
            })*)*
        }
    };
}

on_both! { bodies {
    an_order_is_read_as_it_was_written
    nothing_is_stored_twice
    a_gap_is_refused_whole
    refunds_change_the_order
    two_writers_at_once_write_each_order_once
    a_writer_goes_on_behind_what_another_stored
    a_crash_between_commit_and_acknowledgement_is_made_good
    cancelled_at_any_moment_nothing_is_lost_or_doubled
    a_database_that_stops_delays_orders
    a_database_that_is_down_at_the_start_is_waited_for
    another_clusters_database_is_left_alone
    an_earlier_clusters_database_is_left_alone
} parked {
    one_poison_row_among_a_hundred_is_parked_and_put_back
    contents_that_no_column_takes_are_parked
    a_reservation_that_is_another_order_is_parked
    entries_of_a_reservation_stay_in_order
    batches_of_nothing_but_poison_are_parked
    dropped_between_any_two_steps_it_is_an_order_or_parked
    a_retry_dropped_between_any_two_steps_makes_one_order
    retries_and_writers_at_once_store_each_order_once
    what_is_parked_and_not_acknowledged_is_recognised
    what_cannot_even_be_parked_holds_up_only_those_behind_it
} events {
    an_event_is_there_once_and_open_until_it_is_processed
    one_of_many_deliveries_at_once_is_the_first
    old_events_are_forgotten_in_batches
    an_event_is_not_there_while_the_database_is_down
} money {
    every_order_has_its_payment_and_a_refund_if_one_is_due
    orders_of_before_get_their_payments
    the_schema_refuses_what_must_never_be
    an_order_whose_payment_is_refused_is_parked_whole
} cancelled {
    orders_are_marked_in_one_batch_or_in_many
    a_writer_brings_them_through_the_feed
    what_is_not_sold_is_not_cancelled_twice_or_undone
    a_cancellation_waits_behind_its_parked_order
    orders_of_before_are_kept_and_can_be_cancelled
} outgoing {
    entries_wait_once_somebody_publishes
    what_is_parked_is_published
    an_order_and_its_event_are_stored_together_or_neither
    publishing_begins_beside_a_writer
    one_publishes_at_a_time
} }

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_would_refuse_at_the_commit_is_parked() {
    if let Some(database) = database::Database::postgres() {
        parked::what_would_be_refused_at_the_commit_is_parked(database).await;
    }
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
