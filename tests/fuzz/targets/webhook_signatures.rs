//! Fuzzes the property `webhook_signatures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("webhook_signatures").check)(bytes));
