//! Where reservations are kept: pages of records, shared copy-on-write, with a free list threaded
//! through the vacant ones. A slot stays the same for a reservation's whole life; which slot it is has
//! no influence on anything that a caller or another replica can see.

use std::sync::Arc;

use doorbuster_protocol::types::Millis;

use crate::record::{Record, Reservation};
use crate::wheel::{Link, Links};

/// Records in a page: 19 KB, the most that one change after a freeze copies.
const PAGE: u32 = 256;

/// See the module. A clone costs one pointer a page.
#[derive(Clone)]
pub(crate) struct Slab {
    pages: Vec<Arc<Vec<Record>>>,
    /// First vacant slot; `END` if all are taken.
    free: u32,
    len: usize,
    /// How long a terminal reservation stays: what the wheel needs to tell a record's time.
    retention: Millis,
}

const END: u32 = u32::MAX;

impl Slab {
    pub(crate) fn new(retention: Millis) -> Self {
        Self { pages: Vec::new(), free: END, len: 0, retention }
    }

    pub(crate) fn retention(&self) -> Millis {
        self.retention
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The reservation in a slot that holds one.
    pub(crate) fn get(&self, slot: u32) -> Reservation {
        self.record(slot).unpack().unwrap_or_else(|| panic!("slot {slot} holds no reservation"))
    }

    /// The id of the reservation in a slot.
    pub(crate) fn id(&self, slot: u32) -> u128 {
        self.record(slot).id()
    }

    /// Puts a reservation into a vacant slot, not linked anywhere.
    pub(crate) fn insert(&mut self, reservation: &Reservation) -> u32 {
        if self.free == END {
            self.add_page();
        }
        let slot = self.free;
        let record = self.record_mut(slot);
        let next_free = record.link.next;
        *record = Record::pack(reservation, Link::NONE);
        self.free = next_free;
        self.len += 1;
        slot
    }

    /// Replaces the reservation in a slot; its links stay.
    pub(crate) fn replace(&mut self, slot: u32, reservation: &Reservation) {
        let record = self.record_mut(slot);
        *record = Record::pack(reservation, record.link);
    }

    /// Makes a slot vacant.
    pub(crate) fn remove(&mut self, slot: u32) {
        let next = self.free;
        *self.record_mut(slot) = Record::vacant(Link { previous: END, next });
        self.free = slot;
        self.len -= 1;
    }

    /// Every slot in use with its reservation.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Reservation)> {
        let records = self.pages.iter().flat_map(|page| page.iter());
        (0_u32..).zip(records).filter_map(|(slot, record)| Some((slot, record.unpack()?)))
    }

    fn add_page(&mut self) {
        #[allow(clippy::cast_possible_truncation)] // reservations, and so slots, are limited to far fewer than 2^31
        let first = self.pages.len() as u32 * PAGE;
        let last = first + PAGE - 1;
        let next = |slot| if slot == last { END } else { slot + 1 };
        let page = (first..=last).map(|slot| Record::vacant(Link { previous: END, next: next(slot) }));
        self.pages.push(Arc::new(page.collect()));
        self.free = first;
    }

    fn record(&self, slot: u32) -> &Record {
        &self.pages[(slot / PAGE) as usize][(slot % PAGE) as usize]
    }

    fn record_mut(&mut self, slot: u32) -> &mut Record {
        &mut Arc::make_mut(&mut self.pages[(slot / PAGE) as usize])[(slot % PAGE) as usize]
    }
}

impl Links for Slab {
    fn link(&self, slot: u32) -> Link {
        self.record(slot).link
    }

    fn set_link(&mut self, slot: u32, link: Link) {
        self.record_mut(slot).link = link;
    }

    fn due(&self, slot: u32) -> u64 {
        let timer = self.get(slot).timer(self.retention);
        timer.unwrap_or_else(|| panic!("slot {slot} waits in the wheel and has no timer")).get()
    }
}
