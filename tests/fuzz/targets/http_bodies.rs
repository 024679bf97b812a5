//! Fuzzes the property `http_bodies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("http_bodies").check)(bytes));
