//! A whole node in one thread, bytes in and bytes out: connection, gate, shard, Raft, log, inventory, answers. No sockets, no
//! threads to wake, no sync: what a command costs the processor, and what a server cannot do better than.
//!
//! 64 connections have 16 requests each under way. The log is written to the temporary directory and not synced. A node is
//! made anew when it holds a few million reservations.
#![allow(clippy::disallowed_methods)] // a bench measures time

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use doorbuster_protocol::command::{Command, LatePaymentPolicy, ProductSpec, Reserve};
use doorbuster_protocol::frame::{decode_answers, encode_requests};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{
    Currency, Millis, Money, NodeId, ProductId, Quantity, RequestId, ReservationId, Timestamp, UserId,
};
use doorbuster_raft::Monotonic;
use doorbuster_raft::disk::RealDisk;
use doorbuster_raft::transport::Incarnation;
use doorbuster_server::solo::{ConnectionId, Solo, SoloConfig, format};
use tempfile::TempDir;

const NOON: u64 = 1_763_800_000_000;
const SELLING: ProductId = ProductId(1);
const SOLD_OUT: ProductId = ProductId(2);
const CONNECTIONS: u64 = 64;
const DEPTH: u64 = 16;
const A_TURN: u64 = CONNECTIONS * DEPTH;
/// So many reservations, and the node is made anew.
const FULL: u64 = 4_000_000;

struct Pipeline {
    _folder: TempDir,
    solo: Solo,
    lines: Vec<ConnectionId>,
    begun: Instant,
    sent: u64,
}

impl Pipeline {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let config = config(folder.path());
        format(&RealDisk, &config, Incarnation([1; 16])).expect("an empty folder");
        let begun = Instant::now();
        let solo = Solo::start(Arc::new(RealDisk), &config, Monotonic(1), Timestamp(NOON)).expect("just formatted");
        let mut pipeline = Self { _folder: folder, solo, lines: Vec::new(), begun, sent: 0 };
        pipeline.lines = (0..CONNECTIONS).map(|_| pipeline.solo.connect()).collect();
        while !pipeline.solo.shards().all(|shard| shard.status(pipeline.now()).leading) {
            pipeline.turn();
        }
        for (product, stock) in [(SELLING, 1_000_000_000), (SOLD_OUT, 0)] {
            let create = Command::CreateProduct(Box::new(spec(product, stock)));
            let answers = pipeline.ask(0, vec![create]);
            assert!(matches!(answers[..], [Ok(_)]), "{answers:?}");
        }
        pipeline
    }

    /// Nanoseconds since it began; a clock that never stands still.
    fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX) + 1)
    }

    fn turn(&mut self) {
        let now = self.now();
        let wall = Timestamp(NOON + now.0 / 1_000_000);
        self.solo.turn(now, wall);
        if self.solo.log_pending() {
            self.solo.flush_log().expect("a disk that works");
        }
        while self.solo.archive_pending() {
            self.solo.archive();
        }
    }

    /// Sends commands over one connection and gives what is answered at once.
    fn send(&mut self, line: usize, commands: Vec<Command>) -> Vec<u8> {
        let request = |(number, command)| {
            (RequestId(number), Request { body: RequestBody::Command(command), wait: Millis(60_000) })
        };
        let batch: Vec<_> = (0..).zip(commands).map(request).collect();
        let mut bytes = Vec::new();
        encode_requests(&batch, &mut bytes);
        let now = self.now();
        self.solo.receive(self.lines[line], &bytes, now).expect("whole frames")
    }

    /// The same, and waits for all answers.
    fn ask(&mut self, line: usize, commands: Vec<Command>) -> Vec<Answer> {
        let wanted = commands.len();
        let mut answers = Vec::new();
        let mut take = |bytes: &[u8]| {
            let taken = decode_answers(bytes, &mut |_, answer| answers.push(answer)).expect("whole frames");
            assert_eq!(taken, bytes.len());
            answers.len()
        };
        let mut come = take(&self.send(line, commands));
        while come < wanted {
            self.turn();
            come = take(&self.solo.take_answers(self.lines[line]));
        }
        answers
    }

    fn reserve(&mut self, product: ProductId) -> Command {
        self.sent += 1;
        let id = u128::from(self.sent).wrapping_mul(0x2d35_8dcc_aa6c_78a5_8bb8_4b93_962e_acc9);
        let (reservation, user) = (ReservationId(id), UserId(id.rotate_left(64) | 1));
        Command::Reserve(Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) })
    }

    /// Every connection sends its requests; until all are answered. What this end does to them is not part of the time.
    fn all_connections(&mut self, product: ProductId) -> Duration {
        let mut spent = Duration::ZERO;
        let mut answered = 0;
        for line in 0..self.lines.len() {
            let commands = (0..DEPTH).map(|_| self.reserve(product)).collect();
            let begun = Instant::now();
            answered += count(&self.send(line, commands));
            spent += begun.elapsed();
        }
        while answered < A_TURN {
            let begun = Instant::now();
            self.turn();
            let bytes: Vec<_> = (0..self.lines.len()).map(|at| self.solo.take_answers(self.lines[at])).collect();
            spent += begun.elapsed();
            answered += bytes.iter().map(|bytes| count(bytes)).sum::<u64>();
        }
        spent
    }
}

fn count(bytes: &[u8]) -> u64 {
    let mut answers = 0;
    let taken = decode_answers(bytes, &mut |_, answer| {
        black_box(answer).ok();
        answers += 1;
    });
    assert_eq!(taken.expect("whole frames"), bytes.len());
    answers
}

fn config(folder: &Path) -> SoloConfig {
    let config = SoloConfig::new(NodeId(1), vec![NodeId(1)]);
    SoloConfig { shards: 1, data: folder.join("data"), durable: false, ..config }
}

fn spec(product: ProductId, stock: u32) -> ProductSpec {
    ProductSpec {
        product,
        name: "phone".to_owned(),
        stock: Quantity(stock),
        price: Money { minor: 49_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(1),
        ttl: Millis(24 * 3600 * 1000),
        max_life: Millis(24 * 3600 * 1000),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(A_TURN)).sample_size(20).measurement_time(Duration::from_secs(5));
    for (name, product) in [("1024 reserves granted", SELLING), ("1024 reserves refused, sold out", SOLD_OUT)] {
        let mut node = Pipeline::new();
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    if node.sent >= FULL {
                        node = Pipeline::new();
                    }
                    spent += node.all_connections(product);
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
