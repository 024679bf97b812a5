//! doorbuster-gateway.
