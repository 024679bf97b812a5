//! The first frame in each direction of a connection: who is there, and what both can do.
//!
//! These two frames carry version 0 in their header and keep their layout for ever, so that any two
//! versions can find out that they have none in common.

use std::ops::RangeInclusive;

use crate::cursor::{Cursor, DecodeError};
use crate::failure::Failure;
use crate::frame::{FrameError, HEADER_BYTES, Kind, get_header, put_frame};
use crate::limits::{
    self, MAX_CLIENT_NAME_BYTES, MAX_CLUSTER_NAME_BYTES, MAX_CREDENTIAL_BYTES, MAX_HELLO_BYTES, MAX_WELCOME_BYTES,
};
use crate::reply::ShardMap;
use crate::types::{NodeId, RequestId};
use crate::wire::{get_failure, get_shard_map, put_bytes, put_failure, put_shard_map, put_text};

/// The first bytes of a client's first frame's content.
pub const MAGIC: [u8; 8] = *b"DOORBUST";

/// Header version of the handshake's own frames.
const HANDSHAKE: u8 = 0;

/// The client's first frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions the client speaks.
    pub versions: RangeInclusive<u8>,
    /// The cluster it believes to talk to; at most [`MAX_CLUSTER_NAME_BYTES`].
    pub cluster: String,
    /// Shared secret; empty for none. At most [`MAX_CREDENTIAL_BYTES`].
    pub credential: Vec<u8>,
    /// What the client calls itself, for logs; at most [`MAX_CLIENT_NAME_BYTES`].
    pub client: String,
}

impl std::fmt::Debug for Hello {
    /// Leaves the credential out, so that it does not end in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &self.versions)
            .field("cluster", &self.cluster)
            .field("credential", &format_args!("({} bytes)", self.credential.len()))
            .field("client", &self.client)
            .finish()
    }
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

/// Appends the client's first frame. Fields beyond their limit are cut.
pub fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    put_frame(Kind::Hello, HANDSHAKE, RequestId(0), out, |out| {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[*hello.versions.start(), *hello.versions.end()]);
        put_text(&hello.cluster, MAX_CLUSTER_NAME_BYTES, out);
        put_bytes(&hello.credential[..hello.credential.len().min(MAX_CREDENTIAL_BYTES)], out);
        put_text(&hello.client, MAX_CLIENT_NAME_BYTES, out);
    });
}

/// Reads the client's first frame and how many bytes it had; `None` while it is incomplete.
///
/// # Errors
/// This is no client of this protocol; close the connection.
pub fn decode_hello(input: &[u8]) -> Result<Option<(Hello, usize)>, FrameError> {
    let Some(header) = get_header(input, HANDSHAKE, MAX_HELLO_BYTES)? else { return Ok(None) };
    if header.kind != Kind::Hello as u8 {
        return Err(FrameError::Kind { found: header.kind });
    }
    let Some(content) = input.get(HEADER_BYTES..header.length) else { return Ok(None) };
    let mut cursor = Cursor::new(content);
    if cursor.bytes(MAGIC.len(), "magic")? != MAGIC {
        return Err(FrameError::Magic);
    }
    let hello = Hello {
        versions: cursor.u8("lowest version")?..=cursor.u8("highest version")?,
        cluster: cursor.text(MAX_CLUSTER_NAME_BYTES, "cluster name")?.to_owned(),
        credential: cursor.counted_bytes(MAX_CREDENTIAL_BYTES, "credential")?.to_owned(),
        client: cursor.text(MAX_CLIENT_NAME_BYTES, "client name")?.to_owned(),
    };
    cursor.finish("hello")?;
    Ok(Some((hello, header.length)))
}

/// Appends the server's first frame.
pub fn encode_welcome(welcome: &WelcomeOrFailure, out: &mut Vec<u8>) {
    match welcome {
        WelcomeOrFailure::Welcome(welcome) => {
            put_frame(Kind::Welcome, HANDSHAKE, RequestId(0), out, |out| put_welcome(welcome, out));
        }
        WelcomeOrFailure::Refused(failure) => {
            put_frame(Kind::Refused, HANDSHAKE, RequestId(0), out, |out| put_failure(failure, out));
        }
    }
}

/// Reads the server's first frame and how many bytes it had; `None` while it is incomplete.
///
/// # Errors
/// This is no server of this protocol; close the connection.
pub fn decode_welcome(input: &[u8]) -> Result<Option<(WelcomeOrFailure, usize)>, FrameError> {
    let Some(header) = get_header(input, HANDSHAKE, MAX_WELCOME_BYTES)? else { return Ok(None) };
    let is_welcome = header.kind == Kind::Welcome as u8;
    if !is_welcome && header.kind != Kind::Refused as u8 {
        return Err(FrameError::Kind { found: header.kind });
    }
    let Some(content) = input.get(HEADER_BYTES..header.length) else { return Ok(None) };
    let mut cursor = Cursor::new(content);
    let welcome = if is_welcome {
        WelcomeOrFailure::Welcome(get_welcome(&mut cursor)?)
    } else {
        let code = cursor.u16("failure code")?;
        WelcomeOrFailure::Refused(get_failure(code, &mut cursor)?)
    };
    cursor.finish("welcome")?;
    Ok(Some((welcome, header.length)))
}

fn put_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    out.push(welcome.version);
    put_text(&welcome.cluster, MAX_CLUSTER_NAME_BYTES, out);
    out.extend_from_slice(&welcome.node.0.to_le_bytes());
    out.extend_from_slice(&welcome.limits.max_frame_bytes.to_le_bytes());
    out.extend_from_slice(&welcome.limits.max_batch_requests.to_le_bytes());
    out.extend_from_slice(&welcome.limits.max_in_flight.to_le_bytes());
    put_shard_map(&welcome.shards, out);
}

fn get_welcome(cursor: &mut Cursor<'_>) -> Result<Welcome, DecodeError> {
    Ok(Welcome {
        version: cursor.u8("version")?,
        cluster: cursor.text(MAX_CLUSTER_NAME_BYTES, "cluster name")?.to_owned(),
        node: NodeId(cursor.u16("node id")?),
        limits: ServerLimits {
            max_frame_bytes: cursor.u32("limit of frames")?,
            max_batch_requests: cursor.u32("limit of batches")?,
            max_in_flight: cursor.u32("limit of requests in flight")?,
        },
        shards: get_shard_map(cursor)?,
    })
}
