//! The load: a few threads, each with its own part of the connections, its own reactor and its own recorder, so that they
//! share nothing but the counter of operations.

use super::cpu::{Cpus, Pinned};
use super::dialect::Dialect;
use super::recorder::{Recorder, Window};
use super::schedule::{self, Due};
use super::wire::{Pace, Wire};
use crate::clock;
use crate::error::CliError;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet, LocalSet};

/// How the load is made.
#[derive(Clone, Debug)]
pub struct Load {
    /// Threads, each with its part of the connections.
    pub threads: u16,
    /// Connections in all.
    pub connections: u16,
    /// How operations are sent.
    pub rhythm: Rhythm,
    /// Processors of the threads.
    pub cpus: Option<Cpus>,
    /// When it begins; the window to measure may begin later.
    pub start: Instant,
    /// What is measured, and when it ends.
    pub window: Window,
}

/// How operations are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rhythm {
    /// So many under way on each connection.
    Closed(u16),
    /// So many a second in all.
    Open(f64),
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Counts and latencies.
    pub recorder: Recorder,
    /// Processor time that the threads used while they ran, and for how long they ran.
    pub used: Duration,
    /// From the first operation to the last answer.
    pub elapsed: Duration,
}

impl Load {
    /// Makes the load, and waits until it is over.
    ///
    /// # Errors
    /// The first that a thread met; the others end as they would.
    pub async fn run<D: Dialect + Clone + Send + 'static>(&self, dialect: &D) -> Result<Outcome, CliError> {
        let parts = (0..self.threads).map(|thread| {
            let (load, dialect) = (self.clone(), dialect.clone());
            tokio::task::spawn_blocking(move || load.thread(thread, &dialect))
        });
        together(self.window, parts.collect()).await
    }

    fn thread<D: Dialect + Clone + 'static>(&self, thread: u16, dialect: &D) -> Result<Outcome, CliError> {
        let _pinned = self.cpus.as_ref().map(Pinned::to).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::failed(format!("cannot start a generator thread: {error}")))?;
        let recorder = Rc::new(RefCell::new(Recorder::new(self.window)));
        let used = clock::thread_cpu();
        let tasks = LocalSet::new();
        runtime.block_on(tasks.run_until(self.connections(thread, dialect, &recorder)))?;
        let used = clock::thread_cpu().saturating_sub(used);
        let recorder = recorder.borrow().clone();
        Ok(Outcome { recorder, used, elapsed: clock::now().saturating_duration_since(self.start) })
    }

    /// Every `threads`th connection is this thread's.
    async fn connections<D: Dialect + Clone + 'static>(
        &self,
        thread: u16,
        dialect: &D,
        recorder: &Rc<RefCell<Recorder>>,
    ) -> Result<(), CliError> {
        let count = (thread..self.connections).step_by(usize::from(self.threads)).count();
        let dues: Vec<Rc<Due>> = (0..count).map(|_| Rc::default()).collect();
        let mut tasks = JoinSet::new();
        for due in &dues {
            let pace = match self.rhythm {
                Rhythm::Closed(depth) => Pace::Closed { depth: usize::from(depth) },
                Rhythm::Open(_) => Pace::Open(Rc::clone(due)),
            };
            tasks.spawn_local(Wire::new(dialect.clone(), pace, self.window.until, Rc::clone(recorder)).run());
        }
        if let Rhythm::Open(rate) = self.rhythm {
            let own = rate * count as f64 / f64::from(self.connections);
            schedule::run(&dues, own, self.start, self.window.until).await?;
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| CliError::failed(format!("a connection of the generator: {error}")))??;
        }
        Ok(())
    }
}

/// What the threads' parts are together.
///
/// # Errors
/// The first that a thread met.
pub async fn together(window: Window, parts: Vec<JoinHandle<Result<Outcome, CliError>>>) -> Result<Outcome, CliError> {
    let mut outcome = Outcome { recorder: Recorder::new(window), used: Duration::ZERO, elapsed: Duration::ZERO };
    for part in parts {
        let part = part.await.map_err(|error| CliError::failed(format!("a generator thread: {error}")))??;
        outcome.recorder.add(&part.recorder);
        outcome.used += part.used;
        outcome.elapsed = outcome.elapsed.max(part.elapsed);
    }
    Ok(outcome)
}
