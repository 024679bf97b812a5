//! The first frames of a connection: who is there, and whether we serve them.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{FrameError, VERSION};
use doorbuster_protocol::handshake::{Hello, ServerLimits, Welcome, WelcomeOrFailure, decode_hello, encode_welcome};
use doorbuster_protocol::types::Millis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::service::Service;

/// When a client that finds the node full may come back.
const FULL_RETRY: Millis = Millis(1000);
/// A client that is refused for its credentials hears it only after this, so that guessing is slow.
const UNAUTHORIZED_DELAY: Duration = Duration::from_millis(200);

/// Why a client was not let in.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("no handshake within {0:?}")]
    TooSlow(Duration),
    /// What it sent is no handshake.
    #[error("not a client of this protocol: {0}")]
    Protocol(#[from] FrameError),
    /// It went away.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// It was told why.
    #[error("refused: {0}")]
    Refused(Failure),
    /// It was told that this is another cluster; the refusal has no room for a name.
    #[error("refused: it asks for the cluster {asked:?}, this is {here:?}")]
    WrongCluster {
        /// The name in its hello.
        asked: String,
        /// This cluster's name.
        here: String,
    },
}

/// Reads the client's hello and welcomes or refuses it. Returns what the client calls itself; what was read beyond
/// the handshake is left in `input`.
///
/// # Errors
/// The client is not let in; the connection is to be closed.
pub async fn welcome(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    service: &Service,
) -> Result<String, HandshakeError> {
    let patience = service.handshake_timeout;
    let exchange = async {
        let hello = read_hello(stream, input).await?;
        let (reply, failure) = match judge(&hello, service) {
            Ok(welcome) => (WelcomeOrFailure::Welcome(welcome), None),
            Err(failure) => (WelcomeOrFailure::Refused(failure.clone()), Some(failure)),
        };
        if matches!(failure, Some(Failure::Unauthorized)) {
            tokio::time::sleep(UNAUTHORIZED_DELAY).await;
        }
        let mut out = Vec::new();
        encode_welcome(&reply, &mut out);
        stream.write_all(&out).await?;
        match failure {
            None => Ok(hello.client),
            Some(Failure::WrongCluster) => {
                Err(HandshakeError::WrongCluster { asked: hello.cluster, here: service.cluster.clone() })
            }
            Some(failure) => Err(HandshakeError::Refused(failure)),
        }
    };
    timeout(patience, exchange).await.unwrap_or(Err(HandshakeError::TooSlow(patience)))
}

/// Tells a client that the node has too many, if it takes that at once.
pub fn turn_away(stream: &TcpStream) {
    let mut out = Vec::new();
    encode_welcome(&WelcomeOrFailure::Refused(Failure::Busy { retry_after: FULL_RETRY }), &mut out);
    let _lost = stream.try_write(&out);
}

async fn read_hello(stream: &mut TcpStream, input: &mut BytesMut) -> Result<Hello, HandshakeError> {
    loop {
        // Bounded: a hello that announces more than it may have is an error before its bytes are here.
        if let Some((hello, taken)) = decode_hello(input)? {
            input.advance(taken);
            return Ok(hello);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn judge(hello: &Hello, service: &Service) -> Result<Welcome, Failure> {
    if !hello.versions.contains(&VERSION) {
        return Err(Failure::UnsupportedVersion);
    }
    if !service.credentials.accept(&hello.credential) {
        return Err(Failure::Unauthorized);
    }
    if hello.cluster != service.cluster {
        return Err(Failure::WrongCluster);
    }
    Ok(Welcome {
        version: VERSION,
        cluster: service.cluster.clone(),
        node: service.desk.view.node(),
        limits: ServerLimits::default(),
        shards: service.desk.view.shard_map(),
    })
}
