//! A run under way: everything there is in the world, and the loop that lets it happen.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use doorbuster_protocol::types::Timestamp;

use super::super::clocks::lower_median;
use super::super::counters::Counters;
use super::super::marks::Marks;
use super::super::net::Net;
use super::super::port::{Actor, Link};
use super::super::rng::Rng;
use super::super::scenario::Scenario;
use super::super::schedule::Schedule;
use super::super::trace::Trace;
use super::events::Event;
use super::lines::Line;
use super::node::Node;
use super::peers::Way;
use super::streams::Stream;
use super::{Found, Outcome};
use crate::checkers::{Checker, Violation};
use crate::history::{History, Moment};

/// Events after which a run is called endless.
const MOST_EVENTS: u64 = 20_000_000;

/// Everything in the world.
pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) schedule: Schedule<Event>,
    pub(super) nodes: Vec<Node>,
    pub(super) actors: Vec<(Box<dyn Actor>, Rng)>,
    pub(super) checkers: Vec<Box<dyn Checker>>,
    pub(super) net: Net,
    /// From each node to each other one, by `from * nodes + to`.
    pub(super) ways: Vec<Way>,
    pub(super) lines: BTreeMap<Link, Line>,
    pub(super) next_link: u64,
    pub(super) streams: BTreeMap<u64, Stream>,
    /// Numbers connections, streams, partitions.
    pub(super) next_number: u64,
    /// Chance for how long things take.
    pub(super) pace: Rng,
    /// Chance for when a closed connection is noticed.
    pub(super) closes: Rng,
    /// Chance for faults.
    pub(super) plague: Rng,
    /// Nodes whose disks and clocks may go wrong.
    pub(super) victims: Vec<usize>,
    /// Partitions that stand, in the order in which they were made.
    pub(super) partitions: Vec<u64>,
    pub(super) healed: Option<Moment>,
    pub(super) history: History,
    pub(super) trace: Trace,
    pub(super) counters: Counters,
    pub(super) marks: Marks,
    pub(super) found: Option<Found>,
    pub(super) over: bool,
}

impl Run {
    pub(super) fn now(&self) -> Moment {
        self.schedule.now()
    }

    pub(super) fn play(mut self) -> Outcome {
        self.begin();
        let mut events = 0;
        while self.found.is_none() && !self.over {
            let Some(event) = self.schedule.pop() else { break };
            events += 1;
            if events > MOST_EVENTS {
                self.violated("progress", format!("{MOST_EVENTS} events, and no end"));
            }
            self.happen(event);
        }
        self.counters.add("events", events);
        self.conclude()
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        if let Some(node) = event.process().filter(|node| self.nodes[*node].paused_until > now) {
            return self.nodes[node].deferred.push(event);
        }
        match event {
            Event::Start { node } => self.start(node),
            Event::Turn { node, life } => self.turn(node, life),
            Event::Flush { node, life } => self.flush(node, life),
            Event::Archive { node, life } => self.archive(node, life),
            Event::Resume { node, life } => self.resume(node, life),
            Event::Stop { node, life } => self.stop_at_last(node, life),
            Event::Drain { node, life, until } => self.drained(node, life, until),
            Event::Keepalive { node, life } => self.keep_alive(node, life),
            Event::PeerConnect { from, to, life } => self.peer_connect(from, to, life),
            Event::PeerFrame { from, to, connection, frame } => self.peer_frame(from, to, connection, &frame),
            Event::PeerLost { from, to, life } => self.peer_lost(from, to, life),
            Event::LineOpens { link } => self.line_opens(link),
            Event::ToNode { link, bytes } => self.reach_node(link, bytes),
            Event::LineCloses { link } => self.line_closes(link),
            Event::LineStands { link } => self.line_stands(link),
            Event::ToActor { link, bytes } => self.reach_actor(link, &bytes),
            Event::LineLost { link } => self.line_lost(link),
            Event::Timer { actor, number } => self.timer(actor, number),
            Event::Stream { stream } => self.stream_goes_on(stream),
            Event::Strike { fault } => self.strike(fault),
            Event::Mend { ways, number } => self.mend(&ways, number),
            Event::Recover { node, fault } => self.recover(node, fault),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    fn conclude(mut self) -> Outcome {
        for checker in std::mem::take(&mut self.checkers) {
            if self.found.is_some() {
                break;
            }
            let mut checker = checker;
            if let Err(violation) = checker.conclude(&self.history) {
                self.note_violation(violation);
            }
        }
        let hash =
            self.nodes.iter().fold(self.trace.hash(), |hash, node| super::super::trace::fold(hash, node.disk.hash()));
        Outcome {
            trace_hash: hash,
            lasted: self.now(),
            counters: self.counters,
            marks: self.marks,
            history: self.history,
            found: self.found,
        }
    }

    /// A promise of the world itself was broken.
    pub(super) fn violated(&mut self, property: &'static str, what: String) {
        self.note_violation(Violation { property, what, operations: Vec::new() });
    }

    pub(super) fn note_violation(&mut self, violation: Violation) {
        let at = self.now();
        self.trace.line(at, || format!("VIOLATION {violation}"));
        if self.found.is_none() {
            self.found = Some(Found { violation, at, context: self.trace.context() });
        }
    }

    /// The lower median of all nodes' wall clocks.
    pub(super) fn cluster_time(&self) -> Timestamp {
        lower_median(self.nodes.iter().map(|node| node.clocks.wall(self.now())).collect())
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Calls the product; a panic of it is a violation.
    pub(super) fn call<T>(&mut self, node: usize, what: &str, call: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let called = catch_unwind(AssertUnwindSafe(|| call(&mut self.nodes[node])));
        self.disk_notes(node);
        match called {
            Ok(answer) => Some(answer),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
                // A process that was stopped in the middle of an operation may be caught anywhere.
                if self.nodes[node].disk.stopped_in().is_none() {
                    self.violated("no_panic", format!("node {} panicked in {what}: {said}", node + 1));
                }
                None
            }
        }
    }

    fn disk_notes(&mut self, node: usize) {
        let at = self.now();
        if self.trace.is_printing() {
            for note in self.nodes[node].disk.take_notes() {
                self.trace.line(at, || format!("n{} disk: {note}", node + 1));
            }
        }
    }
}
