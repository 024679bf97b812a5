//! Fuzzes the property `log_entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("log_entry").check)(bytes));
