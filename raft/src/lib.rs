//! doorbuster-raft.
