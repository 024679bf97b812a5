//! Carries payments through their steps: a bounded number at once, each a task of its own that outlives the request that
//! began it. What it remembers (which payments run here) only saves work: everything that matters is in the reservation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_client::Error;
use doorbuster_protocol::command::{LatePayment, Payment, Target};
use doorbuster_protocol::reply::ReservationReply;
use doorbuster_protocol::types::{Millis, Quantity, ReservationId};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::provider::{Charge, Charged, PaymentProvider};
use super::step::{Event, Outcome, Step};
use crate::backend::Backend;
use crate::clock::Stopwatch;
use crate::config::PaymentConfig;
use crate::entropy::jittered;
use crate::metrics::Metrics;
use crate::problem::{Problem, kinds};

/// First and longest pause before a step is repeated.
const PAUSE: (Millis, Millis) = (Millis(25), Millis(1000));

/// Runs payments.
pub struct Saga {
    backend: Arc<Backend>,
    provider: Arc<dyn PaymentProvider>,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    config: PaymentConfig,
    running: Mutex<HashMap<Run, Watch>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Which payment: a reservation and its attempt.
type Run = (ReservationId, u16);

/// Tells how a payment ended, once it has.
pub type Watch = watch::Receiver<Option<Outcome>>;

/// Room for one payment, taken before it begins.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A payment that has begun.
#[derive(Debug)]
pub struct Begun {
    /// The reservation, with its owner.
    pub target: Target,
    /// Units it is for.
    pub quantity: Quantity,
    /// What to charge.
    pub charge: Charge,
    /// For how long the reservation is pinned yet.
    pub pinned: Millis,
}

impl Saga {
    /// Payments through this provider.
    #[must_use]
    pub fn new(
        backend: Arc<Backend>,
        provider: Arc<dyn PaymentProvider>,
        metrics: Arc<Metrics>,
        config: PaymentConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            backend,
            provider,
            metrics,
            places: Arc::new(Semaphore::new(config.max_in_flight)),
            config,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Takes room for a payment.
    ///
    /// # Errors
    /// 503 `overloaded` when as many run as may.
    pub fn enter(&self) -> Result<Place, Problem> {
        let full = |_| {
            Problem::new(
                &kinds::OVERLOADED,
                "As many payments are in progress as this gateway takes; nothing was done.",
            )
            .with("limit", self.config.max_in_flight)
        };
        self.places.clone().try_acquire_owned().map(|permit| Place { _permit: permit }).map_err(full)
    }

    /// Carries a payment on in the background; joins it if it runs here already.
    pub fn start(self: &Arc<Self>, place: Place, begun: Begun) -> Watch {
        let run = (begun.target.reservation, begun.charge.attempt);
        let (tell, watch) = watch::channel(None);
        {
            let mut running = self.running.lock();
            if let Some(watch) = running.get(&run) {
                return watch.clone();
            }
            running.insert(run, watch.clone());
        }
        let saga = Arc::clone(self);
        self.tasks.spawn(async move {
            let outcome = saga.carry(&begun).await;
            saga.running.lock().remove(&run);
            saga.metrics.payment_ended(outcome);
            tell.send_replace(Some(outcome));
            drop(place);
        });
        watch
    }

    /// Lets the payments in progress end within `time`, then gives the others up.
    pub async fn shutdown(&self, time: Duration) {
        self.tasks.close();
        if tokio::time::timeout(time, self.tasks.wait()).await.is_err() {
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }

    async fn carry(&self, begun: &Begun) -> Outcome {
        let steps = self.steps(begun);
        let outcome = self.stop.run_until_cancelled(steps).await.unwrap_or(Outcome::Unresolved);
        let (product, reservation) = (begun.target.product, format!("{:032x}", begun.target.reservation.0));
        match outcome {
            Outcome::Unsettled => {
                tracing::error!(%product, reservation, "paid, but the cluster neither sells nor records a refund: settle by hand");
            }
            Outcome::Unresolved => {
                tracing::warn!(%product, reservation, "payment not resolved; posting it again takes it up");
            }
            Outcome::RefundDue => tracing::warn!(%product, reservation, "paid too late; a refund is due"),
            Outcome::Confirmed | Outcome::Declined(_) => {}
        }
        outcome
    }

    async fn steps(&self, begun: &Begun) -> Outcome {
        let (watch, pinned) = (Stopwatch::start(), Duration::from_millis(begun.pinned.0));
        let mut step = Step::Charge;
        let mut pause = PAUSE.0;
        loop {
            if let Step::End(outcome) = step {
                return outcome;
            }
            let mut event = self.take(step, begun).await;
            if event == Event::Charged(Charged::Unclear) && watch.elapsed() >= pinned {
                event = Event::OutOfTime;
            }
            let next = step.next(event);
            if next == step {
                tokio::time::sleep(Duration::from_millis(jittered(pause).0)).await;
                pause = Millis(pause.0 * 2).min(PAUSE.1);
            } else {
                pause = PAUSE.0;
            }
            step = next;
        }
    }

    async fn take(&self, step: Step, begun: &Begun) -> Event {
        let Some(client) = self.backend.get() else { return Event::Unclear };
        let target = begun.target;
        match step {
            Step::Charge => Event::Charged(self.charge(&begun.charge).await),
            Step::Confirm => event(client.confirm(target).await),
            Step::TakeLate => event(client.late_payment(LatePayment { target, quantity: begun.quantity }).await),
            Step::Fail(_) => event(client.payment_failed(Payment { target, attempt: begun.charge.attempt }).await),
            Step::End(_) => Event::Unclear,
        }
    }

    async fn charge(&self, charge: &Charge) -> Charged {
        let (product, attempt, amount) = (charge.product, charge.attempt, charge.amount);
        tracing::debug!(%product, attempt, minor = amount.minor, currency = %amount.currency, "charging");
        let time = Duration::from_millis(self.config.charge_timeout_ms);
        tokio::time::timeout(time, self.provider.charge(charge)).await.unwrap_or(Charged::Unclear)
    }
}

fn event(answer: Result<ReservationReply, Error>) -> Event {
    match answer {
        Ok(reply) => Event::Done(reply.reservation.state),
        Err(Error::Refused(refusal)) => Event::Refused(refusal),
        Err(error) => {
            tracing::debug!(%error, "payment step to be repeated");
            Event::Unclear
        }
    }
}
