//! Fuzzes the property `snapshot_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("snapshot_state").check)(bytes));
