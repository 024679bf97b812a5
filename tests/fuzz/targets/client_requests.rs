//! Fuzzes the property `client_requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("client_requests").check)(bytes));
