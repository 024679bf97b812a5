//! What a shard's order writer does next: pure, so that the simulator's writer takes the very same steps against a database
//! that fails between any two of them.
//!
//! 1. Where is the database?
//! 2. What comes behind?
//! 3. Store it, position and all, in one transaction.
//! 4. Only then acknowledge, so that the cluster may forget it.
//!
//! A crash between 3 and 4 leaves the database ahead of what is acknowledged; whoever finds that acknowledges again.
//! Another gateway's writer may be anywhere in the same loop: the position row's lock lets one store, and the other
//! finds it done. Every failure is retried for as long as the writer runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::reply::{FeedEntry, FeedKind, FeedPage};
use doorbuster_protocol::types::{FeedPosition, Millis, ReservationId, ShardId};

use super::row::hex;
use super::store::{StoreError, Stored};
use crate::pause::Pause;

/// Entries that one transaction stores.
pub(super) const BATCH: u32 = 1000;
/// Stored entries that are compared with the feed before the first is acknowledged.
const RECOGNISED_BY: u32 = 16;
/// Pause after a feed had nothing new, growing from the first to the second.
const IDLE: (Millis, Millis) = (Millis(20), Millis(250));
/// Pause after a failure, growing likewise.
const RETRY: (Millis, Millis) = (Millis(100), Millis(5_000));

/// A step to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the database how far the shard's feed is stored.
    Position,
    /// Ask the database where in the shard's feed its entries of this reservation came from.
    Find(ReservationId),
    /// Read the feed behind `after`.
    Read {
        /// Entries behind this position.
        after: FeedPosition,
        /// At most so many.
        limit: u32,
    },
    /// Store these, and the position of the last, in one transaction.
    Store(Arc<[FeedEntry]>),
    /// Tell the cluster that everything up to here is stored.
    Acknowledge(FeedPosition),
    /// Do nothing for so long.
    Pause(Duration),
}

/// What came of the step.
#[derive(Clone, Debug)]
pub enum Event {
    /// The database is here.
    Position(FeedPosition),
    /// Positions of the reservation's order and of its parked entries, those that there are.
    Found(Vec<FeedPosition>),
    /// A page of the feed.
    Page(FeedPage),
    /// The database has committed.
    Stored(Stored),
    /// The cluster knows.
    Acknowledged,
    /// The pause is over.
    Rested,
    /// The feed could not be read or acknowledged.
    FeedFailed,
    /// The database did not do it, or nobody knows whether it did.
    StoreFailed(StoreError),
}

/// One shard's writer.
#[derive(Debug)]
pub struct Plan {
    shard: ShardId,
    step: Step,
    /// Stored up to here, as far as known.
    position: Option<FeedPosition>,
    /// The database was seen to hold this feed's orders.
    recognised: bool,
    /// What the database has still to be asked for before it is recognised.
    unrecognised: VecDeque<FeedEntry>,
    /// Stored, but the cluster has not been told.
    unacknowledged: Option<FeedPosition>,
    /// Only ever used with a bug planted: to be stored although it is acknowledged already.
    unstored: Option<Step>,
    /// The feed was seen to be acknowledged up to here and to go on there, which is more than the database was known to
    /// have: either another writer has stored it since the database was asked, or orders are missing.
    doubted: Option<(FeedPosition, FeedPosition)>,
    /// The feed's end when it was last read.
    last: FeedPosition,
    pending: u64,
    /// The feed had nothing new.
    idle_round: bool,
    /// Entries a transaction; fewer while looking for one that is refused, which is not behind `suspect`.
    limit: u32,
    suspect: FeedPosition,
    idle: Pause,
    retry: Pause,
}

impl Plan {
    /// Of a writer that knows nothing yet.
    #[must_use]
    pub const fn new(shard: ShardId) -> Self {
        Self {
            shard,
            step: Step::Position,
            position: None,
            recognised: false,
            unrecognised: VecDeque::new(),
            unacknowledged: None,
            unstored: None,
            doubted: None,
            last: FeedPosition(0),
            pending: 0,
            idle_round: false,
            limit: BATCH,
            suspect: FeedPosition(0),
            idle: Pause::between(IDLE),
            retry: Pause::between(RETRY),
        }
    }

    /// The step to take now.
    #[must_use]
    pub const fn step(&self) -> &Step {
        &self.step
    }

    /// Entries on the feed that are not stored, as far as known.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.pending
    }

    /// The step was taken.
    ///
    /// # Errors
    /// The database and the feed do not belong together. To be reported; the next step is a pause, then it looks again.
    pub fn next(&mut self, event: Event) -> Result<(), StoreError> {
        let storing = matches!(self.step, Step::Store(_));
        match event {
            Event::Rested => self.begin(),
            Event::Position(position) => self.locate(position)?,
            Event::Page(page) if !self.recognised => {
                let position = self.position.unwrap_or_default();
                self.unrecognised = page.entries.into_iter().filter(|entry| entry.position <= position).collect();
                self.recognise();
            }
            Event::Found(positions) => self.compare(&positions)?,
            Event::Page(page) => self.read(page)?,
            Event::Stored(stored) => {
                self.position = Some(stored.position);
                self.pending = self.last.get().saturating_sub(stored.position.get());
                self.unacknowledged = Some(stored.position);
                self.acknowledge();
            }
            Event::Acknowledged => {
                self.unacknowledged = None;
                match self.unstored.take() {
                    Some(store) => self.step = store,
                    None => self.end_round(),
                }
            }
            Event::StoreFailed(error) if storing => self.not_stored(&error),
            Event::StoreFailed(_) | Event::FeedFailed => self.fail(),
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.step = match self.position {
            None => Step::Position,
            Some(_) if !self.recognised => Step::Read { after: FeedPosition(0), limit: RECOGNISED_BY },
            Some(position) => Step::Read { after: position, limit: self.limit },
        };
    }

    /// What was acknowledged had been stored: a database that is asked afterwards, and has less, is not the one.
    fn locate(&mut self, position: FeedPosition) -> Result<(), StoreError> {
        if let Some((acknowledged, next)) = self.doubted.take()
            && position < acknowledged
        {
            self.recognised = false;
            self.fail();
            return Err(StoreError::Gap { shard: self.shard, stored: position, next });
        }
        self.position = Some(position);
        self.begin();
        Ok(())
    }

    fn fail(&mut self) {
        self.step = Step::Pause(self.retry.next());
    }

    /// What is stored and not acknowledged (a crash leaves that) must be the orders, or parked, that the feed has there. In the
    /// database of another cluster, or of an earlier one of the same name, it is not, and these orders would be taken
    /// for stored.
    fn recognise(&mut self) {
        match self.unrecognised.front() {
            Some(entry) => self.step = Step::Find(entry.reservation),
            None => {
                self.recognised = true;
                self.begin();
            }
        }
    }

    fn compare(&mut self, found: &[FeedPosition]) -> Result<(), StoreError> {
        let Some(entry) = self.unrecognised.pop_front() else { return Ok(()) };
        if found.iter().any(|position| is_of(*position, &entry)) {
            self.recognise();
            return Ok(());
        }
        self.fail();
        let problem = format!(
            "shard {} is stored up to position {}, but not with the reservation {} that its feed has at {}: \
             this is another cluster's database; give this cluster one of its own",
            self.shard,
            self.position.unwrap_or_default(),
            hex(entry.reservation.get()),
            entry.position
        );
        Err(StoreError::Refused { problem })
    }

    fn read(&mut self, page: FeedPage) -> Result<(), StoreError> {
        let position = self.position.unwrap_or_default();
        if page.last < position {
            self.fail();
            return Err(ends_early(self.shard, position, &page));
        }
        if let Some(next) = gap(position, &page) {
            self.doubted = Some((page.acknowledged, next));
            self.position = None;
            self.begin();
            return Ok(());
        }
        self.last = page.last;
        self.pending = page.last.get().saturating_sub(position.get());
        self.idle_round = page.entries.is_empty();
        if !self.idle_round {
            self.step = Step::Store(page.entries.into());
            if planted::on(Bug::FeedAcknowledgedEarly) {
                // Planted: the cluster may forget what is about to be stored.
                self.unstored = Some(std::mem::replace(&mut self.step, Step::Acknowledge(page.last)));
            }
            return Ok(());
        }
        if position > page.acknowledged {
            self.unacknowledged = Some(position);
        }
        self.acknowledge();
        Ok(())
    }

    fn acknowledge(&mut self) {
        match self.unacknowledged {
            Some(through) => self.step = Step::Acknowledge(through),
            None => self.end_round(),
        }
    }

    fn end_round(&mut self) {
        self.retry.reset();
        if self.idle_round {
            self.step = Step::Pause(self.idle.next());
            return;
        }
        self.idle.reset();
        let stored = self.position.unwrap_or_default();
        if stored >= self.suspect {
            self.limit = BATCH;
        }
        if self.last > stored {
            self.begin();
        } else {
            self.step = Step::Pause(self.idle.next());
        }
    }

    /// Where the database stands is read again: another writer may have moved it, or our commit may have arrived
    /// although its answer did not.
    fn not_stored(&mut self, error: &StoreError) {
        (self.position, self.recognised) = (None, false);
        if let Step::Store(entries) = &self.step
            && !error.is_transient()
        {
            let entries = Arc::clone(entries);
            self.narrow(&entries, error);
        }
        self.fail();
    }

    /// The database refused a batch, and did not even park what is wrong with it (a trigger refuses that, or a constraint
    /// that is checked at the end of a transaction): halves it until what is in front of the refused entry got through and
    /// the entry itself is named.
    fn narrow(&mut self, entries: &[FeedEntry], error: &StoreError) {
        if let [entry] = entries {
            let (position, reservation) = (entry.position, hex(entry.reservation.get()));
            tracing::error!(
                shard = %self.shard, %position, reservation, product = %entry.product, %error,
                "an order cannot be stored; it and those behind it wait on the feed and are tried again"
            );
        } else {
            self.suspect = entries.last().map_or(self.suspect, |last| last.position);
            self.limit = u32::try_from(entries.len() / 2).unwrap_or(BATCH).max(1);
            self.retry.reset();
        }
    }
}

/// Where the feed goes on, if it begins behind what is known to be stored.
fn gap(position: FeedPosition, page: &FeedPage) -> Option<FeedPosition> {
    let next = page.entries.first().map_or(page.acknowledged.get() + 1, |entry| entry.position.get());
    (page.acknowledged > position && next > position.get() + 1).then_some(FeedPosition(next))
}

/// A feed that ends before what is stored is not the one this database belongs to.
fn ends_early(shard: ShardId, position: FeedPosition, page: &FeedPage) -> StoreError {
    let problem = format!(
        "shard {shard} is stored up to position {position}, but its feed ends at {}: is this another cluster's database?",
        page.last
    );
    StoreError::Refused { problem }
}

/// Whether what the database has from there is what this entry, or for a refund's end or a cancellation an earlier one, became.
fn is_of(position: FeedPosition, entry: &FeedEntry) -> bool {
    match entry.kind {
        _ if entry.cancelled.is_some() => position <= entry.position,
        FeedKind::Confirmed | FeedKind::RefundDue => position == entry.position,
        FeedKind::Refunded | FeedKind::Cancelled => position <= entry.position,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use doorbuster_protocol::types::{Currency, Money, ProductId, Quantity, Timestamp, UserId};

    use super::*;

    pub(in crate::orders) fn entry(position: u64) -> FeedEntry {
        FeedEntry {
            position: FeedPosition(position),
            kind: FeedKind::Confirmed,
            product: ProductId(1),
            reservation: ReservationId(u128::from(position)),
            user: UserId(1),
            quantity: Quantity(1),
            price: Money { minor: 1, currency: Currency(*b"EUR") },
            at: Timestamp(1),
            late: false,
            cancelled: None,
        }
    }

    fn page(entries: impl IntoIterator<Item = u64>, acknowledged: u64, last: u64) -> Event {
        let entries = entries.into_iter().map(entry).collect();
        Event::Page(FeedPage { entries, acknowledged: FeedPosition(acknowledged), last: FeedPosition(last) })
    }

    fn stored(position: u64, entries: u64) -> Event {
        Event::Stored(Stored { position: FeedPosition(position), entries, parked: 0 })
    }

    /// Takes the events one after the other and gives the steps between them.
    fn steps(plan: &mut Plan, events: impl IntoIterator<Item = Event>) -> Vec<Step> {
        let step = |event| {
            plan.next(event).expect("they belong together");
            plan.step().clone()
        };
        events.into_iter().map(step).collect()
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_stored() {
        let mut plan = Plan::new(ShardId(0));
        assert_eq!(plan.step(), &Step::Position);
        let taken = steps(
            &mut plan,
            [
                Event::Position(FeedPosition(0)),
                page([1, 2], 0, 2),
                page([1, 2], 0, 2),
                stored(2, 2),
                Event::Acknowledged,
            ],
        );
        assert_eq!(
            taken,
            [
                Step::Read { after: FeedPosition(0), limit: RECOGNISED_BY },
                Step::Read { after: FeedPosition(0), limit: BATCH },
                Step::Store([entry(1), entry(2)].into()),
                Step::Acknowledge(FeedPosition(2)),
                Step::Pause(Duration::from_millis(20)),
            ]
        );
    }

    #[test]
    fn after_a_commit_without_an_answer_the_database_is_asked_and_the_rest_acknowledged() {
        let mut plan = Plan::new(ShardId(0));
        steps(&mut plan, [Event::Position(FeedPosition(0)), page([], 0, 0), page([1], 0, 1)]);
        let lost = Event::StoreFailed(StoreError::Unavailable { problem: "gone".to_owned() });
        let taken = steps(
            &mut plan,
            [
                lost,
                Event::Rested,
                Event::Position(FeedPosition(1)),
                page([1], 0, 1),
                Event::Found(vec![FeedPosition(1)]),
                page([], 0, 1),
            ],
        );
        assert_eq!(taken.last(), Some(&Step::Acknowledge(FeedPosition(1))));
        assert!(!taken.iter().any(|step| matches!(step, Step::Store(_))));
    }

    #[test]
    fn a_database_that_lacks_an_acknowledged_order_is_refused() {
        let mut plan = Plan::new(ShardId(0));
        steps(&mut plan, [Event::Position(FeedPosition(1)), page([], 3, 3), page([], 3, 3)]);
        assert_eq!(plan.step(), &Step::Position);
        assert!(matches!(plan.next(Event::Position(FeedPosition(2))), Err(StoreError::Gap { .. })));
        assert!(matches!(plan.step(), Step::Pause(_)));
    }

    #[test]
    fn what_another_writer_has_stored_and_acknowledged_meanwhile_is_not_missing() {
        let mut plan = Plan::new(ShardId(0));
        let taken = steps(
            &mut plan,
            [
                Event::Position(FeedPosition(1)),
                page([], 1, 1),
                page([4], 3, 4),
                Event::Position(FeedPosition(3)),
                page([4], 3, 4),
            ],
        );
        assert_eq!(taken[2], Step::Position);
        assert_eq!(taken.last(), Some(&Step::Store([entry(4)].into())));
    }
}
