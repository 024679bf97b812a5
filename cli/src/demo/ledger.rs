//! The buyers' side of the story: every acknowledgement, written down as it is heard, before anything else
//! is done with it. At the end it is held against what the shards and the database say, one by one.
//!
//! In memory for the comparison, and in a file of the data folder for whoever wants to read it: one line an
//! acknowledgement, appended, never changed.

use crate::clock;
use crate::error::CliError;
use crate::names::reservation_text;
use doorbuster_protocol::types::{ProductId, Quantity, ReservationId, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// What the buyers were told of one reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its product.
    pub product: ProductId,
    /// Whose it is.
    pub user: UserId,
    /// Its units.
    pub quantity: Quantity,
    /// The buyer asked for it to be sold, whatever came of it.
    pub asked_to_buy: bool,
    /// Told: sold.
    pub confirmed: bool,
    /// Told: given back.
    pub released: bool,
    /// Told: the money goes back.
    pub refunded: bool,
}

/// What can be heard of a reservation once it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The buyer asked for it to be sold.
    AskedToBuy,
    /// It is sold.
    Confirmed,
    /// It was given back.
    Released,
    /// It is paid for, but was gone: the money goes back.
    Refunded,
}

/// The append-only ledger.
#[derive(Debug)]
pub struct Ledger {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    heard: HashMap<ReservationId, Heard>,
    file: File,
    failed: Option<String>,
}

impl Ledger {
    /// A new ledger with its file at `path`.
    pub fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path)
            .map_err(|error| CliError::failed(format!("cannot write the ledger {}: {error}", path.display())))?;
        Ok(Self { begun: clock::now(), inner: Mutex::new(Inner { heard: HashMap::new(), file, failed: None }) })
    }

    /// Heard: this reservation is made. Hearing it again (a retry's answer) adds nothing.
    pub fn reserved(&self, reservation: ReservationId, product: ProductId, user: UserId, quantity: Quantity) {
        let mut inner = self.inner.lock();
        if inner.heard.contains_key(&reservation) {
            return;
        }
        let heard =
            Heard { product, user, quantity, asked_to_buy: false, confirmed: false, released: false, refunded: false };
        inner.write(self.begun, reservation, product, &format!("reserved user={:032x} quantity={quantity}", user.0));
        inner.heard.insert(reservation, heard);
    }

    /// Heard: this happened to a reservation that was made before.
    pub fn note(&self, reservation: ReservationId, event: Event) {
        let mut inner = self.inner.lock();
        let Some(heard) = inner.heard.get_mut(&reservation) else {
            inner.failed = Some(format!("{event:?} was heard of {:032x}, which was never made", reservation.0));
            return;
        };
        let product = heard.product;
        let (flag, word) = match event {
            Event::AskedToBuy => (&mut heard.asked_to_buy, "asked_to_buy"),
            Event::Confirmed => (&mut heard.confirmed, "confirmed"),
            Event::Released => (&mut heard.released, "released"),
            Event::Refunded => (&mut heard.refunded, "refunded"),
        };
        if !std::mem::replace(flag, true) {
            inner.write(self.begun, reservation, product, word);
        }
    }

    /// How many reservations were acknowledged.
    #[must_use]
    pub fn reservations(&self) -> usize {
        self.inner.lock().heard.len()
    }

    /// Everything heard; and why the ledger itself is not to be trusted, if it is not.
    #[must_use]
    pub fn close(&self) -> (HashMap<ReservationId, Heard>, Option<String>) {
        let inner = self.inner.lock();
        (inner.heard.clone(), inner.failed.clone())
    }
}

impl Inner {
    fn write(&mut self, begun: Instant, reservation: ReservationId, product: ProductId, what: &str) {
        let ms = clock::now().saturating_duration_since(begun).as_millis();
        let line = format!("{ms} {} {what}\n", reservation_text(product, reservation));
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.failed = Some(format!("the ledger's file could not be written: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_stays_heard_once_in_memory_and_in_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.txt");
        let ledger = Ledger::create(&path).expect("the folder takes a file");
        let id = ReservationId(5);
        for _ in 0..2 {
            ledger.reserved(id, ProductId(1), UserId(9), Quantity(1));
            ledger.note(id, Event::AskedToBuy);
            ledger.note(id, Event::Confirmed);
        }
        let (heard, failed) = ledger.close();
        assert_eq!(failed, None);
        assert!(heard[&id].confirmed && heard[&id].asked_to_buy && !heard[&id].released);
        let text = std::fs::read_to_string(&path).expect("it was written");
        assert_eq!(text.lines().count(), 3, "{text}");
        ledger.note(ReservationId(6), Event::Confirmed);
        assert!(ledger.close().1.is_some(), "nothing is heard of a reservation that was never made");
    }
}
