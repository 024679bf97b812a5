//! A gateway's order writer: the product's own [`Plan`] for every shard, before a database that fails between any two of
//! its steps. It dies now and then and starts from nothing; several may run.

use std::time::Duration;

use doorbuster_gateway::orders::plan::{Event, Plan, Step};
use doorbuster_gateway::orders::{StoreError, Stored};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{FeedEntry, Reply};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::ShardId;

use super::board;
use super::caller::{Caller, Finished};
use super::database;
use super::shape::Shape;
use crate::history::Heard;
use crate::sim::port::{Actor, Happened, Port};

/// A gateway waits so long for an answer of the cluster.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Writer {
    number: usize,
    board: board::Shared,
    database: database::Shared,
    caller: Caller,
    tasks: Vec<Task>,
    deaths: u64,
    failures: u64,
    winding_down: bool,
}

/// One shard's writer.
#[derive(Debug)]
struct Task {
    plan: Plan,
    /// The database's answer, until it arrives.
    answer: Option<Event>,
    /// Tells the timers of this task's present step from older ones.
    wait: u64,
    /// The feed was read to its end since nobody else had work to do.
    drained: bool,
    /// Such a reading is under way.
    draining: bool,
}

impl Writer {
    /// One of several gateways before the same database.
    #[must_use]
    pub fn new(number: usize, board: &board::Shared, database: &database::Shared, shape: &Shape) -> Self {
        Self {
            number,
            board: board::Shared::clone(board),
            database: database::Shared::clone(database),
            caller: Caller::default(),
            tasks: Vec::new(),
            deaths: shape.deaths,
            failures: shape.database_failures,
            winding_down: false,
        }
    }

    fn start(&mut self, port: &mut Port<'_>) {
        // Timers of an earlier life go unheard.
        let wait = self.tasks.iter().map(|task| task.wait).max().unwrap_or(0) + 1;
        self.tasks = (0..port.shards())
            .map(|shard| Task { plan: Plan::new(ShardId(shard)), answer: None, wait, drained: false, draining: false })
            .collect();
        (0..self.tasks.len()).for_each(|shard| self.take(shard, port));
    }

    /// Takes the plan's step; or dies before it.
    fn take(&mut self, shard: usize, port: &mut Port<'_>) {
        if !self.winding_down && port.rng().millionth(self.deaths * 1_000) {
            return self.die(port);
        }
        let quiet = self.winding_down && !self.board.borrow().is_busy();
        let Some(task) = self.tasks.get_mut(shard) else { return };
        let id = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
        match task.plan.step().clone() {
            Step::Pause(pause) => self.wait(shard, pause, port),
            Step::Read { after, limit } => {
                task.draining = quiet;
                let query = Query::Feed { shard: id, after, limit };
                self.caller.call(port, RequestBody::Query(query), PATIENCE, shard as u64);
            }
            Step::Acknowledge(through) => {
                let command = Command::AcknowledgeFeed { shard: id, through };
                self.caller.call(port, RequestBody::Command(command), PATIENCE, shard as u64);
            }
            Step::Position | Step::Find(_) | Step::Store(_) => {
                // What the database does, it does when it answers; but a store may be done long before that.
                let slow = port.rng().percent(5);
                let millis = if slow { port.rng().between(50, 3_000) } else { port.rng().between(1, 20) };
                self.wait(shard, Duration::from_millis(millis), port);
            }
        }
    }

    fn die(&mut self, port: &mut Port<'_>) {
        port.note("dies".to_owned());
        self.caller.die(port);
        if self.tasks.iter().any(|task| matches!(task.plan.step(), Step::Acknowledge(_))) {
            port.reached("orders_failed_after_store_before_acknowledge");
        }
        self.start(port);
    }

    fn wait(&mut self, shard: usize, delay: Duration, port: &mut Port<'_>) {
        let shards = self.tasks.len() as u64;
        let Some(task) = self.tasks.get_mut(shard) else { return };
        task.wait += 1;
        port.wake_after(delay, task.wait * shards + shard as u64);
    }

    fn waited(&mut self, number: u64, port: &mut Port<'_>) {
        let shards = (self.tasks.len() as u64).max(1);
        let shard = usize::try_from(number % shards).unwrap_or(0);
        if self.tasks.get(shard).is_none_or(|task| task.wait != number / shards) {
            return;
        }
        let Some(task) = self.tasks.get_mut(shard) else { return };
        let event = match (task.answer.take(), task.plan.step().clone()) {
            (Some(answer), _) => answer,
            (None, Step::Pause(_)) => Event::Rested,
            (None, step) => self.ask(&step, shard, port),
        };
        self.next(shard, event, port);
    }

    /// The database does what it was asked, or fails in one of the ways it can.
    fn ask(&mut self, step: &Step, shard: usize, port: &mut Port<'_>) -> Event {
        let id = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
        let fails = !self.winding_down && port.rng().percent(self.failures);
        let unavailable = || Event::StoreFailed(StoreError::Unavailable { problem: "the model is down".to_owned() });
        if fails {
            port.reached("orders_database_failed");
        }
        match step {
            Step::Position if !fails => Event::Position(self.database.borrow().position(id)),
            Step::Find(reservation) if !fails => Event::Found(self.database.borrow().find(id, *reservation)),
            Step::Store(entries) => {
                let commits = !fails || port.rng().percent(50);
                if !commits {
                    return unavailable();
                }
                let stored = self.commit(id, entries, port);
                if fails { unavailable() } else { Event::Stored(stored) }
            }
            _ => unavailable(),
        }
    }

    fn commit(&self, shard: ShardId, entries: &[FeedEntry], port: &mut Port<'_>) -> Stored {
        let result = self.database.borrow_mut().store(shard, entries);
        // One cluster, one database: whatever it refuses, somebody has broken a promise.
        let (stored, new) = result.unwrap_or_else(|error| panic!("orders: {error}"));
        if new.len() < entries.len() {
            port.reached("orders_stored_twice_offered");
        }
        if !new.is_empty() {
            port.reached("orders_stored");
            port.stored(shard, new, stored.position);
        }
        stored
    }

    fn next(&mut self, shard: usize, event: Event, port: &mut Port<'_>) {
        let Some(task) = self.tasks.get_mut(shard) else { return };
        if let Event::Page(page) = &event {
            let stored = self.database.borrow().position(ShardId(u16::try_from(shard).unwrap_or(u16::MAX)));
            let everything = stored == page.last && page.acknowledged == page.last;
            task.drained = task.draining && everything;
        }
        if let Err(error) = task.plan.next(event) {
            panic!("orders: {error}");
        }
        self.take(shard, port);
    }

    fn hear(&mut self, finished: Vec<Finished>, port: &mut Port<'_>) {
        for finished in finished {
            let shard = usize::try_from(finished.tag).unwrap_or(0);
            let event = match finished.heard {
                Heard::Reply(Reply::Feed(page)) => Event::Page(page),
                Heard::Reply(Reply::FeedAcknowledged(_)) => Event::Acknowledged,
                _ => Event::FeedFailed,
            };
            self.next(shard, event, port);
        }
    }
}

impl Actor for Writer {
    fn name(&self) -> String {
        format!("writer {}", self.number)
    }

    fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>) {
        match what {
            Happened::Begins => self.start(port),
            Happened::Timer(number) if number < 1 << 63 => self.waited(number, port),
            Happened::WindDown => self.winding_down = true,
            _ => {}
        }
        let mut finished = self.caller.act(what, port);
        finished.extend(self.caller.take_finished());
        self.hear(finished, port);
    }

    fn is_done(&self) -> bool {
        self.winding_down && !self.board.borrow().is_busy() && self.tasks.iter().all(|task| task.drained)
    }
}
