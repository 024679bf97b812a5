//! An open loop's clock: operations fall due at a fixed rate, whatever became of those before. A thread that does nothing
//! else ticks, because a runtime's timers are good for a millisecond and the kernel's for a twentieth of it.

use crate::clock;
use crate::error::CliError;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often the schedule is looked at.
const TICK: Duration = Duration::from_micros(200);

/// A connection's operations that are due and not sent.
#[derive(Debug, Default)]
pub struct Due {
    meant: RefCell<VecDeque<Instant>>,
    more: Notify,
    ended: Cell<bool>,
}

impl Due {
    /// The one that was due first.
    pub fn take(&self) -> Option<Instant> {
        self.meant.borrow_mut().pop_front()
    }

    /// Whether no more will fall due.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Until more fell due, or none will. Cancellation safe.
    pub async fn more(&self) {
        self.more.notified().await;
    }
}

/// Hands out operations at `rate` a second from `start` on to all in turn, until then.
///
/// # Errors
/// If there can be no thread for the ticks.
pub async fn run(all: &[Rc<Due>], rate: f64, start: Instant, until: Instant) -> Result<(), CliError> {
    let ticks = Arc::new(Notify::new());
    let ticker = Arc::downgrade(&ticks);
    std::thread::Builder::new()
        .name("ticks".to_owned())
        .spawn(move || tick(&ticker))
        .map_err(|error| CliError::failed(format!("no thread for the schedule: {error}")))?;
    let mut sent = 0_u64;
    loop {
        let now = clock::now().min(until);
        let due = count_due(now.saturating_duration_since(start), rate);
        let fresh = due.saturating_sub(sent);
        while sent < due {
            let meant = start + Duration::from_secs_f64(sent as f64 / rate);
            of(all, sent).meant.borrow_mut().push_back(meant);
            sent += 1;
        }
        // They take turns, so whoever got something is among the last `fresh`.
        for back in 1..=fresh.min(all.len() as u64) {
            of(all, sent - back).more.notify_one();
        }
        if now >= until {
            for due in all {
                due.ended.set(true);
                due.more.notify_one();
            }
            return Ok(());
        }
        ticks.notified().await;
    }
}

/// Ticks for as long as somebody listens.
fn tick(ticks: &Weak<Notify>) {
    while let Some(ticks) = ticks.upgrade() {
        ticks.notify_one();
        drop(ticks);
        std::thread::sleep(TICK);
    }
}

/// Whose turn the operation of this number is.
fn of(all: &[Rc<Due>], number: u64) -> &Due {
    &all[usize::try_from(number % all.len() as u64).unwrap_or(0)]
}

/// How many of an endless row at this rate are due after so long.
fn count_due(elapsed: Duration, rate: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // neither negative nor near 2^64
    let due = (elapsed.as_secs_f64() * rate).ceil() as u64;
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_falls_due_is_handed_out_in_turn_and_in_time() {
        let all: Vec<Rc<Due>> = (0..3).map(|_| Rc::default()).collect();
        let start = clock::now();
        let until = start + Duration::from_millis(100);
        run(&all, 10_000.0, start, until).await.expect("a timer");
        let counts: Vec<usize> = all.iter().map(|due| due.meant.borrow().len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1000, "{counts:?}");
        assert!(all.iter().all(|due| due.has_ended()));
        assert!(counts.iter().all(|count| (333..=334).contains(count)), "{counts:?}");
        let first = all[0].take().expect("the first was handed out");
        let second = all[1].take().expect("so was the second");
        assert_eq!((first, second), (start, start + Duration::from_micros(100)));
    }

    #[tokio::test]
    async fn a_late_schedule_leaves_nothing_out() {
        let all = [Rc::new(Due::default())];
        let start = clock::now();
        let until = start + Duration::from_millis(20);
        tokio::time::sleep(Duration::from_millis(60)).await;
        run(&all, 1000.0, start, until).await.expect("a timer");
        assert_eq!(all[0].meant.borrow().len(), 20);
    }
}
