//! One connection to one node. Callers append their request to a shared buffer; a writer task takes
//! whatever has gathered and sends it as one write; a reader task decodes each read's answers and hands
//! them out under one lock. Nobody writes a frame of their own, and a request costs no allocation.
//!
//! Ends, for good, with the first error of the socket or the stream, or when requests time out and
//! nothing at all is heard. Every caller then hears whether its bytes may have been sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{RequestBatch, decode_answers, frame_length};
use doorbuster_protocol::handshake::{Hello, Welcome, WelcomeOrFailure, decode_welcome, encode_hello};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::RequestId;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use crate::clock::{Instant, now};
use crate::decision::Outcome;
use crate::pending::Pending;

/// Bytes queued on a connection whose node does not read them; beyond, callers are turned away.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Room made for each read.
const READ_BYTES: usize = 64 << 10;
/// How long a connection may be silent, while requests time out, before it ends.
const STALL: Duration = Duration::from_secs(1);
/// How late a time-out may be noticed.
const SWEEP: Duration = Duration::from_millis(10);
/// Sweeps with nothing to do until the sweeper rests.
const IDLE_SWEEPS: u32 = 100;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialError {
    /// It cannot be reached, or does not speak the protocol.
    Unreachable(String),
    /// It turned us away.
    Refused(Failure),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// As in the state, to be read without its lock.
    closed: AtomicBool,
    /// Something was queued and the writer rests.
    queued: Notify,
    /// Something waits and the sweeper rests.
    waiting: Notify,
    /// Places for requests in flight, as many as the node allows.
    places: Semaphore,
    /// End with the connection, and with them the socket.
    tasks: OnceLock<[AbortHandle; 3]>,
}

#[derive(Debug)]
struct State {
    pending: Pending,
    outbox: Vec<u8>,
    batch: RequestBatch,
    writer_rests: bool,
    sweeper_rests: bool,
    closed: bool,
    /// When the first of the requests was queued that timed out since anything was heard.
    silent_since: Option<Instant>,
}

impl Connection {
    /// Connects, shakes hands, and starts the tasks.
    pub(crate) async fn open(address: &str, hello: &Hello) -> Result<(Arc<Self>, Welcome), DialError> {
        let failed = |error: std::io::Error| DialError::Unreachable(format!("{address}: {error}"));
        let mut stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut bytes = Vec::new();
        encode_hello(hello, &mut bytes);
        stream.write_all(&bytes).await.map_err(failed)?;
        let mut input = BytesMut::with_capacity(READ_BYTES);
        let welcome = read_welcome(&mut stream, &mut input, address).await?;
        Ok((Self::start(stream, input, &welcome), welcome))
    }

    fn start(stream: TcpStream, input: BytesMut, welcome: &Welcome) -> Arc<Self> {
        let shared = Arc::new(Shared::new(welcome.limits.max_in_flight.max(1) as usize));
        let (read, write) = stream.into_split();
        let tasks = [
            tokio::spawn(read_answers(Lasting(Arc::clone(&shared)), read, input)).abort_handle(),
            tokio::spawn(write_requests(Arc::clone(&shared), write)).abort_handle(),
            tokio::spawn(sweep(Arc::clone(&shared))).abort_handle(),
        ];
        let tasks = shared.tasks.get_or_init(|| tasks);
        if shared.closed.load(Ordering::Acquire) {
            tasks.iter().for_each(AbortHandle::abort); // it ended before its tasks were known
        }
        Arc::new(Self { shared })
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Sends a request and waits for its answer, at most until then.
    ///
    /// Cancellation safe: a caller that goes leaves nothing behind, but its request may be on its way.
    pub(crate) async fn call(&self, request: &Request, until: Instant) -> Outcome {
        let place = match self.shared.places.try_acquire() {
            Ok(place) => place,
            Err(_) => match tokio::time::timeout_at(until, self.shared.places.acquire()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) => return Outcome::Lost { sent: false },
                Err(_) => return Outcome::TimedOut { sent: false },
            },
        };
        let outcome = match self.queue(request, until) {
            Some(id) => Call { shared: &self.shared, id: Some(id) }.await,
            None => Outcome::Lost { sent: false },
        };
        drop(place);
        outcome
    }

    /// Appends the request to what the writer sends next; `None` if that is too late or too much.
    fn queue(&self, request: &Request, until: Instant) -> Option<RequestId> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        if state.closed || state.outbox.len() > MAX_QUEUED_BYTES {
            return None;
        }
        let id = state.pending.insert(now(), until);
        state.batch.push(id, request, &mut state.outbox);
        let wake_writer = std::mem::take(&mut state.writer_rests);
        let wake_sweeper = std::mem::take(&mut state.sweeper_rests);
        drop(guard);
        if wake_writer {
            self.shared.queued.notify_one();
        }
        if wake_sweeper {
            self.shared.waiting.notify_one();
        }
        Some(id)
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.shared.close("closed by this client");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for the outcome of a request.
struct Call<'a> {
    shared: &'a Shared,
    /// Until the outcome was taken.
    id: Option<RequestId>,
}

impl Future for Call<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(id) = self.id else { return Poll::Pending };
        let outcome = self.shared.state.lock().pending.poll(id, context.waker());
        match outcome {
            Some(outcome) => {
                self.id = None;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.state.lock().pending.abandon(id);
        }
    }
}

impl Shared {
    /// For so many requests in flight.
    fn new(places: usize) -> Self {
        Self {
            state: Mutex::new(State {
                pending: Pending::default(),
                outbox: Vec::new(),
                batch: RequestBatch::default(),
                writer_rests: false,
                sweeper_rests: false,
                closed: false,
                silent_since: None,
            }),
            closed: AtomicBool::new(false),
            queued: Notify::new(),
            waiting: Notify::new(),
            places: Semaphore::new(places),
            tasks: OnceLock::new(),
        }
    }

    fn close(&self, reason: &str) {
        let mut wake = Vec::new();
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        self.closed.store(true, Ordering::Release);
        state.pending.lose(&mut wake);
        state.outbox = Vec::new();
        drop(state);
        tracing::debug!(reason, lost = wake.len(), "connection ended");
        self.places.close();
        wake.into_iter().for_each(Waker::wake);
        self.tasks.get().into_iter().flatten().for_each(AbortHandle::abort);
    }

    /// Hands answers to their callers.
    fn settle(&self, answers: &mut Vec<(RequestId, Answer)>, wake: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.silent_since = None;
        for (id, answer) in answers.drain(..) {
            wake.extend(state.pending.settle(id, Outcome::Answered(answer)));
        }
        drop(state);
        wake.drain(..).for_each(Waker::wake);
    }

    /// Exchanges the queued bytes for an empty buffer; `None` when the connection has ended.
    fn take_queued(&self, empty: &mut Vec<u8>) -> Option<()> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        std::mem::swap(&mut state.outbox, empty);
        state.batch = RequestBatch::default();
        state.writer_rests = empty.is_empty();
        state.pending.taken();
        Some(())
    }

    /// Ends what has waited too long, and the connection if nothing was heard since.
    /// Returns whether anything still waits; `None` when the connection has ended.
    fn expire(&self, wake: &mut Vec<Waker>) -> Option<bool> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let now = now();
        if let Some(queued_at) = state.pending.expire(now, wake) {
            state.silent_since.get_or_insert(queued_at);
        }
        let stalled = state.silent_since.is_some_and(|since| now.duration_since(since) >= STALL);
        let waits = state.pending.waiting() > 0;
        drop(state);
        wake.drain(..).for_each(Waker::wake);
        if stalled {
            self.close("requests time out and nothing is heard");
        }
        Some(waits)
    }

    /// Whether the sweeper may rest until something waits.
    fn rest(&self) -> bool {
        let mut state = self.state.lock();
        state.sweeper_rests = state.pending.waiting() == 0 && !state.closed;
        state.sweeper_rests
    }
}

/// Ends the connection with the task that has it: a runtime that ends drops its tasks, and nobody else would hear of it.
struct Lasting(Arc<Shared>);

impl Drop for Lasting {
    fn drop(&mut self) {
        self.0.close("the runtime that it was made on has ended");
    }
}

async fn read_welcome(stream: &mut TcpStream, input: &mut BytesMut, address: &str) -> Result<Welcome, DialError> {
    let unreachable = |why: String| DialError::Unreachable(format!("{address}: {why}"));
    loop {
        match decode_welcome(input).map_err(|error| unreachable(error.to_string()))? {
            Some((WelcomeOrFailure::Refused(failure), _)) => return Err(DialError::Refused(failure)),
            Some((WelcomeOrFailure::Welcome(welcome), taken)) => {
                input.advance(taken);
                return Ok(welcome);
            }
            None => {}
        }
        if stream.read_buf(input).await.map_err(|error| unreachable(error.to_string()))? == 0 {
            return Err(unreachable("closed the connection during the handshake".to_owned()));
        }
    }
}

async fn read_answers(Lasting(ref shared): Lasting, mut socket: OwnedReadHalf, mut input: BytesMut) {
    let mut answers = Vec::new();
    let mut wake = Vec::new();
    loop {
        match decode_answers(&input, &mut |id, answer| answers.push((id, answer))) {
            Ok(taken) => input.advance(taken),
            Err(error) => {
                shared.settle(&mut answers, &mut wake); // those before the error are good
                return shared.close(&format!("the node does not keep to the protocol: {error}"));
            }
        }
        if !answers.is_empty() {
            shared.settle(&mut answers, &mut wake);
        }
        // The length at the front was checked against the limit of frames by decoding.
        input.reserve(frame_length(&input).unwrap_or(0).saturating_sub(input.len()).max(READ_BYTES));
        match socket.read_buf(&mut input).await {
            Ok(0) => return shared.close("the node closed it"),
            Ok(_) => {}
            Err(error) => return shared.close(&error.to_string()),
        }
    }
}

async fn write_requests(shared: Arc<Shared>, mut socket: OwnedWriteHalf) {
    let mut bytes = Vec::new();
    loop {
        let Some(()) = shared.take_queued(&mut bytes) else { return };
        if bytes.is_empty() {
            shared.queued.notified().await;
            // Others that are about to ask join the same write.
            tokio::task::yield_now().await;
            continue;
        }
        if let Err(error) = socket.write_all(&bytes).await {
            return shared.close(&error.to_string());
        }
        bytes.clear();
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut wake = Vec::new();
    let mut idle = 0;
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(waits) = shared.expire(&mut wake) else { return };
        idle = if waits { 0 } else { idle + 1 };
        if idle > IDLE_SWEEPS && shared.rest() {
            shared.waiting.notified().await;
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::frame::decode_requests;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::request::RequestBody;
    use doorbuster_protocol::types::Millis;

    /// Its writer had no turn, or is held up by what it writes; it will have one.
    #[test]
    fn what_times_out_in_the_queue_is_sent_all_the_same_and_counts_as_sent() {
        let connection = Connection { shared: Arc::new(Shared::new(1)) };
        let request = Request { body: RequestBody::Query(Query::Status), wait: Millis(1) };
        let id = connection.queue(&request, now()).expect("there is room");
        connection.shared.expire(&mut Vec::new());
        let outcome = connection.shared.state.lock().pending.poll(id, Waker::noop());
        assert_eq!(outcome, Some(Outcome::TimedOut { sent: true }));
        let (mut bytes, mut sent) = (Vec::new(), Vec::new());
        connection.shared.take_queued(&mut bytes).expect("it is open");
        decode_requests(&bytes, &mut |id, _| sent.push(id)).expect("what is sent can be read");
        assert_eq!(sent, [id]);
    }
}
