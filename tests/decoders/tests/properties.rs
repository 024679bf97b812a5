//! The properties of the fuzz targets with random bytes, damaged seeds and an eye on memory.

use doorbuster_decoders::{PROPERTIES, Property, named};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use counting_allocator::most_allocated_by;

/// Knows how much this thread has, and the most it had.
mod counting_allocator {
    #![allow(unsafe_code)]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<isize> = const { Cell::new(0) };
        static MOST: Cell<isize> = const { Cell::new(0) };
    }

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    fn count(change: isize) {
        let _ = NOW.try_with(|now| {
            now.set(now.get() + change);
            MOST.with(|most| most.set(most.get().max(now.get())));
        });
    }

    // SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size().cast_signed());
            // SAFETY: the caller's promise about `layout` is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            count(-layout.size().cast_signed());
            // SAFETY: `memory` came from `System.alloc` with this layout.
            unsafe { System.dealloc(memory, layout) }
        }
    }

    /// The most that this thread had more than before, while `work` ran, in bytes.
    pub fn most_allocated_by(work: impl FnOnce()) -> usize {
        let before = NOW.get();
        MOST.set(before);
        work();
        MOST.get().saturating_sub(before).try_into().unwrap_or(0)
    }
}

/// Bytes to try: random ones, and seeds with some bytes changed and the end cut off.
fn inputs(property: &Property) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds = (property.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", property.name);
    let edited = (any::<Index>(), vec((any::<Index>(), any::<u8>()), 0..6), any::<Index>(), any::<bool>());
    let damaged = edited.prop_map(move |(seed, edits, end, cut)| {
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        for (at, value) in edits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        if cut {
            bytes.truncate(end.index(bytes.len() + 1));
        }
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..400), damaged]
}

fn holds(name: &str) {
    let property = named(name);
    for seed in (property.seeds)() {
        (property.check)(&seed);
    }
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&inputs(property), |bytes| {
        let most = most_allocated_by(|| (property.check)(&bytes));
        let allowed = property.memory.1 + property.memory.0 * bytes.len();
        prop_assert!(most <= allowed, "{} bytes took {most} of memory, {allowed} are allowed", bytes.len());
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{name}: {error}"));
}

macro_rules! each_holds {
    ($($name:ident)*) => {
        $(#[test] fn $name() { holds(stringify!($name)); })*

        #[test]
        fn every_property_is_tested_here_and_fuzzed() {
            let names: Vec<_> = PROPERTIES.iter().map(|property| property.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/Cargo.toml");
            let targets = std::fs::read_to_string(targets).expect("the fuzz targets are beside this crate");
            for name in names {
                assert!(targets.contains(&format!("name = \"{name}\"")), "{name} is no fuzz target");
            }
        }
    };
}

each_holds! {
    client_requests client_answers client_handshake log_entry peer_messages
    log_segment log_damage snapshot_file snapshot_state http_bodies
    webhook_signatures webhook_events
}
