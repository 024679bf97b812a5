//! The replicated log: what makes several nodes agree on one sequence of entries, and keeps it on disk. Knows nothing of
//! stock, reservations or clients.
//!
//! * [`Node`] is one replica of one shard, over tikv's `raft` 0.7. It does no I/O and reads no clock: messages, ticks,
//!   times and "this is on disk now" go in, [`Effects`] come out (send this, persist that, these entries were applied).
//! * `log` and `snapshot` keep on disk what the nodes of all shards of this process want kept.
//! * [`transport`] carries messages and snapshots between processes.
//!
//! Fault model: processes stop at any moment and start again with exactly what was reported durable; messages are lost,
//! repeated, reordered and delayed without bound; processes are paused for any time. Monotonic clocks run at the same
//! rate within the lease margin. Disks tell the truth, or are caught by checksums. Peers are authenticated and not
//! malicious beyond that, but their bytes are never trusted to be well formed.
#![deny(unsafe_code)] // one module, disk/real.rs, asks the system for the free space of a file system

mod config;
pub mod disk;
mod effects;
mod entropy;
mod lease;
pub mod log;
mod machine;
mod message;
mod node;
pub mod snapshot;
mod storage;
pub mod transport;
mod types;

pub use config::{ConfigError, NodeConfig};
pub use effects::{Applied, Cause, Effects, ReadReady, RoleChange, SnapshotSend};
pub use machine::{Frozen, StateMachine};
pub use message::{MAX_NOTE, MessageError, PeerMessage};
pub use node::{Node, NodeError, NodeStatus, PeerProgress, ProposeError, Proposed, ReadError};
pub use types::{Append, Entry, EntryKind, HardState, Monotonic, NodeId, Recovered, ShardId, SnapshotMark};
