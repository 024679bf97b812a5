//! Fuzzes the property `client_handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (doorbuster_decoders::named("client_handshake").check)(bytes));
