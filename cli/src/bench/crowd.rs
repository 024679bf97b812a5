//! A stampede, as a connection asks it: buyers without an end, each of whom takes steps. Who is granted a unit pays, gives it
//! back, or walks away, by share; who hears that all units are held may come again. A step that is due goes before a new buyer.

use super::dialect::{Dialect, Heard};
use super::native::is_elsewhere;
use super::site::Guide;
use super::work::{Ask, Work, spread};
use crate::clock;
use crate::entropy;
use crate::error::CliError;
use bytes::{Buf, BytesMut};
use clap::Args;
use doorbuster_protocol::command::{Command, Payment, Reserve, Target};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::frame::{RequestBatch, decode_answers};
use doorbuster_protocol::reply::{Answer, Reply, ReservationState};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, RequestId, ReservationId, UserId};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Bits of an operation's number that say which visit of its buyer it belongs to, and which step it is.
const VISIT_BITS: u32 = 8;
const STEP_BITS: u32 = 2;

/// What buyers do, in shares of a hundred.
#[derive(Args, Clone, Copy, Debug)]
pub struct Mix {
    /// Of a hundred who are granted a unit, so many pay
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub pay_share: u8,
    /// ... and so many walk away, so that the unit comes back by time; the others give it back
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub walk_away_share: u8,
    /// Of a hundred who hear that all units are held, so many come again
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub come_again_share: u8,
    /// How long a buyer takes between two steps
    #[arg(long, default_value = "100ms", value_parser = crate::names::parse_duration, value_name = "DURATION")]
    pub think: Millis,
}

/// A step of a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Reserve,
    BeginPayment,
    Confirm,
    Release,
}

/// An operation: a step of a visit of a buyer, or the number that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    buyer: u64,
    visit: u64,
    step: Step,
}

/// One connection's part of the stampede.
#[derive(Clone)]
pub struct Crowd {
    all: Arc<All>,
    guide: Guide,
    batch: RequestBatch,
    /// The operation of each slot.
    asked: Vec<u64>,
}

/// What all connections share.
pub struct All {
    mix: Mix,
    product: ProductId,
    series: u64,
    /// Counts the buyers.
    buyers: Work,
    /// Steps that are due at their time.
    later: Mutex<BinaryHeap<Reverse<(Instant, u64)>>>,
    /// How many those are, to be read without the lock.
    waiting: AtomicUsize,
    granted: AtomicU64,
    confirmed: AtomicU64,
}

impl Crowd {
    /// Buyers of this product.
    #[must_use]
    pub fn new(mix: Mix, product: ProductId, guide: Guide) -> Self {
        let series = entropy::number();
        let all = All {
            mix,
            product,
            series,
            buyers: Work::endless(Ask::Unit, product, series),
            later: Mutex::default(),
            waiting: AtomicUsize::new(0),
            granted: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
        };
        Self { all: Arc::new(all), guide, batch: RequestBatch::default(), asked: Vec::new() }
    }

    /// What all connections share.
    #[must_use]
    pub fn all(&self) -> Arc<All> {
        Arc::clone(&self.all)
    }
}

impl Dialect for Crowd {
    fn next(&mut self) -> Option<u64> {
        self.all.next()
    }

    async fn dial(&mut self, input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        self.batch = RequestBatch::default();
        self.guide.dial(input).await
    }

    fn ask(&mut self, slot: usize, number: u64, out: &mut Vec<u8>) {
        if self.asked.len() <= slot {
            self.asked.resize(slot + 1, 0);
        }
        self.asked[slot] = number;
        let request = Request { body: self.all.request(Operation::of(number)), wait: Millis(0) };
        self.batch.push(RequestId(slot as u64), &request, out);
    }

    fn seal(&mut self, _out: &mut Vec<u8>) {
        // What has begun to be written is not to be added to.
        self.batch = RequestBatch::default();
    }

    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        let (all, asked) = (&self.all, &self.asked);
        let taken = decode_answers(input, &mut |id, answer| {
            let slot = usize::try_from(id.0).unwrap_or(usize::MAX);
            let Some(number) = asked.get(slot) else { return };
            let elsewhere = is_elsewhere(&answer);
            heard.push((
                slot,
                if elsewhere { Heard::Elsewhere } else { all.live_with(Operation::of(*number), &answer) },
            ));
        })
        .map_err(|error| CliError::failed(format!("the node does not keep to the protocol: {error}")))?;
        input.advance(taken);
        Ok(())
    }
}

impl All {
    /// What counts the buyers.
    pub const fn buyers(&self) -> &Work {
        &self.buyers
    }

    /// Reservations granted, and those confirmed.
    pub fn counts(&self) -> (u64, u64) {
        (self.granted.load(Ordering::Relaxed), self.confirmed.load(Ordering::Relaxed))
    }

    /// A step that is due, or else a new buyer's first.
    fn next(&self) -> Option<u64> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            let mut later = self.later.lock();
            if later.peek().is_some_and(|Reverse((due, _))| *due <= clock::now()) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return later.pop().map(|Reverse((_, number))| number);
            }
        }
        let buyer = self.buyers.next()?;
        Some(Operation { buyer, visit: 0, step: Step::Reserve }.number())
    }

    fn then(&self, operation: Operation) {
        let due = clock::now() + Duration::from_millis(self.mix.think.0);
        self.later.lock().push(Reverse((due, operation.number())));
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    fn request(&self, operation: Operation) -> RequestBody {
        let id = |number: u64| u128::from(self.series) << 64 | u128::from(spread(number));
        let reservation = ReservationId(id(operation.buyer << VISIT_BITS | operation.visit));
        let (product, user) = (self.product, UserId(id(operation.buyer)));
        let target = Target { product, reservation, user };
        RequestBody::Command(match operation.step {
            Step::Reserve => {
                Command::Reserve(Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) })
            }
            Step::BeginPayment => Command::BeginPayment(Payment { target, attempt: 1 }),
            Step::Confirm => Command::Confirm(target),
            Step::Release => Command::Release(target),
        })
    }

    /// What an answer is, and what its buyer does next.
    fn live_with(&self, operation: Operation, answer: &Answer) -> Heard {
        let step = operation.step;
        match answer {
            Ok(Reply::Reservation(reply)) => match (step, reply.reservation.state) {
                (Step::Reserve, ReservationState::Held) => {
                    self.granted.fetch_add(1, Ordering::Relaxed);
                    if let Some(step) = self.mood(operation.buyer) {
                        self.then(Operation { step, ..operation });
                    }
                    Heard::Kind("granted")
                }
                (Step::BeginPayment, ReservationState::Paying) => {
                    self.then(Operation { step: Step::Confirm, ..operation });
                    Heard::Kind("payment begun")
                }
                (Step::Confirm, ReservationState::Confirmed) => {
                    self.confirmed.fetch_add(1, Ordering::Relaxed);
                    Heard::Kind("confirmed")
                }
                (Step::Release, ReservationState::Released) => Heard::Kind("released"),
                (_, state) => Heard::Other(state.name()),
            },
            Ok(_) => Heard::Other("another kind of answer"),
            Err(Failure::Refused(refusal)) => match (step, refusal) {
                (Step::Reserve, Refusal::SoldOut) => Heard::Kind("sold out"),
                (Step::Reserve, Refusal::AllHeld { .. }) => {
                    let comes = spread(operation.number()) % 100 < u64::from(self.mix.come_again_share);
                    if comes && operation.visit + 1 < 1 << VISIT_BITS {
                        self.then(Operation { visit: operation.visit + 1, ..operation });
                    }
                    Heard::Kind("all held")
                }
                (Step::BeginPayment | Step::Confirm | Step::Release, Refusal::ReservationExpired { .. }) => {
                    Heard::Kind("too late")
                }
                (_, refusal) => Heard::Other(refusal.code().name()),
            },
            Err(failure) => Heard::Other(failure.code().name()),
        }
    }

    /// What a buyer does with a unit; nothing if they walk away.
    fn mood(&self, buyer: u64) -> Option<Step> {
        let (pay, walk) = (u64::from(self.mix.pay_share), u64::from(self.mix.walk_away_share));
        match spread(!buyer) % 100 {
            luck if luck < pay => Some(Step::BeginPayment),
            luck if luck < pay + walk => None,
            _ => Some(Step::Release),
        }
    }
}

impl Operation {
    const fn number(self) -> u64 {
        let step = match self.step {
            Step::Reserve => 0,
            Step::BeginPayment => 1,
            Step::Confirm => 2,
            Step::Release => 3,
        };
        (self.buyer << VISIT_BITS | self.visit) << STEP_BITS | step
    }

    const fn of(number: u64) -> Self {
        let step = match number & ((1 << STEP_BITS) - 1) {
            0 => Step::Reserve,
            1 => Step::BeginPayment,
            2 => Step::Confirm,
            _ => Step::Release,
        };
        let visit = number >> STEP_BITS;
        Self { buyer: visit >> VISIT_BITS, visit: visit & ((1 << VISIT_BITS) - 1), step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_its_operation() {
        for step in [Step::Reserve, Step::BeginPayment, Step::Confirm, Step::Release] {
            let operation = Operation { buyer: 123_456_789, visit: 255, step };
            assert_eq!(Operation::of(operation.number()), operation);
        }
    }

    #[test]
    fn moods_are_shared_out_as_asked() {
        let mix = Mix { pay_share: 70, walk_away_share: 20, come_again_share: 50, think: Millis(0) };
        let all = All {
            mix,
            product: ProductId(1),
            series: 7,
            buyers: Work::endless(Ask::Unit, ProductId(1), 7),
            later: Mutex::default(),
            waiting: AtomicUsize::new(0),
            granted: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
        };
        let count = |wanted: Option<Step>| (0..10_000).filter(|buyer| all.mood(*buyer) == wanted).count();
        assert!((6_700..7_300).contains(&count(Some(Step::BeginPayment))));
        assert!((1_700..2_300).contains(&count(None)));
        all.then(Operation { buyer: 5, visit: 0, step: Step::Confirm });
        assert_eq!(all.next().map(Operation::of).map(|next| next.step), Some(Step::Confirm), "a step that is due");
        assert_eq!(all.next().map(Operation::of).map(|next| (next.buyer, next.step)), Some((0, Step::Reserve)));
    }
}
