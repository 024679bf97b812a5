//! The admission gate's atomics, by one thread and by two at once, against a bare atomic counter that the same threads
//! contend for: the least that a shared count can cost.
//!
//! A measurement of two threads is the time until both have done their part, so an operation of it counts for two.
#![allow(clippy::disallowed_methods)] // a bench measures time

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster_gate::{Asked, Bloom, Lease, Numbers, Terms, Turnstile, Verdict, admit};

const THREADS: [u64; 2] = [1, 2];
const NOON: u64 = 1_763_800_000_000;

fn leading() -> Lease {
    let lease = Lease::new();
    lease.lead();
    lease.renew(u64::MAX);
    lease
}

fn turnstile(available: u32) -> Turnstile {
    Turnstile::new(Terms::default(), Numbers { available, ..Numbers::default() })
}

/// How long `threads` take to do `work` so many times each, all beginning together.
fn together(threads: u64, times: u64, work: impl Fn(u64) + Sync) -> Duration {
    let (start, work) = (Barrier::new(usize::try_from(threads).unwrap_or(1)), &work);
    thread::scope(|scope| {
        let start = &start;
        let run = move |thread: u64| {
            start.wait();
            let begun = Instant::now();
            (0..times).for_each(|turn| work(thread << 48 | turn));
            begun.elapsed()
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        all.into_iter().map(|one| one.join().expect("no bench panics")).max().unwrap_or_default()
    })
}

fn gate(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate");
    for threads in THREADS {
        group.throughput(Throughput::Elements(threads));
        let count = AtomicU64::new(0);
        group.bench_function(BenchmarkId::new("bare atomic: add, subtract", threads), |b| {
            b.iter_custom(|times| {
                together(threads, times, |_| {
                    count.fetch_add(1, Ordering::AcqRel);
                    count.fetch_sub(1, Ordering::AcqRel);
                })
            });
        });
        let (lease, seat) = (leading(), turnstile(1_000_000));
        let asked = Asked { quantity: 1, now: 1, time: NOON };
        group.bench_function(BenchmarkId::new("ticket, and back", threads), |b| {
            b.iter_custom(|times| {
                together(threads, times, |_| {
                    assert_eq!(admit(&lease, &seat, asked, || true), Verdict::Ticket);
                    seat.give_back(1);
                })
            });
        });
        let (sold_out, known) = (turnstile(0), Bloom::with_capacity(100_000));
        (0..100_000).for_each(|id| known.insert(id));
        group.bench_function(BenchmarkId::new("refuse, 100000 ids known", threads), |b| {
            b.iter_custom(|times| {
                together(threads, times, |turn| {
                    let id = u128::from(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64;
                    black_box(admit(&lease, &sold_out, asked, || known.contains(id)));
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gate);
criterion_main!(benches);
