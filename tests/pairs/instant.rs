//! The confirm and the expiry in the same millisecond: a unit is paid for at the very end of its reservation, while somebody else
//! tries to reserve it. One of the two has it, and whoever paid for nothing has the money back.

use doorbuster_gateway::orders::OrderStore;
use doorbuster_protocol::command::LatePaymentPolicy::RetakeOrRefund;
use doorbuster_protocol::types::{Millis, NodeId};
use doorbuster_tests::http::{WITHIN, until};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::shop::{LONG, Plan, Shop, id};
use crate::shopper::Shopper;

/// How long a payment is waited for.
const LIFE: Millis = Millis(700);
/// Pairs at once; each has a product of its own, with one unit.
const PAIRS: u64 = 8;
/// The provider's answers are spread over so many milliseconds.
const SPREAD: i64 = 16;
/// So many must have been sold, and so many not, within [`CLOSE`] of the deadline.
const WANTED: usize = 4;
/// In milliseconds of cluster time.
const CLOSE: i64 = 25;
const MOST_ROUNDS: u64 = 40;
/// The server.
const NODE: NodeId = NodeId(1);

/// How a pair ended.
struct Met {
    buyer: (Shopper, String),
    /// When the money was known to the cluster, after the deadline; negative: before it.
    after: i64,
    /// Somebody else has the unit.
    is_lost: bool,
}

/// The server is stopped in its tracks before the deadline, and goes on behind it: cluster time passes the deadline in one step,
/// in which the confirm, the expiry and the rival's reserve are all waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirm_and_expiry_in_the_same_millisecond() {
    let Some(shop) = Shop::open(Plan { sweep_after_ms: 0, ..Plan::default() }).await else { return };
    shop.provider.faults(&json!({ "min_latency_ms": 400, "max_latency_ms": 400 })).await;
    let (mut bought, mut apart) = (Vec::new(), Vec::new());
    for round in 0..MOST_ROUNDS {
        apart.push(one_step(&shop, round, &mut bought).await);
        if apart.last() == Some(&0) {
            break;
        }
    }
    eprintln!("milliseconds between the confirms and the expiry: {apart:?}");
    assert!(apart.contains(&0), "never in the same millisecond: {apart:?}");
    shop.agree(&bought).await;
}

/// One round of it. How far apart in cluster time confirms were heard and what was due expired, in milliseconds.
async fn one_step(shop: &Shop, round: u64, bought: &mut Vec<(Shopper, String)>) -> u64 {
    let [wanted, free, plenty] = [1, 2, 3].map(|number| 10 * round + number);
    for (product, stock) in [(wanted, 1), (free, 1), (plenty, 10)] {
        shop.product(product, stock, LIFE, RetakeOrRefund).await;
    }
    // The rival wants alice's unit; nobody wants bob's. Carol's payment has time, and tells when confirms are heard; dave does not
    // pay, and tells when what is due expires.
    let [alice, bob, carol, dave, rival] =
        ["alice", "bob", "carol", "dave", "rival"].map(|name| shop.shopper(&format!("{name}{round}")));
    let first = alice.reserve(wanted, LIFE).await;
    let second = bob.reserve(free, LIFE).await;
    let third = carol.reserve(plenty, LONG).await;
    let idle = dave.reserve(plenty, LIFE).await;
    for (shopper, path) in [(&alice, &first), (&bob, &second), (&carol, &third)] {
        shopper.pay(path).await;
    }
    shop.cluster.freeze(NODE).expect("it runs");
    let asked = tokio::spawn(async move { rival.try_reserve(wanted, LONG).await });
    tokio::time::sleep(Duration::from_millis(LIFE.0 + 300)).await;
    let charges = shop.provider.all("charges").await;
    assert_eq!(charges.len() as u64, 3 * (round + 1), "all are paid, and the server has not heard it");
    shop.cluster.unfreeze(NODE).expect("it is ours");

    let had = asked.await.expect("it is answered");
    alice.sees(&first, &["confirmed", "refunded"]).await;
    bob.sees(&second, &["confirmed"]).await;
    carol.sees(&third, &["confirmed"]).await;
    dave.sees(&idle, &["expired"]).await;
    let [first_view, second_view] = [shop.view(&first).await, shop.view(&second).await];
    // Expiry comes first in that millisecond: the unit is free, for the rival or for alice's late money, whoever is heard first.
    assert!(first_view.late && second_view.late, "{first_view:?} {second_view:?}");
    assert_eq!(had.status == 201, first_view.state.name() == "refunded", "{had:?} {first_view:?}");
    let (heard, expired) = (shop.view(&third).await.changed_at, shop.view(&idle).await.changed_at);
    assert!(heard >= second_view.expires_at, "the confirms waited until the deadline had passed");
    bought.extend([(alice, first), (bob, second), (carol, third)]);
    heard.0.abs_diff(expired.0)
}

/// One after the other, before the deadline and behind it, by the clock alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirms_around_the_expiry() {
    let Some(shop) = Shop::open(Plan::default()).await else { return };
    let (mut met, mut aim) = (Vec::new(), LIFE.0.cast_signed() - 30);
    let (mut sold, mut gone) = (0, 0);
    for round in 0..MOST_ROUNDS {
        let faults = json!({ "seed": round, "min_latency_ms": aim - SPREAD / 2, "max_latency_ms": aim + SPREAD / 2 });
        shop.provider.faults(&faults).await;
        let these = pairs(&shop, round).await;
        let mut offsets: Vec<i64> = these.iter().map(|met| met.after).collect();
        offsets.sort_unstable();
        eprintln!("round {round}, aim {aim}: {offsets:?}");
        sold += offsets.iter().filter(|after| (-CLOSE..0).contains(*after)).count();
        gone += these.iter().filter(|met| met.is_lost && met.after <= CLOSE).count();
        aim -= offsets[offsets.len() / 2].clamp(-60, 60);
        met.extend(these);
        if sold >= WANTED && gone >= WANTED {
            break;
        }
    }
    assert!(sold >= WANTED && gone >= WANTED, "{sold} sold just in time, {gone} just too late");
    let bought: Vec<_> = met.iter().map(|met| met.buyer.clone()).collect();
    let ends = shop.agree(&bought).await;
    let lost = met.iter().filter(|met| met.is_lost).count();
    assert_eq!(ends.get("refunded"), Some(&lost), "who does not have the unit has the money: {ends:?}");
    let store = OrderStore::open(&shop.database()).expect("it has a database");
    for Met { buyer: (_, path), after, .. } in &met {
        let order = store.order(id(path).1).await.expect("it is up").expect("agreed upon");
        assert_eq!(order.late, *after >= 0, "{path}: {after} ms after its deadline; at it, it has expired");
    }
}

/// One round of pairs.
async fn pairs(shop: &Shop, round: u64) -> Vec<Met> {
    let mut pairs = JoinSet::new();
    let mut bought = Vec::new();
    for product in (1..=PAIRS).map(|number| round * PAIRS + number) {
        shop.product(product, 1, LIFE, RetakeOrRefund).await;
        let (buyer, rival) = (shop.shopper(&format!("buyer{product}")), shop.shopper(&format!("rival{product}")));
        pairs.spawn(async move {
            let path = buyer.reserve(product, LIFE).await;
            let start = Instant::now();
            buyer.pay(&path).await;
            tokio::time::sleep_until(start + Duration::from_millis(LIFE.0 - 20)).await;
            (product, buyer, path, tries(&rival, product).await)
        });
    }
    for (product, buyer, path, is_lost) in pairs.join_all().await {
        buyer.sees(&path, &["confirmed", "refunded"]).await;
        let view = shop.view(&path).await;
        assert_eq!(view.state.name() == "refunded", is_lost, "{path}: {view:?}");
        let (sold, held) = if is_lost { (0, 1) } else { (1, 0) };
        assert_eq!(shop.units(product).await, [0, held, sold], "{path}: one unit, one owner");
        bought.push((buyer, path, is_lost, view.expires_at));
    }
    let store = OrderStore::open(&shop.database()).expect("it has a database");
    let mut met = Vec::new();
    for (shopper, path, is_lost, deadline) in bought {
        let known = known_at(&store, &path).await;
        let after = known.cast_signed() - deadline.0.cast_signed();
        met.push(Met { buyer: (shopper, path), after, is_lost });
    }
    met
}

/// Whether the rival gets the unit before it is sold.
async fn tries(rival: &Shopper, product: u64) -> bool {
    let trying = async {
        loop {
            let answer = rival.try_reserve(product, LONG).await;
            match (answer.status, answer.body["code"].as_str()) {
                (201, _) => return true,
                (409, Some("sold_out")) => return false,
                (409, Some("all_held")) => tokio::time::sleep(Duration::from_millis(4)).await,
                _ => panic!("{answer:?}"),
            }
        }
    };
    tokio::time::timeout(WITHIN, trying).await.expect("one of the two gets it")
}

/// When the cluster knew of the money, once it is in the books.
async fn known_at(store: &OrderStore, path: &str) -> u64 {
    let mut at = None;
    until("it is ordered", WITHIN, async || {
        at = store.order(id(path).1).await.expect("it is up").map(|order| order.created_at.0);
        at.is_some()
    })
    .await;
    at.expect("it was found")
}
