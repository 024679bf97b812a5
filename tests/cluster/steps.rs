//! A gateway's process ends right before each step of a payment, in every kind of payment; the next gateway on the same
//! cluster, database and provider brings it to its end. The steps come from the saga's own list, so that none is forgotten.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::Process;
use doorbuster_gateway::payment::{STEPS, Step};
use doorbuster_gateway::webhooks::signature::Secrets;
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Target};
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::{Millis, ProductId, ReservationId, Timestamp};
use doorbuster_tests::binary::{binary, ending_before};
use doorbuster_tests::http::{Answer, ask};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use toml::Table;

use crate::sale::{Sale, product};

/// A payment must have come to its end after this.
const WITHIN: Duration = Duration::from_secs(30);
const ORDER: &str = "SELECT state, cancel_reason FROM orders WHERE reservation = ?1";
const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

/// A kind of payment.
#[derive(Clone, Copy)]
struct Scenario {
    /// What the provider does.
    provider: &'static [&'static str],
    card: &'static str,
    /// What the reservation has: a time to live, and a time to pay.
    life_ms: u64,
    /// A gateway has ended right before this step already.
    after_end_before: Option<Step>,
    /// The second gateway is told by the provider, and looks for nothing by itself.
    told: bool,
    /// Its customer cancels it once it is sold.
    cancelled: bool,
    end: End,
}

/// How a payment ends.
#[derive(Clone, Copy)]
struct End {
    /// What the reservation may be.
    states: &'static [ReservationState],
    /// What the provider says of its one charge.
    charge: &'static str,
    /// What the database has of it.
    order: Option<&'static str>,
}

const SOLD: End = End { states: &[ReservationState::Confirmed], charge: "succeeded", order: Some("confirmed") };
const NOT_PAID: End =
    End { states: &[ReservationState::Held, ReservationState::Expired], charge: "declined", order: None };
const GIVEN_BACK: End = End { states: &[ReservationState::Refunded], charge: "refunded", order: Some("refunded") };

const SUCCESS: Scenario = Scenario {
    provider: &[],
    card: "tok_visa",
    life_ms: 60_000,
    after_end_before: None,
    told: false,
    cancelled: false,
    end: SOLD,
};
const DECLINE: Scenario = Scenario { card: "tok_declined", end: NOT_PAID, ..SUCCESS };
const UNKNOWN: Scenario = Scenario { provider: &["--lost-after-rate", "1"], ..SUCCESS };
const LATE: Scenario =
    Scenario { provider: &["--late-rate", "1", "--late-ms", "2200"], life_ms: 1500, end: GIVEN_BACK, ..SUCCESS };
const NEVER_CHARGED: Scenario = Scenario { after_end_before: Some(Step::Charge), ..SUCCESS };
const TOLD: Scenario = Scenario { after_end_before: Some(Step::Confirm), told: true, ..SUCCESS };

const CANCELLED: Scenario = Scenario { cancelled: true, end: GIVEN_BACK, ..SUCCESS };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_step_a_gateway_ends_before_another_goes_on() {
    let scenarios = [SUCCESS, DECLINE, UNKNOWN, LATE, NEVER_CHARGED, TOLD, CANCELLED];
    let all = scenarios.map(|scenario| tokio::spawn(every_step(scenario)));
    let mut ended_before = BTreeSet::new();
    for one in all {
        ended_before.extend(one.await.expect("no scenario fails"));
    }
    let steps: BTreeSet<_> = STEPS.iter().map(|step| step.name()).collect();
    assert_eq!(ended_before, steps, "a step that no scenario comes to needs one that does");
}

/// The steps before which a gateway has ended.
async fn every_step(scenario: Scenario) -> Vec<&'static str> {
    let stage = Stage::set(scenario).await;
    let mut reached = Vec::new();
    for (number, step) in (1..).zip(STEPS) {
        if stage.pays(ProductId(100 + number), step).await {
            reached.push(step.name());
        }
    }
    reached
}

struct Stage {
    scenario: Scenario,
    sale: Sale,
    folder: TempDir,
    provider: u16,
    _provider: Process,
}

impl Stage {
    async fn set(scenario: Scenario) -> Self {
        let one_node = |mut config: doorbuster_cli::demo::cluster::ClusterConfig| {
            config.nodes = 1;
            config
        };
        let sale = Sale::start_with(one_node).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("secret"), SECRET).expect("it can be written");
        let [port] = free_ports().expect("there are ports");
        let listen = format!("127.0.0.1:{port}");
        let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let quick = ["payment-simulator", "--min-latency-ms", "1", "--max-latency-ms", "5", "--listen", &listen];
        let arguments = quick.into_iter().chain(["--ledger", &ledger]).chain(scenario.provider.iter().copied());
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        let log = folder.path().join("provider.txt");
        let process = Process::start("the payment simulator", &binary(), &arguments, &log).expect("it starts");
        Self { scenario, sale, folder, provider: port, _provider: process }
    }

    /// One payment, whose gateway ends before a step, if it comes to it; whether it has.
    async fn pays(&self, id: ProductId, step: Step) -> bool {
        let life = Millis(self.scenario.life_ms);
        let late_payment = LatePaymentPolicy::AlwaysRefund;
        let spec = ProductSpec { product: id, ttl: life, max_life: life, payment_cap: life, late_payment, ..product() };
        self.sale.client.create_product(spec).await.expect("a new product");
        let first = self.scenario.after_end_before.unwrap_or(step);
        let mut gateway = self.gateway((!self.scenario.cancelled).then_some(first), false).await;
        let target = self.begin(&gateway, id).await;
        let mut end = self.scenario.end;
        if self.scenario.cancelled {
            assert!(!self.ended_or_settled(&mut gateway, target, SOLD).await, "it is sold");
            drop(gateway);
            gateway = self.gateway(Some(step), false).await;
            self.cancel(&gateway, target).await;
        }
        let mut has_ended = self.ended_or_settled(&mut gateway, target, end).await;
        if has_ended && !self.scenario.cancelled && first == Step::Charge {
            // Nobody else had the card.
            end = NOT_PAID;
        }
        if self.scenario.after_end_before.is_some() {
            assert!(has_ended, "the first gateway comes to {first:?}");
            drop(gateway);
            gateway = self.gateway(Some(step), self.scenario.told).await;
            if self.scenario.told {
                self.tell(&gateway, target).await;
            }
            has_ended = self.ended_or_settled(&mut gateway, target, end).await;
        }
        drop(gateway);
        let mut last = self.gateway(None, false).await;
        let ended = self.ended_or_settled(&mut last, target, end).await;
        assert!(!ended, "the last gateway ended:\n{}", last.log_tail(20));
        self.agree(target, end).await;
        has_ended
    }

    async fn gateway(&self, ends_before: Option<Step>, told: bool) -> Front {
        let payment = toml::toml! {
            sweep_every_ms = 50
            sweep_after_ms = 150
            cancel_within_ms = 3600000
        };
        let mut payment = payment;
        if told {
            payment.insert("sweep_after_ms".into(), 0.into());
            let secrets = self.folder.path().join("secret");
            payment.insert("webhook_secrets_file".into(), secrets.display().to_string().into());
        }
        let url = Table::from_iter([("url".to_owned(), format!("http://127.0.0.1:{}", self.provider).into())]);
        payment.insert("simulator".into(), url.into());
        let config = FrontConfig {
            binary: ends_before.map_or_else(binary, |step| ending_before(step.name(), self.folder.path())),
            folder: self.folder.path().to_owned(),
            database: None,
            settings: Table::from_iter([("payment".to_owned(), payment.into())]),
        };
        let mut gateway = Front::launch(&config, &self.sale.cluster).expect("a gateway starts");
        let ready = gateway.wait_ready().await;
        // One that finds what another has left comes to its step as soon as it runs.
        let has_ended = ends_before.is_some() && !gateway.is_running();
        assert!(ready.is_ok() || has_ended, "{ready:?}");
        gateway
    }

    /// Reserves a unit and posts the payment, whose answer may not come.
    async fn begin(&self, gateway: &Front, product: ProductId) -> Target {
        let token = token(gateway.key_file());
        let body = json!({ "product": product.0, "quantity": 1 });
        let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: of-{product}\r\n");
        let made = post(gateway.address(), "/v1/reservations", &headers, &body).await.expect("it answers").is(201);
        let id = made["id"].as_str().expect("its id").to_owned();
        let path = format!("/v1/reservations/{id}/payment");
        let _may_end = post(gateway.address(), &path, &headers, &json!({ "card_token": self.scenario.card })).await;
        let (_, digits) = id.split_once('-').expect("a product and a reservation");
        let reservation = ReservationId(u128::from_str_radix(digits, 16).expect("hexadecimal digits"));
        let found = self.sale.client.find_reservations(reservation).await.expect("the cluster answers");
        let view = found.first().expect("it was reserved").reservation;
        Target { product: view.product, reservation, user: view.user }
    }

    /// Cancels it, as its customer; the answer may not come.
    async fn cancel(&self, gateway: &Front, target: Target) {
        let headers = format!("Authorization: Bearer {}\r\n", token(gateway.key_file()));
        let path = format!("/v1/reservations/{}-{:032x}/cancel", target.product, target.reservation.0);
        let _may_end = post(gateway.address(), &path, &headers, &Value::Null).await;
        assert!(self.view(target).await.cancelled.is_some(), "the gateway ends behind the command, in the refund");
    }

    /// The provider tells that it has the money.
    async fn tell(&self, gateway: &Front, target: Target) {
        let view = self.view(target).await;
        let key = format!("{:032x}-{}-{}", view.reservation.0, view.created_at, view.payment_attempts);
        let event = json!({ "id": format!("evt_{key}"), "type": "charge.succeeded", "data": { "key": key } });
        let signature = Secrets::new(SECRET.as_bytes(), None).sign(now(), event.to_string().as_bytes());
        let header = format!("Doorbuster-Signature: {signature}\r\n");
        let _may_end = post(gateway.address(), "/v1/webhooks/simulator", &header, &event).await;
    }

    /// Waits until the gateway has ended (true), or the payment has come to its end and stays there.
    async fn ended_or_settled(&self, gateway: &mut Front, target: Target, end: End) -> bool {
        let waiting = async {
            let mut settled = 0;
            while settled < 5 {
                if !gateway.is_running() {
                    return true;
                }
                settled = if self.is_settled(target, end).await { settled + 1 } else { 0 };
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        };
        match tokio::time::timeout(WITHIN, waiting).await {
            Ok(ended) => ended,
            Err(_) => panic!("{:?} after {WITHIN:?}:\n{}", self.view(target).await, gateway.log_tail(30)),
        }
    }

    async fn is_settled(&self, target: Target, end: End) -> bool {
        let view = self.view(target).await;
        end.states.contains(&view.state) && view.payment_attempts == 1 && self.charges(target).await == [end.charge]
    }

    async fn view(&self, target: Target) -> ReservationView {
        self.sale.client.reservation(target).await.expect("the cluster answers").reservation
    }

    /// What the provider says of the reservation's charges.
    async fn charges(&self, target: Target) -> Vec<String> {
        let address = format!("127.0.0.1:{}", self.provider);
        let ledger = ask(&address, "GET", "/v1/charges?after=0&limit=1000", "", "").await.expect("it answers").is(200);
        let id = format!("{:032x}-", target.reservation.0);
        let all = ledger["charges"].as_array().expect("a list").iter();
        let ours = all.filter(|entry| entry["key"].as_str().is_some_and(|key| key.starts_with(&id)));
        ours.map(|entry| entry["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The cluster, the provider and the orders say the same.
    async fn agree(&self, target: Target, end: End) {
        assert!(self.is_settled(target, end).await);
        let file = format!("sqlite:{}", self.folder.path().join("orders.db").display());
        let mut database = SqliteConnection::connect(&file).await.expect("the gateways' own file");
        let id = format!("{:032x}", target.reservation.0);
        let cancelled = self.scenario.cancelled.then(|| "customer".to_owned());
        let stored = async {
            loop {
                let order = sqlx::query_as::<_, (String, Option<String>)>(ORDER).bind(&id);
                let order = order.fetch_optional(&mut database).await.expect("it has the table");
                let wanted = end.order.map(|state| (state.to_owned(), cancelled.clone()));
                if order == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(WITHIN, stored).await.unwrap_or_else(|_| panic!("no order of {id} is {:?}", end.order));
    }
}

fn token(key_file: &Path) -> String {
    let made = Command::new(binary()).args(["token", "--sub", "alice", "--key"]).arg(key_file).output();
    String::from_utf8(made.expect("the binary runs").stdout).expect("a token is text").trim().to_owned()
}

async fn post(address: &str, path: &str, headers: &str, body: &Value) -> std::io::Result<Answer> {
    ask(address, "POST", path, headers, &body.to_string()).await
}

#[allow(clippy::disallowed_methods)] // a provider has a clock of its own
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
