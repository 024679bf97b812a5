//! Fuzzes the property `log_damage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("log_damage").check)(bytes));
