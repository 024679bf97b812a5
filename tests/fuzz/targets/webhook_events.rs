//! Fuzzes the property `webhook_events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("webhook_events").check)(bytes));
