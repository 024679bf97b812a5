//! Load shedding: so many requests in progress and no more. Beyond that an honest 503 at once is worth more than an
//! answer that nobody waits for any longer.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::problem::{Problem, kinds};

/// Counts requests in progress.
#[derive(Debug)]
pub struct Shed {
    in_progress: AtomicUsize,
    most: usize,
}

/// A request's place; given back when dropped, so also when the request is cancelled.
#[derive(Debug)]
pub struct Place<'a>(&'a Shed);

impl Shed {
    /// Room for so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { in_progress: AtomicUsize::new(0), most }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// 503 `overloaded` when there is none.
    pub fn enter(&self) -> Result<Place<'_>, Problem> {
        // A plain counter: it orders nothing else.
        let before = self.in_progress.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        if before < self.most {
            return Ok(place);
        }
        let detail = "The gateway has as many requests in progress as it takes; nothing was done.";
        Err(Problem::new(&kinds::OVERLOADED, detail).with("limit", self.most))
    }

    /// Requests in progress now.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.in_progress.load(Ordering::Relaxed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_is_room_for() {
        let shed = Shed::new(2);
        let (first, second) = (shed.enter().unwrap(), shed.enter().unwrap());
        assert_eq!(shed.enter().unwrap_err().kind, &kinds::OVERLOADED);
        assert_eq!(shed.in_progress(), 2, "the refused one left again");
        drop(first);
        let third = shed.enter().unwrap();
        drop((second, third));
        assert_eq!(shed.in_progress(), 0);
    }
}
