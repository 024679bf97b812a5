//! The same work through the client library, as a shop's backend would ask: so many tasks, each with one request under way.
//! A thread has a client of its own, as a process of the backend has.

use super::cpu::Pinned;
use super::dialect::Heard;
use super::generator::{Load, Outcome, together};
use super::recorder::Recorder;
use super::work::Work;
use crate::clock;
use crate::error::CliError;
use doorbuster_client::{Client, Config, Error};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::Millis;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::{JoinSet, LocalSet};

/// So many callers, on the threads and for the time of a load.
#[derive(Clone, Debug)]
pub struct Callers {
    /// How many.
    pub count: u16,
    /// Its threads, their processors, and when it lasts.
    pub load: Load,
}

impl Callers {
    /// Lets them call, and waits until it is over.
    ///
    /// # Errors
    /// The first that a thread met; the others end as they would.
    pub async fn run(&self, work: &Work, config: &Config) -> Result<Outcome, CliError> {
        let parts = (0..self.load.threads).map(|thread| {
            let (callers, work, config) = (self.clone(), work.clone(), config.clone());
            tokio::task::spawn_blocking(move || callers.thread(thread, &work, config))
        });
        together(self.load.window, parts.collect()).await
    }

    fn thread(&self, thread: u16, work: &Work, config: Config) -> Result<Outcome, CliError> {
        let _pinned = self.load.cpus.as_ref().map(Pinned::to).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::failed(format!("cannot start a thread of callers: {error}")))?;
        let recorder = Rc::new(RefCell::new(Recorder::new(self.load.window)));
        let used = clock::thread_cpu();
        // Every `threads`th caller is this thread's.
        let count = (thread..self.count).step_by(usize::from(self.load.threads)).count();
        let calling = async {
            let client = Client::connect(config).await?;
            tokio::time::sleep_until(self.load.start.into()).await;
            let mut tasks = JoinSet::new();
            for _ in 0..count {
                let (client, work, recorder) = (client.clone(), work.clone(), Rc::clone(&recorder));
                tasks.spawn_local(call(client, work, self.load.window.until, recorder));
            }
            while let Some(ended) = tasks.join_next().await {
                ended.map_err(|error| CliError::failed(format!("a caller: {error}")))?;
            }
            client.close().await;
            Ok::<(), CliError>(())
        };
        runtime.block_on(LocalSet::new().run_until(calling))?;
        let used = clock::thread_cpu().saturating_sub(used);
        let recorder = recorder.borrow().clone();
        Ok(Outcome { recorder, used, elapsed: clock::now().saturating_duration_since(self.load.start) })
    }
}

/// One caller: asks, waits for the answer, asks the next.
async fn call(client: Client, work: Work, until: Instant, recorder: Rc<RefCell<Recorder>>) {
    loop {
        let meant = clock::now();
        if meant >= until {
            return;
        }
        let Some(number) = work.next() else { return };
        let request = Request { body: work.request(number), wait: Millis(0) };
        let heard = match client.execute(request, None).await {
            Ok(reply) => work.judge(&Ok(reply)),
            Err(Error::Refused(refusal)) => work.judge(&Err(Failure::Refused(refusal))),
            Err(Error::Rejected(failure)) => work.judge(&Err(failure)),
            Err(Error::OutcomeUnknown) => Heard::Other("outcome_unknown"),
            Err(Error::Unavailable { .. }) => Heard::Other("unavailable"),
            Err(Error::Config(_)) => Heard::Other("misconfigured"),
        };
        let wrong = match heard {
            Heard::Right | Heard::Kind(_) => None,
            Heard::Other(name) => Some(name),
            Heard::Elsewhere => Some("not_leader"),
        };
        recorder.borrow_mut().answered(meant, clock::now(), wrong);
    }
}
