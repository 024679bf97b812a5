//! The log's threads: one that gathers appends into rounds, and a helper that prepares and deletes segments, so that no
//! round waits for either (unless a segment fills up faster than the next can be prepared, which is as fast as disks go).
//!
//! Whatever is queued when a round ends is the next round: there is no timer, a lone append is written at once, and under
//! load rounds grow by themselves.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::{Condvar, Mutex};

use super::{
    Durable, Fatal, LogConfig, LogError, LogUsage,
    core::LogCore,
    segment::{self, Segment},
};
use crate::{
    disk::Disk,
    types::{Append, Recovered},
};

/// A handle to the log thread; all clones are one log. It ends when one of them is closed or the last is dropped.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

/// Opens a log that was formatted before (see [`format`](super::format)), recovers it and starts its threads. One
/// [`Recovered`] a shard, in their order.
///
/// # Errors
/// As [`LogCore::open`].
pub fn open(
    disk: Arc<dyn Disk>,
    config: LogConfig,
    durable: Durable,
    fatal: Fatal,
) -> Result<(Log, Vec<Recovered>), LogError> {
    let (core, recovered) = LogCore::open(Arc::clone(&disk), config.clone())?;
    let shared = Arc::new(Shared::default());
    *shared.usage.lock() = core.usage();
    let (tasks, todo) = unbounded();
    let (done, prepared) = bounded(1);
    let directory = config.directory.clone();
    let starting = |source| LogError::Io {
        action: "start a thread for the log in",
        file: directory.clone(),
        hint: String::new(),
        source,
    };
    let helper = Helper { disk, config, todo, done, shared: Arc::clone(&shared) };
    let helper = spawn("log-segments", move || helper.run()).map_err(starting)?;
    let writer =
        Writer { core, shared: Arc::clone(&shared), tasks: Some(tasks), prepared, preparing: false, durable, fatal };
    let thread = spawn("log", move || writer.run(helper)).map_err(starting)?;
    let handle = Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) });
    Ok((Log { handle }, recovered))
}

impl Log {
    /// Queues appends; never waits for the disk. The queue is bounded by what its callers may have on their way to the disk:
    /// a [`Node`](crate::Node) takes no more entries when it has `max_unsynced_bytes` there, whoever leads, and other appends
    /// come one a change of term or snapshot. After the log has failed or was closed this does nothing.
    pub fn submit(&self, batch: Vec<Append>) {
        if batch.is_empty() {
            return;
        }
        let mut state = self.handle.shared.state.lock();
        if state.open() {
            state.queue.extend(batch);
            drop(state);
            self.handle.shared.wake.notify_one();
        }
    }

    /// As of the last round.
    #[must_use]
    pub fn usage(&self) -> LogUsage {
        *self.handle.shared.usage.lock()
    }

    /// Writes, syncs and reports what is queued, then ends the threads. Other handles become useless. Blocks until that is
    /// done, except when called from the log thread itself.
    pub fn close(self) {
        self.handle.end();
    }
}

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn end(&self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
        let Some(thread) = self.thread.lock().take() else { return };
        // The last handle may be dropped by the callback, on the log thread, which cannot wait for itself.
        if thread.thread().id() != thread::current().id() {
            // A panic there has been reported as fatal.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    usage: Mutex<LogUsage>,
}

#[derive(Default)]
struct State {
    queue: Vec<Append>,
    closing: bool,
    failed: Option<String>,
}

impl State {
    fn open(&self) -> bool {
        !self.closing && self.failed.is_none()
    }
}

impl Shared {
    /// Waits for appends and takes all there are. `None`: the log is closed and nothing is left.
    fn take(&self, batch: &mut Vec<Append>) -> Result<bool, String> {
        let mut state = self.state.lock();
        while state.queue.is_empty() && state.open() {
            self.wake.wait(&mut state);
        }
        if let Some(reason) = &state.failed {
            return Err(reason.clone());
        }
        std::mem::swap(&mut state.queue, batch);
        Ok(!batch.is_empty())
    }

    fn fail(&self, reason: String) {
        let mut state = self.state.lock();
        state.failed.get_or_insert(reason);
        state.queue = Vec::new();
        drop(state);
        self.wake.notify_one();
    }
}

struct Writer {
    core: LogCore,
    shared: Arc<Shared>,
    tasks: Option<Sender<Task>>,
    prepared: Receiver<Segment>,
    preparing: bool,
    durable: Durable,
    fatal: Fatal,
}

impl Writer {
    fn run(mut self, helper: JoinHandle<()>) {
        let mut guard = PanicGuard { fatal: Some(Arc::clone(&self.fatal)) };
        let result = self.work();
        // Without tasks the helper ends.
        self.tasks = None;
        if let Err(reason) = result {
            self.shared.fail(reason.clone());
            (self.fatal)(reason);
        }
        guard.fatal = None;
        // Its failures have been handed over already.
        let _ = helper.join();
    }

    fn work(&mut self) -> Result<(), String> {
        let mut batch = Vec::new();
        self.delegate();
        while self.shared.take(&mut batch)? {
            for append in batch.drain(..) {
                self.core.append(&append).map_err(|e| e.to_string())?;
                if self.core.buffered() >= self.core.round_bytes() {
                    self.flush()?;
                }
            }
            self.flush()?;
        }
        self.core.sync().map_err(|e| e.to_string())
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.core.is_pending() {
            self.receive()?;
            self.core.flush_round().map_err(|e| e.to_string())?;
            self.delegate();
            *self.shared.usage.lock() = self.core.usage();
            (self.durable)(&mut self.core.take_durable());
        }
        Ok(())
    }

    /// Has the helper prepare the next segment and delete what is obsolete.
    fn delegate(&mut self) {
        let Some(tasks) = &self.tasks else { return };
        let prepare = self.core.wants_segment().filter(|_| !self.preparing).map(Task::Prepare);
        self.preparing |= prepare.is_some();
        let obsolete = self.core.take_obsolete().into_iter().map(Task::Remove);
        for task in prepare.into_iter().chain(obsolete) {
            // It refuses only when the helper has failed, which `take` or `receive` tells.
            let _ = tasks.send(task);
        }
    }

    /// Takes over a prepared segment; waits for it only if the next round cannot do without.
    fn receive(&mut self) -> Result<(), String> {
        let segment = if self.core.is_stuck() {
            Some(self.prepared.recv().map_err(|_| self.helper_failure())?)
        } else {
            self.prepared.try_recv().ok()
        };
        if let Some(segment) = segment {
            self.core.provide(segment);
            self.preparing = false;
        }
        Ok(())
    }

    fn helper_failure(&self) -> String {
        self.shared.state.lock().failed.clone().unwrap_or_else(|| "the log's helper thread has ended".into())
    }
}

/// A panic of the log thread must not leave a process that waits for it forever.
struct PanicGuard {
    fatal: Option<Fatal>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if let Some(fatal) = self.fatal.take() {
            fatal("the log thread panicked; see the message before this one".into());
        }
    }
}

enum Task {
    Prepare(u64),
    Remove(u64),
}

struct Helper {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    /// Not bounded itself, but by the number of segments there are.
    todo: Receiver<Task>,
    done: Sender<Segment>,
    shared: Arc<Shared>,
}

impl Helper {
    fn run(self) {
        for task in &self.todo {
            if let Err(error) = self.perform(&task) {
                self.shared.fail(error.to_string());
                return;
            }
        }
    }

    fn perform(&self, task: &Task) -> Result<(), LogError> {
        match *task {
            Task::Prepare(number) => {
                let segment = segment::prepare(&*self.disk, &self.config, number)?;
                // Nobody takes it when the log has ended meanwhile; it is found at the next start.
                let _ = self.done.send(segment);
                Ok(())
            }
            Task::Remove(number) => segment::remove(&*self.disk, &self.config, number),
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(body)
}
