//! Those who were turned away while everything was held, waiting to come again. Bounded: of a million only some
//! stand and wait, which is enough for everything that comes back.

use crate::demo::plan::Buyer;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Most buyers that wait; more go home.
const MOST: usize = 100_000;

/// First come, first served.
#[derive(Debug, Default)]
pub struct Crowd {
    waiting: Mutex<VecDeque<Buyer>>,
}

impl Crowd {
    /// This buyer will come again, as another visit.
    pub fn come_again(&self, buyer: Buyer) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST
            && let Some(again) = buyer.again()
        {
            waiting.push_back(again);
        }
    }

    /// Whoever has waited longest.
    pub fn next(&self) -> Option<Buyer> {
        self.waiting.lock().pop_front()
    }
}
