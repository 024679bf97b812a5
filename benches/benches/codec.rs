//! The frame codec alone: what a request and an answer cost to write and to read, one a frame and 64 in a batch frame.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster_protocol::command::{Command, Reserve};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::frame::{decode_answers, decode_requests, encode_answers, encode_requests};
use doorbuster_protocol::reply::{Answer, Reply, ReservationReply, ReservationState, ReservationView};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, RequestId, ReservationId, Timestamp, UserId};

/// Requests, or answers, in a frame.
const BATCHES: [u64; 2] = [1, 64];

fn request(number: u64) -> Request {
    let id = u128::from(number) << 64 | 7;
    let reserve = Reserve {
        product: ProductId(1),
        reservation: ReservationId(id),
        user: UserId(id + 1),
        quantity: Quantity(1),
        ttl: Millis(0),
    };
    Request { body: RequestBody::Command(Command::Reserve(reserve)), wait: Millis(0) }
}

fn granted(number: u64) -> Answer {
    let at = Timestamp(1_763_800_000_000);
    let reservation = ReservationView {
        product: ProductId(1),
        reservation: ReservationId(u128::from(number) << 64 | 7),
        user: UserId(9),
        quantity: Quantity(1),
        state: ReservationState::Held,
        payment_attempts: 0,
        late: false,
        cancelled: None,
        created_at: at,
        first_expires_at: at,
        expires_at: at,
        changed_at: at,
    };
    Ok(Reply::Reservation(ReservationReply { replayed: false, time: at, reservation }))
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("reserve requests");
    for count in BATCHES {
        group.throughput(Throughput::Elements(count));
        let batch: Vec<_> = (0..count).map(|number| (RequestId(number), request(number))).collect();
        let mut bytes = Vec::new();
        group.bench_function(BenchmarkId::new("encode", count), |b| {
            b.iter(|| {
                bytes.clear();
                encode_requests(black_box(&batch), &mut bytes);
            });
        });
        group.bench_function(BenchmarkId::new("decode", count), |b| {
            b.iter(|| decode_requests(black_box(&bytes), &mut |id, request| drop(black_box((id, request)))));
        });
    }
    group.finish();
}

fn answers(c: &mut Criterion) {
    let mut group = c.benchmark_group("answers");
    let sold_out = |_| Err(Failure::Refused(Refusal::SoldOut));
    let kinds: [(&str, &dyn Fn(u64) -> Answer); 2] = [("granted", &granted), ("sold out", &sold_out)];
    for (name, answer) in kinds {
        for count in BATCHES {
            group.throughput(Throughput::Elements(count));
            let batch: Vec<_> = (0..count).map(|number| (RequestId(number), answer(number))).collect();
            let mut bytes = Vec::new();
            group.bench_function(BenchmarkId::new(format!("encode {name}"), count), |b| {
                b.iter(|| {
                    bytes.clear();
                    encode_answers(black_box(&batch), &mut bytes);
                });
            });
            group.bench_function(BenchmarkId::new(format!("decode {name}"), count), |b| {
                b.iter(|| decode_answers(black_box(&bytes), &mut |id, answer| drop(black_box((id, answer)))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, requests, answers);
criterion_main!(benches);
