//! One client's connection: reads, routes, writes, in one task.
//!
//! Each turn takes all bytes that one read brought, answers what can be answered, adds whatever the shards
//! have answered meanwhile, and writes all of it in one write. While a write waits for the client nothing is
//! read, so a client that does not read its answers cannot make the server hold more than what it had in
//! flight; after a time it is disconnected.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use doorbuster_protocol::frame::FrameError;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::conversation::Conversation;
use crate::mailbox::Mailbox;
use crate::service::Service;

/// Room for one read.
const READ_BYTES: usize = 64 << 10;

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
    reader: OwnedReadHalf,
    writer: Arc<OwnedWriteHalf>,
    service: Arc<Service>,
    mailbox: Arc<Mailbox>,
    conversation: Conversation,
}

impl Connection {
    /// Continues behind the handshake; `input` holds what was read beyond it.
    #[must_use]
    pub fn new(stream: TcpStream, service: Arc<Service>, input: BytesMut) -> Self {
        let conversation = Conversation::new(Arc::clone(&service.desk), input);
        let mailbox = Arc::clone(conversation.mailbox());
        let (reader, writer) = stream.into_split();
        Self { reader, writer: Arc::new(writer), service, mailbox, conversation }
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
            self.conversation.collect();
            self.write(closing).await?;
            if self.conversation.in_flight() > 0 {
                self.mailbox.lend(&self.writer);
            }
            if self.conversation.has_handed_on() {
                // What other connections have read by now shall be of the same turn.
                tokio::task::yield_now().await;
                self.service.desk.inboxes.attend();
            }
            self.conversation.input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                () = self.mailbox.wait() => {}
                read = self.reader.read_buf(&mut self.conversation.input) => {
                    if read? == 0 {
                        return Err(Ended::ByClient);
                    }
                    // What was answered meanwhile is in flight no more.
                    self.conversation.collect();
                    self.route()?;
                }
                () = closing.cancelled() => {
                    self.conversation.collect();
                    return Err(Ended::ShuttingDown);
                }
            }
        }
    }

    fn route(&mut self) -> Result<(), FrameError> {
        self.conversation.hear(clock::monotonic(), &*self.service)
    }

    async fn write(&mut self, closing: &CancellationToken) -> Result<(), Ended> {
        if self.conversation.out.is_empty() {
            return Ok(());
        }
        let patience = self.service.write_timeout;
        let hurry = async {
            closing.cancelled().await;
            tokio::time::sleep(LAST_WRITE).await;
        };
        tokio::select! {
            biased;
            written = timeout(patience, write_all(&self.writer, &self.conversation.out)) => match written {
                Ok(written) => written?,
                Err(_) => return Err(Ended::SlowReader { bytes: self.conversation.out.len(), seconds: patience.as_secs() }),
            },
            () = hurry => return Err(Ended::SlowReader { bytes: self.conversation.out.len(), seconds: LAST_WRITE.as_secs() }),
        }
        self.conversation.written();
        Ok(())
    }
}

/// While this is under way nobody else writes: see [`Mailbox::lend`].
async fn write_all(writer: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match writer.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
