//! Fuzzes the property `log_segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("log_segment").check)(bytes));
