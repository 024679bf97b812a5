//! doorbuster-tests.
