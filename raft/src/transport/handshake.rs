//! The first four frames of a connection: who we are, and the proof that both ends know the cluster's secret.
//!
//! ```text
//! opener                                                            accepter
//!   Hello { magic, version, purpose, cluster, from, to, incarnation, nonce } ──►
//!   ◄── Challenge { node, incarnation, nonce, proof }   or   Verdict { refusal }, not proved: not fatal
//!   Proof { proof, refusal or nothing } ──►
//!   ◄── Verdict { refusal or nothing }
//! ```
//! Each proof is a keyed hash of the prover's side, the whole Hello and the Challenge (without its proof): neither can be
//! replayed, reflected or used for another connection. Only a refusal by an end that has proved itself is passed on as
//! [`refused`](super::TransportHandler::refused): a stranger cannot stop a node.

use std::io;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{self, Kind, MAX_GREETING, garbage, take};
use super::secret::{self, Proof};
use super::{Incarnation, Shared};
use crate::entropy;
use crate::types::NodeId;

const MAGIC: [u8; 8] = *b"DOORPEER";
const VERSION: u8 = 1;
const MAX_CLUSTER: usize = 64;
const MAX_REASON: usize = 1024;
const OPENER: &[u8] = b"doorbuster peer, opener";
const ACCEPTER: &[u8] = b"doorbuster peer, accepter";

/// Who this process is.
pub(super) struct Identity {
    pub(super) node: NodeId,
    pub(super) cluster: String,
    pub(super) incarnation: Incarnation,
    pub(super) secret: Vec<u8>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Messages = 1,
    Snapshot = 2,
}

/// The opener's side: shows who we are to `peer`, and makes sure that it is the one it should be.
pub(super) async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    peer: NodeId,
    purpose: Purpose,
) -> io::Result<()> {
    let identity = &shared.identity;
    let mut hello = Vec::new();
    Hello::of(identity, peer, purpose).encode(&mut hello);
    send(stream, Kind::Hello, &hello).await?;
    let answer = frame::read(stream, MAX_GREETING).await?;
    if answer.kind == Kind::Verdict {
        let reason = read_refusal(&mut answer.payload())?.unwrap_or_default();
        return Err(refusal(format!("node {peer} refuses the connection: {reason}")));
    }
    let challenge = answer.payload_of(Kind::Challenge)?;
    let (claim, proof) = split_proof(challenge)?;
    if !secret::same(&proof, &secret::prove(&identity.secret, &[ACCEPTER, &hello, claim])) {
        return Err(refusal(format!("node {peer} does not know the cluster's secret")));
    }
    let (node, incarnation) = read_claim(claim)?;
    if node != peer {
        return Err(refusal(format!("node {node} answers at the address of node {peer}")));
    }
    let recognised = shared.recognise(peer, incarnation)?;
    let mut proof = secret::prove(&identity.secret, &[OPENER, &hello, claim]).to_vec();
    write_refusal(&mut proof, recognised.as_ref().err().map(String::as_str));
    send(stream, Kind::Proof, &proof).await?;
    recognised.map_err(refusal)?;
    let verdict = frame::read(stream, MAX_GREETING).await?;
    match read_refusal(&mut verdict.payload_of(Kind::Verdict)?)? {
        None => Ok(()),
        Some(reason) => {
            shared.handler.refused(peer, reason.clone());
            Err(refusal(reason))
        }
    }
}

/// The accepter's side. Gives the peer and what it wants.
pub(super) async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
) -> io::Result<(NodeId, Purpose)> {
    let identity = &shared.identity;
    let greeting = frame::read(stream, MAX_GREETING).await?;
    let hello_bytes = greeting.payload_of(Kind::Hello)?;
    let hello = Hello::decode(hello_bytes)?;
    if let Err(reason) = hello.fits(shared) {
        return Err(refuse(stream, reason).await);
    }
    let mut claim = Vec::new();
    write_claim(&mut claim, identity);
    let mut challenge = claim.clone();
    challenge.put_slice(&secret::prove(&identity.secret, &[ACCEPTER, hello_bytes, &claim]));
    send(stream, Kind::Challenge, &challenge).await?;
    let answer = frame::read(stream, MAX_GREETING).await?;
    let mut payload = answer.payload_of(Kind::Proof)?;
    let proof: Proof = take(&mut payload)?;
    if !secret::same(&proof, &secret::prove(&identity.secret, &[OPENER, hello_bytes, &claim])) {
        return Err(refuse(stream, format!("node {} does not know the cluster's secret", hello.from)).await);
    }
    if let Some(reason) = read_refusal(&mut payload)? {
        shared.handler.refused(hello.from, reason.clone());
        return Err(refusal(reason));
    }
    if let Err(reason) = shared.recognise(hello.from, hello.incarnation)? {
        return Err(refuse(stream, reason).await);
    }
    send_verdict(stream, None).await?;
    Ok((hello.from, hello.purpose))
}

struct Hello {
    purpose: Purpose,
    cluster: String,
    from: NodeId,
    to: NodeId,
    incarnation: Incarnation,
    nonce: [u8; 32],
}

impl Hello {
    fn of(identity: &Identity, to: NodeId, purpose: Purpose) -> Self {
        let (cluster, from, incarnation) = (identity.cluster.clone(), identity.node, identity.incarnation);
        Self { purpose, cluster, from, to, incarnation, nonce: entropy::bytes() }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&MAGIC);
        out.put_u8(VERSION);
        out.put_u8(self.purpose as u8);
        out.put_u64_le(self.from);
        out.put_u64_le(self.to);
        out.put_slice(&self.incarnation.0);
        out.put_slice(&self.nonce);
        let cluster = &self.cluster.as_bytes()[..self.cluster.len().min(MAX_CLUSTER)];
        out.put_slice(cluster);
    }

    fn decode(mut bytes: &[u8]) -> io::Result<Self> {
        if take(&mut bytes)? != MAGIC {
            return Err(garbage("this is not a peer of doorbuster".into()));
        }
        let [version, purpose] = take(&mut bytes)?;
        if version != VERSION {
            return Err(garbage(format!("peer protocol version {version} is not {VERSION}")));
        }
        let purpose = match purpose {
            1 => Purpose::Messages,
            2 => Purpose::Snapshot,
            other => return Err(garbage(format!("connections for purpose {other} do not exist"))),
        };
        let (from, to) = (u64::from_le_bytes(take(&mut bytes)?), u64::from_le_bytes(take(&mut bytes)?));
        let (incarnation, nonce) = (Incarnation(take(&mut bytes)?), take(&mut bytes)?);
        if bytes.len() > MAX_CLUSTER {
            return Err(garbage(format!("the name of a cluster has {} bytes, more than {MAX_CLUSTER}", bytes.len())));
        }
        let cluster = String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { purpose, cluster, from, to, incarnation, nonce })
    }

    /// What can be wrong before anybody has proved anything: mistakes in a configuration.
    fn fits(&self, shared: &Shared) -> Result<(), String> {
        let identity = &shared.identity;
        if self.cluster != identity.cluster {
            return Err(format!("this node belongs to cluster {:?}, not {:?}", identity.cluster, self.cluster));
        }
        if self.to != identity.node {
            return Err(format!("this is node {}, not node {}", identity.node, self.to));
        }
        if self.from == identity.node || shared.address(self.from).is_none() {
            return Err(format!("node {} is not among this node's peers", self.from));
        }
        Ok(())
    }
}

/// The accepter's part of a Challenge: what its proof covers.
fn write_claim(out: &mut Vec<u8>, identity: &Identity) {
    out.put_u64_le(identity.node);
    out.put_slice(&identity.incarnation.0);
    out.put_slice(&entropy::bytes::<32>());
}

fn read_claim(mut claim: &[u8]) -> io::Result<(NodeId, Incarnation)> {
    Ok((u64::from_le_bytes(take(&mut claim)?), Incarnation(take(&mut claim)?)))
}

fn split_proof(challenge: &[u8]) -> io::Result<(&[u8], Proof)> {
    let (claim, proof) = challenge.split_last_chunk().ok_or_else(|| garbage("a challenge ends too early".into()))?;
    Ok((claim, *proof))
}

fn write_refusal(out: &mut Vec<u8>, reason: Option<&str>) {
    out.put_u8(u8::from(reason.is_some()));
    let reason = reason.unwrap_or_default().as_bytes();
    out.put_slice(&reason[..reason.len().min(MAX_REASON)]);
}

fn read_refusal(payload: &mut &[u8]) -> io::Result<Option<String>> {
    let [refused] = take(payload)?;
    let reason = &payload[..payload.len().min(MAX_REASON)];
    Ok((refused != 0).then(|| String::from_utf8_lossy(reason).into_owned()))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), kind: Kind, payload: &[u8]) -> io::Result<()> {
    let mut out = Vec::with_capacity(payload.len() + 16);
    frame::write(&mut out, kind, |out| out.put_slice(payload));
    stream.write_all(&out).await
}

async fn send_verdict(stream: &mut (impl AsyncWrite + Unpin), reason: Option<&str>) -> io::Result<()> {
    let mut payload = Vec::new();
    write_refusal(&mut payload, reason);
    send(stream, Kind::Verdict, &payload).await
}

/// Tells the other end why, as far as it listens, and gives the error to end with.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), reason: String) -> io::Error {
    match send_verdict(stream, Some(&reason)).await {
        // The reason matters more than that it could not be told.
        Ok(()) | Err(_) => refusal(reason),
    }
}

fn refusal(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}
