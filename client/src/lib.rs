//! doorbuster-client.
