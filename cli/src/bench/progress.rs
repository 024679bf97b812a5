//! What a person sees while a bench runs: a bar over the time that it takes, and what was asked so far. On stderr, so that
//! stdout carries the result only.

use super::work::Work;
use crate::clock;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How often the bar moves.
const STEP: Duration = Duration::from_millis(200);

/// A bar while a part of the bench lasts; gone when dropped.
pub struct Progress {
    bar: ProgressBar,
    moving: AbortHandle,
}

impl Progress {
    /// Of work that lasts from now until then at most. Nothing is shown where nobody looks.
    pub fn over(what: &str, work: &Work, until: Instant) -> Self {
        let begun = clock::now();
        let length = until.saturating_duration_since(begun);
        let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (moved, what, work) = (bar.clone(), what.to_owned(), work.clone());
        let moving = tokio::spawn(async move {
            let mut before = 0;
            loop {
                let (since, taken) = (clock::now().saturating_duration_since(begun), work.taken());
                let rate = (taken - before) as f64 / STEP.as_secs_f64();
                moved.set_position(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
                moved.set_message(format!("{what}: {taken} asked, {rate:.0}/s"));
                before = taken;
                tokio::time::sleep(STEP).await;
            }
        });
        Self { bar, moving: moving.abort_handle() }
    }

    /// A line above the bar.
    pub fn say(text: &str) {
        // Nobody is left to tell if stderr is closed.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.moving.abort();
        self.bar.finish_and_clear();
    }
}
