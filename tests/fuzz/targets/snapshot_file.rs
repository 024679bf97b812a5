//! Fuzzes the property `snapshot_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("snapshot_file").check)(bytes));
