//! doorbuster-server.
