//! Fuzzes the property `peer_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("peer_messages").check)(bytes));
