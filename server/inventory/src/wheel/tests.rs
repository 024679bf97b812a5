//! The wheel against a sorted list of what was inserted.

use super::*;
use std::collections::BTreeMap;

/// Slots that know their time.
#[derive(Default)]
struct Timers {
    links: BTreeMap<u32, Link>,
    due: BTreeMap<u32, u64>,
}

impl Links for Timers {
    fn link(&self, slot: u32) -> Link {
        self.links.get(&slot).copied().unwrap_or(Link::NONE)
    }

    fn set_link(&mut self, slot: u32, link: Link) {
        self.links.insert(slot, link);
    }

    fn due(&self, slot: u32) -> u64 {
        self.due[&slot]
    }
}

const PLENTY: Budget = Budget { fire: usize::MAX, sort: usize::MAX };

fn insert(wheel: &mut Wheel, timers: &mut Timers, slot: u32, due: u64) {
    timers.due.insert(slot, due);
    wheel.insert(timers, slot, due);
}

fn fire_all(wheel: &mut Wheel, timers: &mut Timers, now: u64) -> Vec<u32> {
    std::iter::from_fn(|| wheel.pop_due(timers, now, &mut { PLENTY })).collect()
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn fires_at_its_millisecond_at_every_distance() {
    let starts = [0, 1, 1023, 1024, (1 << 20) - 1, 1_763_800_000_123, (1 << 40) - 1, (1 << 41) - 5];
    let distances = (0..49).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1, (1 << bit) - 1]);
    for start in starts {
        for distance in distances.clone() {
            let (mut wheel, mut timers) = (Wheel::starting_at(start), Timers::default());
            let due = start + distance;
            insert(&mut wheel, &mut timers, 7, due);
            assert!(wheel.next().unwrap() <= due);
            if distance > 0 {
                assert!(fire_all(&mut wheel, &mut timers, due - 1).is_empty(), "early: {start} + {distance}");
            }
            assert_eq!(wheel.next(), Some(due), "one millisecond before, it stands in its own bucket or is about to");
            assert_eq!(fire_all(&mut wheel, &mut timers, due), [7], "late: {start} + {distance}");
            assert!(wheel.is_empty() && wheel.next().is_none());
        }
    }
}

#[test]
fn agrees_with_a_sorted_list() {
    for seed in 0..40 {
        let mut state = seed;
        let mut now = random(&mut state) % (1 << 42);
        let (mut wheel, mut timers) = (Wheel::starting_at(now), Timers::default());
        let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
        for slot in 0..600 {
            let due = now + random(&mut state) % (1 << (random(&mut state) % 34));
            insert(&mut wheel, &mut timers, slot, due);
            expected.insert(slot, due);
            if random(&mut state).is_multiple_of(4) {
                let slot = u32::try_from(random(&mut state) % 600).unwrap();
                wheel.cancel(&mut timers, slot);
                expected.remove(&slot);
            }
            if random(&mut state).is_multiple_of(3) {
                now += random(&mut state) % (1 << (random(&mut state) % 30));
                wheel.advance(now);
            }
            if random(&mut state).is_multiple_of(5) {
                assert!(expected.values().min() >= wheel.next().as_ref(), "next is late");
                let mut fired = fire_all(&mut wheel, &mut timers, now);
                fired.sort_unstable();
                let due: Vec<_> = expected.extract_if(.., |_, due| *due <= now).map(|(slot, _)| slot).collect();
                assert_eq!(fired, due, "seed {seed}");
            }
            assert_eq!(wheel.len(), expected.len());
        }
    }
}

#[test]
fn a_call_does_no_more_than_its_budget() {
    let (mut wheel, mut timers) = (Wheel::starting_at(0), Timers::default());
    (0..1000).for_each(|slot| insert(&mut wheel, &mut timers, slot, 5_000_000));
    let (mut fired, mut calls) = (0, 0);
    while wheel.next().is_some_and(|next| next <= 5_000_000) {
        let mut budget = Budget { fire: 10, sort: 40 };
        while wheel.pop_due(&mut timers, 5_000_000, &mut budget).is_some() {
            fired += 1;
        }
        calls += 1;
        assert!(fired <= calls * 10);
    }
    assert_eq!(fired, 1000);
    assert!(calls <= 1000 / 10 + 2 * 1000 / 40 + 1, "{calls} calls");
}

#[test]
fn equal_times_come_out_in_the_order_they_went_in() {
    let (mut wheel, mut timers) = (Wheel::starting_at(77), Timers::default());
    [5, 3, 9, 1].into_iter().for_each(|slot| insert(&mut wheel, &mut timers, slot, 90_000));
    wheel.cancel(&mut timers, 3);
    assert_eq!(fire_all(&mut wheel, &mut timers, 90_000), [5, 9, 1]);
}

#[test]
fn a_list_rebuilt_in_the_middle_of_sorting_goes_on_alike() {
    let (mut wheel, mut timers) = (Wheel::starting_at(0), Timers::default());
    for slot in 0..200 {
        insert(&mut wheel, &mut timers, slot, 3_000_000 + u64::from(slot % 7));
    }
    wheel.pop_due(&mut timers, 3_000_003, &mut Budget { fire: 0, sort: 130 });
    let (mut copy, mut copied) = (Wheel::starting_at(wheel.cursor()), Timers::default());
    for (bucket, head) in wheel.buckets() {
        for slot in Wheel::slots_from(&timers, head) {
            copied.due.insert(slot, timers.due[&slot]);
            assert!(copy.append(&mut copied, slot, bucket, timers.due[&slot]));
        }
    }
    for now in [3_000_003, 3_000_010] {
        let mut budget = Budget { fire: 30, sort: 50 };
        let mut budget_of_copy = budget;
        while let Some(slot) = wheel.pop_due(&mut timers, now, &mut budget) {
            assert_eq!(copy.pop_due(&mut copied, now, &mut budget_of_copy), Some(slot));
        }
    }
    assert_eq!(fire_all(&mut copy, &mut copied, 4_000_000), fire_all(&mut wheel, &mut timers, 4_000_000));
}

#[test]
fn a_slot_is_not_taken_back_into_a_bucket_it_cannot_be_in() {
    let (mut wheel, mut timers) = (Wheel::starting_at(5000), Timers::default());
    let mut append = |bucket, due| wheel.append(&mut timers, 1, bucket, due);
    assert!(!append(u16::MAX, 5001), "there is no such bucket");
    assert!(!append(0, 4999), "before the cursor");
    assert!(!append((5001 % 1024) as u16 + 1, 5001), "another millisecond");
    assert!(!append((9000 % 1024) as u16, 9000), "not within the lowest ring's reach");
    assert!(append((5001 % 1024) as u16, 5001));
}
