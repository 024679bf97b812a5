//! A disk in memory that crashes, for tests.
