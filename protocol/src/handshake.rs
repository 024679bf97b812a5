//! The first frame in each direction of a connection: who is there, and what both can do.

use std::ops::RangeInclusive;

use crate::failure::Failure;
use crate::frame::FrameError;
use crate::limits;
use crate::reply::ShardMap;
use crate::types::NodeId;

/// The client's first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions the client speaks.
    pub versions: RangeInclusive<u8>,
    /// The cluster it believes to talk to.
    pub cluster: String,
    /// Shared secret; empty for none.
    pub credential: Vec<u8>,
    /// What the client calls itself, for logs.
    pub client: String,
}

/// The server's first frame, if it takes the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u8,
    /// The cluster's name.
    pub cluster: String,
    /// Which node this is.
    pub node: NodeId,
    /// What the node accepts.
    pub limits: ServerLimits,
    /// Where the shards are led, as this node knows.
    pub shards: ShardMap,
}

/// What a node accepts on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest request frame, header included, in bytes.
    pub max_frame_bytes: u32,
    /// Most requests in one batch frame.
    pub max_batch_requests: u32,
    /// Requests that may await their reply.
    pub max_in_flight: u32,
}

impl Default for ServerLimits {
    #[allow(clippy::cast_possible_truncation)] // constants, far below u32::MAX
    fn default() -> Self {
        Self {
            max_frame_bytes: limits::MAX_FRAME_BYTES as u32,
            max_batch_requests: limits::MAX_BATCH_REQUESTS as u32,
            max_in_flight: limits::MAX_IN_FLIGHT_PER_CONNECTION as u32,
        }
    }
}

/// The server's first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WelcomeOrFailure {
    /// Go on.
    Welcome(Welcome),
    /// The server does not take the client, and closes.
    Refused(Failure),
}

/// Appends the client's first frame.
pub fn encode_hello(_hello: &Hello, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads the client's first frame and how many bytes it had; `None` while it is incomplete.
///
/// # Errors
/// This is no client of this protocol; close the connection.
pub fn decode_hello(_input: &[u8]) -> Result<Option<(Hello, usize)>, FrameError> {
    todo!()
}

/// Appends the server's first frame.
pub fn encode_welcome(_welcome: &WelcomeOrFailure, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads the server's first frame and how many bytes it had; `None` while it is incomplete.
///
/// # Errors
/// This is no server of this protocol; close the connection.
pub fn decode_welcome(_input: &[u8]) -> Result<Option<(WelcomeOrFailure, usize)>, FrameError> {
    todo!()
}
