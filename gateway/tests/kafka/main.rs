//! Events on their way into Kafka: real order databases, the Kafka client, and the mock cluster that comes with it, which
//! speaks the protocol on loopback sockets. Needs the feature `kafka`:
//! `cargo test -p doorbuster-gateway --features kafka --test kafka`.

#[allow(dead_code)]
#[path = "../http/agent.rs"]
mod agent;
mod bodies;
mod broker;
#[allow(dead_code)]
#[path = "../http/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../orders/database.rs"]
mod database;
mod failures;
#[allow(dead_code)]
#[path = "../orders/feed.rs"]
mod feed;
mod gateway;
#[path = "../orders/postgres.rs"]
mod postgres;
mod properties;
mod shop;
#[path = "../http/specification.rs"]
mod specification;

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
    every_event_arrives_once_keyed_by_product_and_in_order
    of_two_gateways_one_publishes_and_the_other_goes_on
} failures {
    while_kafka_is_down_orders_go_on_and_events_arrive_afterwards
    killed_before_the_position_moved_the_next_one_repeats
    while_the_database_is_down_nothing_is_sent_twice
} }
