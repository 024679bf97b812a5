//! One connection, as lean as a client can be: what one read brings is settled, what may then be asked goes out in one
//! write. Generators need most of a core for themselves otherwise.
//!
//! When the leader changes or the connection ends, everything unanswered is sent again under its own id to whoever leads
//! then, and goes on being measured from when it was meant to be sent.

use super::dialect::{Dialect, Heard};
use super::recorder::Recorder;
use super::schedule::Due;
use crate::clock;
use crate::error::CliError;
use bytes::BytesMut;
use doorbuster_protocol::limits::MAX_IN_FLIGHT_PER_CONNECTION;
use std::cell::RefCell;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Room for one read.
const READ_BYTES: usize = 64 << 10;
/// What is unanswered so long after the end is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two looks for a leader.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// When operations are sent.
#[derive(Clone, Debug)]
pub enum Pace {
    /// Each answer makes room for the next: so many are always under way.
    Closed {
        /// How many.
        depth: usize,
    },
    /// As they fall due, whatever the answers do.
    Open(Rc<Due>),
}

/// One connection's operations.
pub struct Wire<D> {
    dialect: D,
    pace: Pace,
    until: Instant,
    recorder: Rc<RefCell<Recorder>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// To be written, of which so many bytes were.
    out: Vec<u8>,
    written: usize,
    input: BytesMut,
    heard: Vec<(usize, Heard)>,
    exhausted: bool,
}

/// An operation under way; free if it has no number.
#[derive(Clone, Copy, Debug)]
struct Slot {
    number: Option<u64>,
    meant: Instant,
}

/// Why a connection is left.
enum Left {
    /// Everything was asked and answered, or given up.
    Done,
    /// It ended.
    Lost,
    /// Another node leads.
    Moved,
}

impl<D: Dialect> Wire<D> {
    /// A connection's part of the work, until then.
    #[must_use]
    pub fn new(dialect: D, pace: Pace, until: Instant, recorder: Rc<RefCell<Recorder>>) -> Self {
        Self {
            dialect,
            pace,
            until,
            recorder,
            slots: Vec::new(),
            free: Vec::new(),
            out: Vec::new(),
            written: 0,
            input: BytesMut::new(),
            heard: Vec::new(),
            exhausted: false,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// The system does not take this client, or does not keep to its protocol.
    pub async fn run(mut self) -> Result<(), CliError> {
        let mut patience = Box::pin(tokio::time::sleep_until((self.until + PATIENCE).into()));
        loop {
            let Some(mut stream) = self.connect(patience.as_mut()).await? else {
                self.give_up();
                return Ok(());
            };
            match self.turns(&mut stream, patience.as_mut()).await? {
                Left::Done => return Ok(()),
                Left::Lost => self.recorder.borrow_mut().lost_connection(),
                Left::Moved => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// A connection to the leader, with everything unanswered queued again; `None` if patience ends first.
    async fn connect(&mut self, mut patience: Pin<&mut Sleep>) -> Result<Option<TcpStream>, CliError> {
        self.input.clear();
        loop {
            let dialled = tokio::select! {
                () = patience.as_mut() => return Ok(None),
                dialled = self.dialect.dial(&mut self.input) => dialled?,
            };
            if let Some(stream) = dialled {
                self.queue_again();
                return Ok(Some(stream));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn queue_again(&mut self) {
        self.written = 0;
        self.out.clear();
        for at in 0..self.slots.len() {
            if let Some(number) = self.slots[at].number {
                self.recorder.borrow_mut().resent();
                self.dialect.ask(at, number, &mut self.out);
            }
        }
    }

    async fn turns(&mut self, stream: &mut TcpStream, mut patience: Pin<&mut Sleep>) -> Result<Left, CliError> {
        let (mut read, write) = stream.split();
        loop {
            self.fill(clock::now());
            if self.exhausted && self.in_flight() == 0 {
                return Ok(Left::Done);
            }
            if self.has_unwritten() {
                self.dialect.seal(&mut self.out);
                match write.try_write(&self.out[self.written..]) {
                    Ok(bytes) => self.wrote(bytes),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return Ok(Left::Lost),
                }
            }
            self.input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                got = read.read_buf(&mut self.input) => {
                    if !matches!(got, Ok(1..)) {
                        return Ok(Left::Lost);
                    }
                    if self.settle(clock::now())? {
                        return Ok(Left::Moved);
                    }
                }
                _ready = write.writable(), if self.has_unwritten() => {}
                () = due(&self.pace) => {}
                () = patience.as_mut() => {
                    self.give_up();
                    return Ok(Left::Done);
                }
            }
        }
    }

    /// Asks whatever may be asked now.
    fn fill(&mut self, now: Instant) {
        self.exhausted |= matches!(self.pace, Pace::Closed { .. }) && now >= self.until;
        while !self.exhausted && self.in_flight() < self.room() {
            let meant = match &self.pace {
                Pace::Closed { .. } => now,
                Pace::Open(due) => match due.take() {
                    Some(meant) => meant,
                    None => {
                        self.exhausted = due.has_ended();
                        return;
                    }
                },
            };
            let Some(number) = self.dialect.next() else {
                self.exhausted = true;
                return;
            };
            let slot = Slot { number: Some(number), meant };
            let at = match self.free.pop() {
                Some(at) => at as usize,
                None => {
                    self.slots.push(slot);
                    self.slots.len() - 1
                }
            };
            self.slots[at] = slot;
            self.dialect.ask(at, number, &mut self.out);
        }
    }

    fn room(&self) -> usize {
        match &self.pace {
            Pace::Closed { depth } => *depth,
            Pace::Open(_) => MAX_IN_FLIGHT_PER_CONNECTION,
        }
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn has_unwritten(&self) -> bool {
        self.written < self.out.len()
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if !self.has_unwritten() {
            self.out.clear();
            self.written = 0;
        }
    }

    /// Takes the answers that were read. Returns whether the leader is elsewhere.
    fn settle(&mut self, now: Instant) -> Result<bool, CliError> {
        self.dialect.hear(&mut self.input, &mut self.heard)?;
        let mut moved = false;
        let mut recorder = self.recorder.borrow_mut();
        for (at, heard) in self.heard.drain(..) {
            let (kind, wrong) = match heard {
                Heard::Right => (None, None),
                Heard::Kind(name) => (Some(name), None),
                Heard::Other(name) => (None, Some(name)),
                Heard::Elsewhere => {
                    moved = true; // it stays in its slot, and is sent again
                    continue;
                }
            };
            let Some(slot) = self.slots.get_mut(at) else { continue };
            if slot.number.take().is_some() {
                recorder.answered(slot.meant, now, wrong);
                if let Some(name) = kind {
                    recorder.of_kind(name, slot.meant, now);
                }
                self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        Ok(moved)
    }

    fn give_up(&mut self) {
        let now = clock::now();
        let mut recorder = self.recorder.borrow_mut();
        for slot in self.slots.iter().filter(|slot| slot.number.is_some()) {
            recorder.gave_up(slot.meant, now);
        }
    }
}

/// Until more falls due; in a closed loop answers alone make room.
async fn due(pace: &Pace) {
    match pace {
        Pace::Closed { .. } => pending().await,
        Pace::Open(due) => due.more().await,
    }
}
