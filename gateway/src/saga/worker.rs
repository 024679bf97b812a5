//! Carries payments and refunds through their steps: a bounded number at once, each a task of its own that outlives the
//! request that began it. What it remembers (which of them run here) only saves work: everything that matters is in the
//! reservation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_client::Error;
use doorbuster_protocol::command::{LatePayment, Payment, Target};
use doorbuster_protocol::reply::{ReservationReply, ReservationView};
use doorbuster_protocol::types::{Millis, Money, Quantity, ReservationId};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::provider::{Answering, Charge, Charged, Key, Known, PaymentProvider, Purchase};
use super::step::{Event, Outcome, Step};
use crate::backend::Backend;
use crate::clock::Stopwatch;
use crate::config::PaymentConfig;
use crate::entropy::jittered;
use crate::metrics::Metrics;
use crate::problem::{Problem, kinds};

/// First and longest pause before a step is repeated.
const PAUSE: (Millis, Millis) = (Millis(25), Millis(1000));
/// How long a provider that does not answer clearly is asked what came of a payment, or to refund one, before it is left
/// to the next round of the sweeper.
const PATIENCE: Millis = Millis(10_000);
/// Payments that others began, and refunds, in progress at once: they come beside those of the buyers who wait.
const SWEEPS: usize = 64;

/// Runs payments and refunds.
pub struct Saga {
    backend: Arc<Backend>,
    provider: Arc<dyn PaymentProvider>,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    sweeps: Arc<Semaphore>,
    config: PaymentConfig,
    running: Mutex<HashMap<Lane, Watch>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What cannot run twice here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    /// A reservation and its attempt.
    Payment(ReservationId, u16),
    Refund(ReservationId),
}

/// Tells how a payment ended, once it has.
pub type Watch = watch::Receiver<Option<Outcome>>;

/// Room for one payment, taken before it begins.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// What is to be carried through.
#[derive(Debug)]
pub struct Run {
    /// The reservation, with its owner.
    target: Target,
    /// Units it is for.
    quantity: Quantity,
    /// Under which key it is, or may have been, charged.
    key: Key,
    /// How much altogether.
    amount: Money,
    work: Work,
    /// How long a provider is waited for.
    patience: Millis,
}

/// What is to be done.
#[derive(Debug)]
enum Work {
    /// The card is here.
    Pay(Charge),
    /// Somebody else had it.
    Finish,
    /// A refund is due.
    Refund,
}

impl Run {
    /// A payment that has begun, for as long as the reservation is pinned yet.
    #[must_use]
    pub fn pay(view: &ReservationView, price: Money, card_token: String, pinned: Millis) -> Self {
        let run = Self::finish(view, price);
        Self {
            work: Work::Pay(Charge { purchase: run.purchase(run.key.attempt), card_token }),
            patience: pinned,
            ..run
        }
    }

    /// A payment whose end nobody has told, with the price of one unit.
    #[must_use]
    pub fn finish(view: &ReservationView, price: Money) -> Self {
        Self {
            target: Target { product: view.product, reservation: view.reservation, user: view.user },
            quantity: view.quantity,
            key: key(view),
            amount: amount(price, view.quantity),
            work: Work::Finish,
            patience: PATIENCE,
        }
    }

    /// A refund that is due.
    #[must_use]
    pub fn refund(view: &ReservationView, price: Money) -> Self {
        Self { work: Work::Refund, ..Self::finish(view, price) }
    }

    fn lane(&self) -> Lane {
        match self.work {
            Work::Pay(_) | Work::Finish => Lane::Payment(self.key.reservation, self.key.attempt),
            Work::Refund => Lane::Refund(self.key.reservation),
        }
    }

    fn first(&self) -> Step {
        match self.work {
            Work::Pay(_) => Step::Charge,
            Work::Finish => Step::Ask,
            Work::Refund => Step::Seek(self.key.attempt),
        }
    }

    /// What an attempt at this reservation pays for.
    fn purchase(&self, attempt: u16) -> Purchase {
        let Target { product, user, .. } = self.target;
        Purchase { key: Key { attempt, ..self.key }, user, product, amount: self.amount }
    }
}

/// The key of a reservation's last attempt.
fn key(view: &ReservationView) -> Key {
    Key { reservation: view.reservation, made_at: view.created_at, attempt: view.payment_attempts }
}

/// The price of all units. Both factors are bounded by the protocol, their product far below 2^64.
fn amount(price: Money, quantity: Quantity) -> Money {
    Money { minor: price.minor.saturating_mul(quantity.0.into()), ..price }
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
            sweeps: Arc::new(Semaphore::new(SWEEPS)),
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
    pub fn start(self: &Arc<Self>, place: Place, run: Run) -> Watch {
        let lane = run.lane();
        let (tell, watch) = watch::channel(None);
        {
            let mut running = self.running.lock();
            if let Some(watch) = running.get(&lane) {
                return watch.clone();
            }
            running.insert(lane, watch.clone());
        }
        let saga = Arc::clone(self);
        self.tasks.spawn(async move {
            let outcome = saga.carry(&run).await;
            saga.running.lock().remove(&lane);
            match lane {
                Lane::Payment(..) => saga.metrics.payments.payment_ended(outcome),
                Lane::Refund(_) => saga.metrics.payments.refund_ended(outcome),
            }
            tell.send_replace(Some(outcome));
            drop(place);
            if let (Lane::Payment(..), Outcome::RefundDue) = (lane, outcome) {
                saga.refund_at_once(&run);
            }
        });
        watch
    }

    /// Carries on what nobody else does, once there is room, unless it runs here.
    pub async fn sweep(self: &Arc<Self>, run: Run) {
        if self.running.lock().contains_key(&run.lane()) {
            return;
        }
        // Nobody closes the semaphore.
        if let Ok(permit) = self.sweeps.clone().acquire_owned().await {
            self.start(Place { _permit: permit }, run);
        }
    }

    /// Lets the payments in progress end within `time`, then gives the others up.
    pub async fn shutdown(&self, time: Duration) {
        self.tasks.close();
        if tokio::time::timeout(time, self.tasks.wait()).await.is_err() {
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }

    /// The refund that this payment has come to. Without room it is left to the sweeper, who finds it.
    fn refund_at_once(self: &Arc<Self>, paid: &Run) {
        if let Ok(permit) = self.sweeps.clone().try_acquire_owned() {
            let Run { target, quantity, key, amount, .. } = *paid;
            let refund = Run { target, quantity, key, amount, work: Work::Refund, patience: PATIENCE };
            self.start(Place { _permit: permit }, refund);
        }
    }

    async fn carry(&self, run: &Run) -> Outcome {
        let outcome = self.stop.run_until_cancelled(self.steps(run)).await.unwrap_or(Outcome::Unresolved);
        let (product, key) = (run.target.product, run.key);
        match outcome {
            Outcome::Unsettled => match run.work {
                Work::Refund => {
                    tracing::error!(%product, %key, "a refund is due, and the provider knows of nothing taken: settle by hand");
                }
                Work::Pay(_) | Work::Finish => {
                    tracing::error!(%product, %key, "paid, but the cluster neither sells nor records a refund: settle by hand");
                }
            },
            Outcome::Unresolved => tracing::warn!(%product, %key, "not resolved yet; it is found again"),
            Outcome::RefundDue => tracing::warn!(%product, %key, "paid too late; a refund is due"),
            Outcome::Refunded => tracing::info!(%product, %key, "refunded"),
            Outcome::Confirmed | Outcome::Declined(_) => {}
        }
        outcome
    }

    async fn steps(&self, run: &Run) -> Outcome {
        let (watch, patience) = (Stopwatch::start(), Duration::from_millis(run.patience.0));
        let mut step = run.first();
        let mut pause = PAUSE.0;
        loop {
            if let Step::End(outcome) = step {
                return outcome;
            }
            let mut next = step.next(self.take(step, run).await);
            if next == step && step.asks_provider() && watch.elapsed() >= patience {
                next = next.next(Event::OutOfTime);
            }
            if next == step {
                tokio::time::sleep(Duration::from_millis(jittered(pause).0)).await;
                pause = Millis(pause.0 * 2).min(PAUSE.1);
            } else {
                pause = PAUSE.0;
            }
            step = next;
        }
    }

    async fn take(&self, step: Step, run: &Run) -> Event {
        let Some(client) = self.backend.get() else { return Event::Unclear };
        let (target, quantity, attempt) = (run.target, run.quantity, run.key.attempt);
        match step {
            Step::Charge => Event::Charged(self.charge(run).await),
            Step::Ask => self.known(self.provider.outcome(run.purchase(attempt))).await,
            Step::Cancel => self.known(self.provider.cancel(run.purchase(attempt))).await,
            Step::Confirm => event(client.confirm(target).await),
            Step::TakeLate => event(client.late_payment(LatePayment { target, quantity }).await),
            Step::Fail(_) => event(client.payment_failed(Payment { target, attempt }).await),
            Step::Seek(attempt) => self.known(self.provider.outcome(run.purchase(attempt))).await,
            Step::Refund(attempt) => self.known(self.provider.refund(run.purchase(attempt))).await,
            Step::RefundDone => event(client.refund_done(target).await),
            Step::End(_) => Event::Unclear,
        }
    }

    async fn charge(&self, run: &Run) -> Charged {
        let Work::Pay(charge) = &run.work else { unreachable!("only a payment with a card begins with a charge") };
        let Purchase { product, key, amount, .. } = charge.purchase;
        tracing::debug!(%product, %key, minor = amount.minor, currency = %amount.currency, "charging");
        tokio::time::timeout(self.patience(), self.provider.charge(charge)).await.unwrap_or(Charged::Unclear)
    }

    async fn known(&self, asking: Answering<'_, Known>) -> Event {
        Event::Known(tokio::time::timeout(self.patience(), asking).await.unwrap_or(Known::Unclear))
    }

    /// With one call of the provider.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.config.charge_timeout_ms)
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
