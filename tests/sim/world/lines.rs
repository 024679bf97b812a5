//! Clients' connections, as TCP's: in order, or broken.

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_server::solo::ConnectionId;

use super::super::net::MS;
use super::super::port::{Happened, Link, Order, Port};
use super::events::Event;
use super::run::Run;
use crate::history::Moment;
use crate::observation::Observation;

/// A client's connection to a node.
pub(super) struct Line {
    pub(super) actor: usize,
    pub(super) node: usize,
    /// Its number there, once it stands.
    connection: Option<ConnectionId>,
    /// The actor has closed it, and hears nothing of it any more.
    closed: bool,
    /// What was sent last arrives then, in either direction.
    to_node: Moment,
    to_actor: Moment,
}

impl Run {
    /// Tells an actor, and carries out what it does.
    pub(super) fn tell(&mut self, actor: usize, what: Happened<'_>) {
        let (now, shards) = (self.now(), self.scenario.shards);
        let nodes = u16::try_from(self.nodes.len()).unwrap_or(u16::MAX);
        let (mut orders, mut heard) = (Vec::new(), Vec::new());
        let (behaviour, rng) = &mut self.actors[actor];
        let mut port = Port {
            now,
            client: u32::try_from(actor).unwrap_or(u32::MAX),
            nodes,
            shards,
            rng,
            history: &mut self.history,
            next_link: &mut self.next_link,
            orders: &mut orders,
            heard: &mut heard,
            tracing: self.trace.is_printing(),
        };
        behaviour.act(what, &mut port);
        for operation in heard {
            let operation = self.history.operations[operation].clone();
            self.see(Observation::Heard { operation: &operation });
        }
        orders.into_iter().for_each(|order| self.carry_out_order(actor, order));
    }

    fn carry_out_order(&mut self, actor: usize, order: Order) {
        let now = self.now();
        match order {
            Order::Connect(link, node) => self.connect_line(actor, link, node),
            Order::Send(link, bytes) => self.send_to_node(link, bytes),
            Order::Close(link) => self.close_line(link),
            Order::Wake(at, number) => self.schedule.at(at, Event::Timer { actor, number }),
            Order::Stored(shard, entries, through) => {
                self.trace.event(now, 8, &[u64::from(shard.0), through.0]);
                self.see(Observation::Stored { shard, entries: &entries, through });
            }
            Order::Took(key) => self.see(Observation::Took { key }),
            Order::GaveBack(key) => self.see(Observation::GaveBack { key }),
            Order::Reached(mark) => self.marks.reach(mark),
            Order::Note(text) => {
                let name = self.actors[actor].0.name();
                self.trace.line(now, || format!("{name}: {text}"));
            }
        }
    }

    fn connect_line(&mut self, actor: usize, link: Link, node: NodeId) {
        let (now, latency) = (self.now(), self.net.latency());
        let node = usize::from(node.0).saturating_sub(1).min(self.nodes.len() - 1);
        let at = Moment(now.0 + latency);
        self.lines.insert(link, Line { actor, node, connection: None, closed: false, to_node: at, to_actor: at });
        self.schedule.at(at, Event::LineOpens { link });
    }

    /// The attempt reaches the node. A process that stands still takes it when it goes on.
    pub(super) fn line_opens(&mut self, link: Link) {
        let Some(node) = self.lines.get(&link).map(|line| line.node) else { return };
        if self.hold_back(node, || Event::LineOpens { link }) {
            return;
        }
        let latency = self.net.latency();
        let connection = self.nodes[node].solo.as_mut().map(doorbuster_server::solo::Solo::connect);
        match connection {
            Some(connection) => {
                if let Some(line) = self.lines.get_mut(&link) {
                    line.connection = Some(connection);
                }
                self.answer(link, latency, Event::LineStands { link });
            }
            None => self.answer(link, latency, Event::LineLost { link }),
        }
    }

    /// True: the process stands still, and the event will happen when it goes on.
    fn hold_back(&mut self, node: usize, event: impl FnOnce() -> Event) -> bool {
        let paused = self.nodes[node].is_up() && self.nodes[node].paused_until > self.now();
        if paused {
            self.nodes[node].deferred.push(event());
        }
        paused
    }

    /// Something happens at the actor's end, after everything that was sent there before.
    fn answer(&mut self, link: Link, latency: u64, event: Event) {
        let now = self.now();
        let Some(line) = self.lines.get_mut(&link) else { return };
        line.to_actor = line.to_actor.max(Moment(now.0 + latency));
        let at = line.to_actor;
        self.schedule.at(at, event);
    }

    fn send_to_node(&mut self, link: Link, bytes: Vec<u8>) {
        let (now, latency) = (self.now(), self.net.latency());
        let Some(line) = self.lines.get_mut(&link) else { return };
        line.to_node = line.to_node.max(Moment(now.0 + latency));
        let at = line.to_node;
        self.schedule.at(at, Event::ToNode { link, bytes });
    }

    pub(super) fn reach_node(&mut self, link: Link, bytes: Vec<u8>) {
        let Some(line) = self.lines.get(&link) else { return };
        let (node, connection) = (line.node, line.connection);
        if self.nodes[node].is_up() && self.nodes[node].paused_until > self.now() {
            return self.nodes[node].deferred.push(Event::ToNode { link, bytes });
        }
        let Some(connection) = connection else { return };
        let now = self.now();
        self.trace.event(now, 9, &[link.0, node as u64]);
        self.trace.bytes(&bytes);
        let monotonic = self.nodes[node].clocks.monotonic(now);
        let received = self
            .call(node, "a request", |node| node.solo.as_mut().map(|solo| solo.receive(connection, &bytes, monotonic)));
        match received.flatten() {
            None => {}
            Some(Ok(answers)) => {
                self.send_to_actor(link, answers);
                self.stir(node);
            }
            Some(Err(error)) => self.violated("codec", format!("a client's frame does not decode: {error}")),
        }
    }

    fn send_to_actor(&mut self, link: Link, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let latency = self.net.latency();
            self.answer(link, latency, Event::ToActor { link, bytes });
        }
    }

    /// What a node's shards have answered gets on its way.
    pub(super) fn send_answers(&mut self, at: usize) {
        let lines = self.lines.iter().filter(|(_, line)| line.node == at);
        let lines: Vec<_> = lines.filter_map(|(link, line)| Some((*link, line.connection?))).collect();
        for (link, connection) in lines {
            let answers = self.nodes[at].solo.as_mut().map(|solo| solo.take_answers(connection));
            self.send_to_actor(link, answers.unwrap_or_default());
        }
    }

    pub(super) fn line_stands(&mut self, link: Link) {
        if let Some(actor) = self.lines.get(&link).filter(|line| !line.closed).map(|line| line.actor) {
            self.tell(actor, Happened::Connected(link));
        }
    }

    pub(super) fn reach_actor(&mut self, link: Link, bytes: &[u8]) {
        let now = self.now();
        if let Some(actor) = self.lines.get(&link).filter(|line| !line.closed).map(|line| line.actor) {
            self.trace.event(now, 10, &[link.0, actor as u64]);
            self.trace.bytes(bytes);
            self.tell(actor, Happened::Received(link, bytes));
        }
    }

    pub(super) fn line_lost(&mut self, link: Link) {
        if let Some(line) = self.lines.remove(&link) {
            self.drop_connection(&line);
            if !line.closed {
                self.tell(line.actor, Happened::Lost(link));
            }
        }
    }

    fn close_line(&mut self, link: Link) {
        // What was sent before still arrives.
        let (now, latency) = (self.now(), self.net.latency());
        if let Some(line) = self.lines.get_mut(&link) {
            line.closed = true;
            let at = line.to_node.max(Moment(now.0 + latency));
            let (node, actor) = (line.node, line.actor);
            self.trace.event(now, 11, &[link.0, node as u64, actor as u64]);
            self.schedule.at(at, Event::LineCloses { link });
        }
    }

    pub(super) fn line_closes(&mut self, link: Link) {
        if let Some(line) = self.lines.remove(&link) {
            self.drop_connection(&line);
        }
    }

    fn drop_connection(&mut self, line: &Line) {
        if let (Some(solo), Some(connection)) = (&mut self.nodes[line.node].solo, line.connection) {
            solo.disconnect(connection);
        }
    }

    pub(super) fn timer(&mut self, actor: usize, number: u64) {
        self.tell(actor, Happened::Timer(number));
    }

    /// A client's connection breaks, at the node's end first.
    pub(super) fn break_line(&mut self, link: Link) {
        let requests = self
            .lines
            .get(&link)
            .and_then(|line| Some(self.nodes[line.node].solo.as_ref()?.in_flight(line.connection?)));
        if let Some(line) = self.lines.get_mut(&link) {
            let connection = line.connection.take();
            let node = line.node;
            if let (Some(solo), Some(connection)) = (&mut self.nodes[node].solo, connection) {
                solo.disconnect(connection);
            }
            self.marks.reach("client_connection_broken");
            self.counters.count("client_connections_broken");
            self.counters.add("requests_cut_off", requests.unwrap_or(0) as u64);
            let latency = self.net.latency();
            self.answer(link, latency, Event::LineLost { link });
        }
    }

    pub(super) fn lines_of_ended(&mut self, at: usize) {
        let links: Vec<Link> = self.lines.iter().filter(|(_, line)| line.node == at).map(|(link, _)| *link).collect();
        for link in links {
            let leads = self.nodes[at].leads_any();
            if let Some(line) = self.lines.get_mut(&link)
                && let Some(connection) = line.connection.take()
            {
                let waiting = self.nodes[at].solo.as_ref().map_or(0, |solo| solo.in_flight(connection));
                if waiting > 0 && leads {
                    self.marks.reach("leader_changed_with_requests_in_flight");
                }
            }
            // A machine that is gone says nothing; its client notices some time later.
            let latency = if self.pace.percent(50) { self.net.latency() } else { self.pace.below(1000 * MS) };
            self.answer(link, latency, Event::LineLost { link });
        }
    }

    /// Which shard a node leads, of those that it leads.
    pub(super) fn leader_of(&self, shard: ShardId) -> Option<usize> {
        let leading = (0..self.nodes.len()).filter_map(|at| Some((self.nodes[at].leads(shard)?, at)));
        leading.max().map(|(_, at)| at)
    }
}
