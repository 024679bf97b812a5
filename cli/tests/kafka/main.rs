//! Gateways that publish to Kafka and are killed (`kill -9`) at any moment, while reservations are sold, paid, cancelled and
//! refunded. Server, gateways and payment provider are processes of the real binary; Kafka is the mock cluster of its client, in
//! the process of the test. Needs the feature `kafka`: `cargo test -p doorbuster-cli --features kafka --test kafka`.
//!
//! When is drawn from a seed, which is printed; `KAFKA_SEED` repeats it, as far as processes of a real machine repeat anything.

#[path = "../../../gateway/tests/kafka/broker.rs"]
#[allow(dead_code)]
mod broker;
mod crowd;
#[path = "../../../tests/http.rs"]
mod http;
mod judge;
#[path = "../../../gateway/tests/orders/postgres.rs"]
#[allow(dead_code)]
mod postgres;
mod shop;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::crowd::Crowd;
use crate::shop::{Database, Shop};

/// How often the one gateway is killed.
const KILLS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_on_sqlite() {
    killed_again_and_again(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_on_postgresql() {
    if let Some(database) = Database::postgres() {
        killed_again_and_again(database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_one_is_killed_and_one_is_stopped_for_long_on_sqlite() {
    of_two_one_is_killed_and_one_is_stopped_for_long(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_one_is_killed_and_one_is_stopped_for_long_on_postgresql() {
    if let Some(database) = Database::postgres() {
        of_two_one_is_killed_and_one_is_stopped_for_long(database).await;
    }
}

/// The one gateway that there is, as often as it comes back: while it starts, or once it publishes.
async fn killed_again_and_again(database: Database) {
    let (seed, mut rng) = dice();
    let mut shop = Shop::open(database, 1).await;
    let crowd = Crowd::gather(&shop, seed);
    let mut waited = 0;
    for kill in 0..KILLS {
        shop.brokers_answer_after(Duration::from_millis(rng.random_range(0..60)));
        if kill > 0 {
            shop.fronts[0].start_again().expect("the gateway starts again");
        }
        let a_moment = if rng.random_bool(0.3) {
            rng.random_range(0..800)
        } else {
            shop.something_is_published().await;
            rng.random_range(0..500)
        };
        tokio::time::sleep(Duration::from_millis(a_moment)).await;
        shop.fronts[0].kill().expect("the gateway is ours");
        waited += shop.waiting().await.events;
        // Else nobody publishes for ten seconds. Nothing rests on claims.
        shop.forget_claims().await;
    }
    assert!(waited > 0, "whenever it was killed, it had nothing to do");
    shop.fronts[0].start_again().expect("the gateway starts again");
    let bought = crowd.goes_home().await;
    judge::everything_was_told(&mut shop, &bought).await;
}

/// The one that publishes is stopped in its tracks, so that the other takes over, and goes on with what it was at; then the other
/// one is killed.
async fn of_two_one_is_killed_and_one_is_stopped_for_long(database: Database) {
    let (seed, mut rng) = dice();
    let mut shop = Shop::open(database, 2).await;
    let crowd = Crowd::gather(&shop, seed);
    shop.brokers_answer_after(Duration::from_millis(rng.random_range(0..60)));
    let one = shop.who_publishes().await;
    let other = 1 - one;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
    shop.stop(one).await;
    shop.publishes(other).await;
    shop.fronts[one].unfreeze().expect("the gateway is ours");

    // What it had handed over before, it delivers now.
    tokio::time::sleep(Duration::from_millis(rng.random_range(500..1000))).await;
    shop.fronts[other].kill().expect("the gateway is ours");
    shop.publishes(one).await;
    shop.fronts[other].start_again().expect("the gateway starts again");
    let bought = crowd.goes_home().await;
    judge::everything_was_told(&mut shop, &bought).await;
}

fn dice() -> (u64, StdRng) {
    let given = std::env::var("KAFKA_SEED").ok().map(|text| text.parse().expect("KAFKA_SEED is a number"));
    let seed = given.unwrap_or_else(doorbuster_cli::entropy::number);
    eprintln!("KAFKA_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}
