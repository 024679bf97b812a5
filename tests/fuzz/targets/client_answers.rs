//! Fuzzes the property `client_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("client_answers").check)(bytes));
