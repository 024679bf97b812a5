//! One client's connection: reads, routes, writes, in one task.
//!
//! Each turn takes all bytes that one read brought, answers what can be answered, adds whatever the shards
//! have answered meanwhile, and writes all of it in one write. While a write waits for the client nothing is
//! read, so a client that does not read its answers cannot make the server hold more than what it had in
//! flight; after a time it is disconnected.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use doorbuster_protocol::frame::{FrameError, encode_answers};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::types::RequestId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::mailbox::Mailbox;
use crate::router::Router;
use crate::service::Service;

/// Room for one read.
const READ_BYTES: usize = 64 << 10;
/// Buffers that grew beyond this are let go when they are empty.
const KEEP_BYTES: usize = 512 << 10;

/// When the node shuts down, clients have so long to take what is left for them.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client closed it.
    #[error("closed by the client")]
    ByClient,
    /// The node shuts down.
    #[error("the node shuts down")]
    ShuttingDown,
    /// What the client sent is not of this protocol.
    #[error("protocol error: {0}")]
    Protocol(#[from] FrameError),
    /// The client does not read its answers.
    #[error("{bytes} bytes of answers were not read within {seconds} s")]
    SlowReader {
        /// Bytes that wait.
        bytes: usize,
        /// For how long, at least.
        seconds: u64,
    },
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
}

/// A connection whose handshake is done.
pub struct Connection {
    stream: TcpStream,
    service: Arc<Service>,
    mailbox: Arc<Mailbox>,
    router: Router,
    input: BytesMut,
    out: Vec<u8>,
    answers: Vec<(RequestId, Answer)>,
}

impl Connection {
    /// Continues behind the handshake; `input` holds what was read beyond it.
    #[must_use]
    pub fn new(stream: TcpStream, service: Arc<Service>, input: BytesMut) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let router = Router::new(Arc::clone(&service), Arc::clone(&mailbox));
        Self { stream, service, mailbox, router, input, out: Vec::new(), answers: Vec::new() }
    }

    /// Serves the client until either side ends it.
    pub async fn serve(mut self, closing: &CancellationToken) -> Ended {
        let ended = match self.turns(closing).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        self.mailbox.close();
        // What was answered before the end still goes out, if the client takes it at once.
        if !matches!(ended, Ended::SlowReader { .. } | Ended::Io(_)) {
            let _lost = timeout(LAST_WRITE, self.write(closing)).await;
        }
        ended
    }

    async fn turns(&mut self, closing: &CancellationToken) -> Result<std::convert::Infallible, Ended> {
        self.route()?;
        loop {
            self.collect();
            self.write(closing).await?;
            self.input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                () = self.mailbox.wait() => {}
                read = self.stream.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(Ended::ByClient);
                    }
                    self.route()?;
                }
                () = closing.cancelled() => {
                    self.collect();
                    return Err(Ended::ShuttingDown);
                }
            }
        }
    }

    fn route(&mut self) -> Result<(), FrameError> {
        // After the read: a refusal at the gate must not rest on a lease that ended before the request came.
        let now = clock::monotonic();
        let taken = self.router.take(&self.input, now, &mut self.out)?;
        self.input.advance(taken);
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    /// Takes over what the shards have answered.
    fn collect(&mut self) {
        self.mailbox.take(&mut self.answers);
        if self.answers.is_empty() {
            return;
        }
        self.answers.iter().for_each(|(id, _)| self.router.answered(*id));
        encode_answers(&self.answers, &mut self.out);
        self.answers.clear();
    }

    async fn write(&mut self, closing: &CancellationToken) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let patience = self.service.write_timeout;
        let hurry = async {
            closing.cancelled().await;
            tokio::time::sleep(LAST_WRITE).await;
        };
        tokio::select! {
            biased;
            written = timeout(patience, self.stream.write_all(&self.out)) => match written {
                Ok(written) => written?,
                Err(_) => return Err(Ended::SlowReader { bytes: self.out.len(), seconds: patience.as_secs() }),
            },
            () = hurry => return Err(Ended::SlowReader { bytes: self.out.len(), seconds: LAST_WRITE.as_secs() }),
        }
        self.out.clear();
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
        Ok(())
    }
}
