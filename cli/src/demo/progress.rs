//! What a person sees while the sale runs: steps as lines, and a bar with the figures that matter.

use super::buyers::Sale;
use crate::clock;
use doorbuster_protocol::reply::ProductView;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Steps and bar; both go to stderr, so that stdout carries the result only.
pub struct Progress {
    headless: bool,
    bar: ProgressBar,
    last: (Instant, u64),
    begun: Instant,
}

impl Progress {
    /// With a bar over so many buyers, or without.
    #[must_use]
    pub fn new(headless: bool, buyers: u64) -> Self {
        let bar = if headless { ProgressBar::hidden() } else { ProgressBar::new(buyers) };
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = clock::now();
        Self { headless, bar, last: (now, 0), begun: now }
    }

    /// A step begins.
    pub fn step(&self, what: &str) {
        let line = format!("[{:>6.1}s] {what}", self.begun.elapsed().as_secs_f64());
        if self.headless {
            // Nobody is left to tell if stderr is closed.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
        } else {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// The sale as it is now.
    pub fn show(&mut self, sale: &Sale, product: Option<&ProductView>) {
        let (now, attempts) = (clock::now(), sale.stats.attempts());
        let elapsed = now.saturating_duration_since(self.last.0);
        if elapsed < Duration::from_millis(200) {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // shown without digits behind the point
        let rate = (attempts - self.last.1) as f64 / elapsed.as_secs_f64();
        self.last = (now, attempts);
        let stock = product.map_or_else(String::new, |product| {
            format!(" · held {} · sold {}/{}", product.held, product.sold, product.spec.stock)
        });
        self.bar.set_position(attempts.min(sale.plan.buyers));
        self.bar.set_message(format!("{rate:.0} attempts/s · refused {}{stock}", sale.stats.refused()));
    }

    /// The sale is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
