//! The timing wheel alone, over links in a plain vector: what a timer costs beside few and a million others.
//!
//! Each iteration leaves as many timers as it found.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use doorbuster_inventory::wheel::{Budget, Link, Links, Wheel};

const NOON: u64 = 1_763_800_000_000;
const TTL: u64 = 600_000;
const TIMERS: [u32; 2] = [1_000, 1_000_000];
const PLENTY: Budget = Budget { fire: usize::MAX, sort: usize::MAX };

struct Timers {
    links: Vec<Link>,
    due: Vec<u64>,
}

impl Links for Timers {
    fn link(&self, slot: u32) -> Link {
        self.links[slot as usize]
    }

    fn set_link(&mut self, slot: u32, link: Link) {
        self.links[slot as usize] = link;
    }

    fn due(&self, slot: u32) -> u64 {
        self.due[slot as usize]
    }
}

/// A wheel with `count` timers, spread over one TTL as a steady sale has them, and one slot to spare.
fn filled(count: u32) -> (Wheel, Timers) {
    let slots = count as usize + 1;
    let mut timers = Timers { links: vec![Link::NONE; slots], due: vec![0; slots] };
    let mut wheel = Wheel::starting_at(NOON);
    for slot in 0..count {
        let due = NOON + 1 + u64::from(slot) * TTL / u64::from(count);
        timers.due[slot as usize] = due;
        wheel.insert(&mut timers, slot, due);
    }
    (wheel, timers)
}

fn insert_and_cancel(c: &mut Criterion) {
    let mut group = c.benchmark_group("insert and cancel");
    for count in TIMERS {
        let (mut wheel, mut timers) = filled(count);
        let mut step = 0_u64;
        group.bench_function(BenchmarkId::new("timers", count), |b| {
            b.iter(|| {
                step = step.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let due = NOON + 1 + step % TTL;
                timers.due[count as usize] = due;
                wheel.insert(&mut timers, count, due);
                wheel.cancel(&mut timers, count);
            });
        });
    }
    group.finish();
}

/// The next timer fires and is set anew one TTL later, sorting included: what each timer costs in its whole life.
fn fire_and_set_anew(c: &mut Criterion) {
    let mut group = c.benchmark_group("fire and set anew");
    for count in TIMERS {
        let (mut wheel, mut timers) = filled(count);
        let mut now = NOON;
        group.bench_function(BenchmarkId::new("timers", count), |b| {
            b.iter(|| {
                let slot = loop {
                    if let Some(slot) = wheel.pop_due(&mut timers, now, &mut { PLENTY }) {
                        break slot;
                    }
                    now = wheel.next().expect("timers are left");
                };
                let due = timers.due[slot as usize] + TTL;
                timers.due[slot as usize] = due;
                wheel.insert(&mut timers, slot, due);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, insert_and_cancel, fire_and_set_anew);
criterion_main!(benches);
