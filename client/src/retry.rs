//! The loop around one request: to the leader, again with the same id when that makes sense, until there
//! is an answer, the deadline has come, or the budget is spent.
//!
//! Once a command's bytes may have been sent and no answer came, only an answer to the same id settles
//! it; without one the result is [`Error::OutcomeUnknown`]. In every other case a failure means that
//! nothing was done.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::{NodeId, ShardId};

use crate::clock::{Instant, now};
use crate::cluster::{Cluster, final_refusal};
use crate::decision::{Course, Decision, Outcome};
use crate::entropy::jittered;
use crate::error::Error;
use crate::node::Node;
use crate::route::Route;

/// Hints from node to node that are followed in a row before the scout is asked.
const MAX_HOPS: u32 = 3;
/// Pause before a node that cannot be reached is tried again.
const REDIAL_PAUSE: Duration = Duration::from_millis(25);

/// One request on its way.
pub(crate) struct Attempts<'a> {
    cluster: &'a Cluster,
    request: Request,
    route: Route,
    until: Instant,
    course: Course,
    hops: u32,
    /// What was last in the way.
    detail: Detail,
}

/// Formatted only if it is reported.
enum Detail {
    Nothing,
    Failure(Failure),
    Text(String),
    NoLeader(ShardId),
    ConnectionLost(NodeId),
    NoAnswer(NodeId),
}

/// What to do next.
enum Next {
    Done(Result<Reply, Error>),
    /// Nothing was done and another node was named, or will be by the scout: go there, at no cost.
    Redirected,
    /// Nothing was sent: try again after a moment, at no cost.
    Unsent(Duration),
    /// Find out who leads, then try again.
    Elsewhere,
    /// Try again after a pause.
    After(Duration),
}

impl<'a> Attempts<'a> {
    pub(crate) const fn new(cluster: &'a Cluster, request: Request, route: Route, until: Instant) -> Self {
        let course = Course::of(&request.body);
        Self { cluster, request, route, until, course, hops: 0, detail: Detail::Nothing }
    }

    /// Runs to the result; says whether a command's attempt went unheard before it.
    pub(crate) async fn run(mut self) -> (Result<Reply, Error>, bool) {
        let result = self.settle().await;
        (result, self.course.is_unheard())
    }

    async fn settle(&mut self) -> Result<Reply, Error> {
        loop {
            let Some(node) = self.destination().await else { return Err(self.give_up()) };
            let next = self.attempt(&node).await;
            let free = matches!(next, Next::Redirected | Next::Unsent(_));
            match next {
                Next::Done(result) => return result,
                Next::Redirected => {}
                Next::Elsewhere => self.leave(node.id),
                Next::Unsent(pause) | Next::After(pause) => {
                    tokio::time::sleep_until(self.until.min(now() + jittered(pause))).await;
                }
            }
            if now() >= self.until || !(free || self.cluster.budget.spend(now())) {
                return Err(self.give_up());
            }
        }
    }

    /// The node to ask; waits for a leader if none is known.
    async fn destination(&mut self) -> Option<Arc<Node>> {
        match self.route {
            Route::Leader(shard) => {
                if let Some(leader) = self.cluster.leader(shard) {
                    return Some(leader);
                }
                if matches!(self.detail, Detail::Nothing) {
                    self.detail = Detail::NoLeader(shard);
                }
                Box::pin(self.cluster.await_leader(shard, self.until)).await
            }
            Route::Node(id) => {
                let node = self.cluster.node(id);
                if node.is_none() {
                    self.detail = Detail::Text(format!("the cluster has no node {id}"));
                }
                node
            }
            Route::AnyNode => {
                let nodes = self.cluster.nodes();
                let turn = self.hops as usize % nodes.len().max(1);
                nodes.get(turn).map(Arc::clone)
            }
        }
    }

    async fn attempt(&mut self, node: &Arc<Node>) -> Next {
        let connection = match node.connection(&self.cluster.hello, self.until).await {
            Ok((connection, welcome)) => {
                if let Some(welcome) = welcome {
                    self.cluster.learn(node.id, &welcome.shards);
                }
                connection
            }
            Err(error) => {
                if let Some(failure) = final_refusal(&error) {
                    return Next::Done(Err(self.rejected(failure)));
                }
                self.detail = Detail::Text(error.to_string());
                self.leave(node.id);
                // A leader is looked for by the scout, at its pace; another node is asked at ours.
                let pause = if matches!(self.route, Route::Leader(_)) { Duration::ZERO } else { REDIAL_PAUSE };
                return Next::Unsent(pause);
            }
        };
        let begun = now();
        let remaining = self.until.saturating_duration_since(begun);
        if remaining.is_zero() {
            return Next::Done(Err(self.give_up()));
        }
        self.course.prepare(&mut self.request, remaining);
        let patience = Course::patience(remaining, matches!(self.route, Route::Leader(_)));
        let outcome = connection.call(&self.request, begun + patience).await;
        self.note(node.id, &outcome);
        let hurried = matches!(outcome, Outcome::TimedOut { .. });
        match self.course.decide(outcome) {
            Decision::Done(reply) => Next::Done(Ok(reply)),
            Decision::Refused(refusal) => Next::Done(Err(Error::Refused(refusal))),
            Decision::Rejected(failure) => Next::Done(Err(self.rejected(failure))),
            Decision::Redirected(leader) => self.redirected(node.id, leader),
            Decision::Unsent(pause) => Next::Unsent(pause),
            // Somebody else's hurry says nothing about the node.
            Decision::Elsewhere if hurried && now() >= self.until => Next::Done(Err(self.give_up())),
            Decision::Elsewhere => Next::Elsewhere,
            Decision::After(pause) => Next::After(pause),
        }
    }

    /// A server will not take it, which says nothing about an attempt before.
    fn rejected(&self, failure: Failure) -> Error {
        if self.course.is_unheard() { Error::OutcomeUnknown } else { Error::Rejected(failure) }
    }

    /// What to say if this attempt was the last, and what it earns.
    fn note(&mut self, node: NodeId, outcome: &Outcome) {
        match outcome {
            Outcome::Answered(Ok(_) | Err(Failure::Refused(_))) => self.cluster.budget.earn(),
            Outcome::Answered(Err(failure)) => self.detail = Detail::Failure(failure.clone()),
            Outcome::Lost { .. } => self.detail = Detail::ConnectionLost(node),
            Outcome::TimedOut { .. } => self.detail = Detail::NoAnswer(node),
        }
    }

    fn redirected(&mut self, node: NodeId, leader: Option<NodeId>) -> Next {
        let Route::Leader(shard) = self.route else { return Next::Elsewhere };
        self.hops += 1;
        match leader {
            Some(leader) if leader != node && self.hops <= MAX_HOPS && self.cluster.follow(shard, leader) => {
                Next::Redirected
            }
            // Nothing was done and nobody leads: waiting for the scout to find a leader costs no retry.
            _ => {
                self.hops = 0;
                self.cluster.forget(shard, node);
                Next::Redirected
            }
        }
    }

    /// The node did not serve; whoever comes next shall look again.
    fn leave(&mut self, node: NodeId) {
        match self.route {
            Route::Leader(shard) => self.cluster.forget(shard, node),
            Route::Node(_) => {}
            Route::AnyNode => self.hops += 1,
        }
    }

    fn give_up(&self) -> Error {
        if self.course.is_unheard() {
            return Error::OutcomeUnknown;
        }
        let detail = match &self.detail {
            _ if self.cluster.is_closed() => "the client was closed".to_owned(),
            Detail::Nothing => "no answer within the deadline".to_owned(),
            Detail::Failure(failure) => failure.to_string(),
            Detail::Text(text) => text.clone(),
            Detail::NoLeader(shard) => format!("shard {shard} has no leader"),
            Detail::ConnectionLost(node) => format!("the connection to node {node} was lost"),
            Detail::NoAnswer(node) => format!("node {node} did not answer in time"),
        };
        let overloaded = matches!(self.detail, Detail::Failure(Failure::Busy { .. } | Failure::WaitedTooLong));
        Error::Unavailable { detail, overloaded }
    }
}
