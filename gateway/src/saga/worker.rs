//! Carries payments and refunds through their steps: a bounded number at once, each a task of its own that outlives the
//! request that began it. What it remembers (which of them run here) only saves work: everything that matters is in the
//! reservation.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_client::Error;
use doorbuster_protocol::command::{LatePayment, Payment, Target};
use doorbuster_protocol::reply::{ReservationReply, ReservationView};
use doorbuster_protocol::types::{Millis, Money, Quantity, UserId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crash;
use super::lanes::{Entered, Lane, Lanes, Watch};
use super::pacing::AccountReport;
use super::pacing::queue::Rank;
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
    lanes: Lanes,
    tasks: TaskTracker,
    stop: CancellationToken,
}

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
    /// Somebody else had it, and the provider has told that something came of it.
    Look,
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

    /// A payment of which the provider has told by itself that something came of it.
    #[must_use]
    pub fn look(view: &ReservationView, price: Money) -> Self {
        Self { work: Work::Look, ..Self::finish(view, price) }
    }

    /// A refund that is due.
    #[must_use]
    pub fn refund(view: &ReservationView, price: Money) -> Self {
        Self { work: Work::Refund, ..Self::finish(view, price) }
    }

    fn lane(&self) -> Lane {
        match self.work {
            Work::Pay(_) | Work::Finish | Work::Look => Lane::Payment(self.key.reservation, self.key.attempt),
            Work::Refund => Lane::Refund(self.key.reservation),
        }
    }

    fn first(&self) -> Step {
        match self.work {
            Work::Pay(_) => Step::Charge,
            Work::Finish => Step::Ask,
            Work::Look => Step::Look,
            Work::Refund => Step::Seek(self.key.attempt),
        }
    }

    /// A buyer who is here goes first.
    fn rank(&self) -> Rank {
        match self.work {
            Work::Pay(_) => Rank::Buyer,
            Work::Finish | Work::Look | Work::Refund => Rank::Settling,
        }
    }

    /// What an attempt at this reservation pays for.
    fn purchase(&self, attempt: u16) -> Purchase {
        let Target { product, user, .. } = self.target;
        Purchase { key: Key { attempt, ..self.key }, user, product, amount: self.amount }
    }
}

/// The key of a reservation's last attempt.
#[must_use]
pub fn key(view: &ReservationView) -> Key {
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
            lanes: Lanes::default(),
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

    /// How long a charge of this user's that comes now would wait for its turn at the provider.
    #[must_use]
    pub fn wait(&self, user: UserId) -> Millis {
        Millis(u64::try_from(self.provider.wait(user).as_millis()).unwrap_or(u64::MAX))
    }

    /// The provider's accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountReport> {
        self.provider.accounts()
    }

    /// Carries a payment on in the background; joins it if it runs here already.
    pub fn start(self: &Arc<Self>, place: Place, run: Run) -> Watch {
        let lane = run.lane();
        let (tell, watch) = watch::channel(None);
        let word = match self.lanes.enter(lane, &watch) {
            Entered::First(word) => word,
            Entered::Joined(watch) => return watch,
        };
        let saga = Arc::clone(self);
        self.tasks.spawn(async move {
            let outcome = loop {
                let outcome = saga.carry(&run, &word).await;
                if saga.lanes.leave(lane, outcome) {
                    break outcome;
                }
            };
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
        if self.lanes.is_taken(run.lane()) {
            return;
        }
        // Nobody closes the semaphore.
        if let Ok(permit) = self.sweeps.clone().acquire_owned().await {
            self.start(Place { _permit: permit }, run);
        }
    }

    /// The provider has told by itself that something came of this key: who carries it on here does not wait any longer,
    /// but asks. Whether anybody does.
    pub fn pass_on(&self, key: Key) -> bool {
        self.lanes.tell(key)
    }

    /// Carries on what the provider has told of and nobody does here.
    ///
    /// # Errors
    /// 503 `overloaded` when as much is carried on as may be.
    pub fn look(self: &Arc<Self>, run: Run) -> Result<(), Problem> {
        let full =
            |_| Problem::new(&kinds::OVERLOADED, "As many payments are looked after as may be.").with("limit", SWEEPS);
        let permit = self.sweeps.clone().try_acquire_owned().map_err(full)?;
        self.start(Place { _permit: permit }, run);
        Ok(())
    }

    /// Begins a refund that is due. Without room it is left to the sweeper, who finds it.
    pub fn refund(self: &Arc<Self>, run: Run) {
        if let Ok(permit) = self.sweeps.clone().try_acquire_owned() {
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

    /// The refund that this payment has come to.
    fn refund_at_once(self: &Arc<Self>, paid: &Run) {
        let Run { target, quantity, key, amount, .. } = *paid;
        self.refund(Run { target, quantity, key, amount, work: Work::Refund, patience: PATIENCE });
    }

    async fn carry(&self, run: &Run, word: &Notify) -> Outcome {
        let outcome = self.stop.run_until_cancelled(self.steps(run, word)).await.unwrap_or(Outcome::Unresolved);
        let (product, key) = (run.target.product, run.key);
        match outcome {
            Outcome::Unsettled => match run.work {
                Work::Refund => {
                    tracing::error!(%product, %key, "a refund is due, and the provider knows of nothing taken: settle by hand");
                }
                Work::Pay(_) | Work::Finish | Work::Look => {
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

    async fn steps(&self, run: &Run, word: &Notify) -> Outcome {
        let (watch, patience) = (Stopwatch::start(), Duration::from_millis(run.patience.0));
        let mut step = run.first();
        let mut pause = PAUSE.0;
        let mut was_away = false;
        loop {
            if let Step::End(outcome) = step {
                return outcome;
            }
            let event = match step.asks_provider() {
                true => self.in_turn(step, run, word, patience.saturating_sub(watch.elapsed())).await,
                false => self.take(step, run, word).await,
            };
            let event = match event {
                // It was away, so whoever has the card is about to charge: the next round of the sweeper is soon enough to close.
                Event::Known(Known::NotFound) if was_away && step == Step::Ask => Event::OutOfTime,
                event => event,
            };
            was_away |= event == Event::Known(Known::Unclear);
            let mut next = step.next(event);
            if next == step && step.asks_provider() && watch.elapsed() >= patience {
                next = next.next(Event::OutOfTime);
            }
            if next == step {
                let waiting = Duration::from_millis(jittered(pause).0);
                if tokio::time::timeout(waiting, word.notified()).await.is_ok() && step == Step::Charge {
                    // It is the next charge that asks.
                    word.notify_one();
                }
                pause = Millis(pause.0 * 2).min(PAUSE.1);
            } else {
                pause = PAUSE.0;
            }
            step = next;
        }
    }

    /// Takes a step that asks the provider, when it is its turn; it is not taken at all if that does not come in time.
    async fn in_turn(&self, step: Step, run: &Run, word: &Notify, time: Duration) -> Event {
        // A pause may have outlasted the pin: what is charged now would be charged in vain.
        if time.is_zero() {
            return Event::OutOfTime;
        }
        let turn = self.provider.turn(run.purchase(run.key.attempt), run.rank());
        match tokio::time::timeout(time, turn).await {
            Ok(true) => self.take(step, run, word).await,
            Ok(false) | Err(_) => Event::Unclear,
        }
    }

    async fn take(&self, step: Step, run: &Run, word: &Notify) -> Event {
        let Some(client) = self.backend.get() else { return Event::Unclear };
        let (target, quantity, attempt) = (run.target, run.quantity, run.key.attempt);
        crash::before(step);
        match step {
            Step::Charge => self.charge(run, word).await,
            Step::Ask | Step::Look => self.known(self.provider.outcome(run.purchase(attempt))).await,
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

    /// Charges. Should the provider tell by itself, before it has answered, that something came of it, it is asked what,
    /// beside the charge.
    async fn charge(&self, run: &Run, word: &Notify) -> Event {
        let Work::Pay(charge) = &run.work else { unreachable!("only a payment with a card begins with a charge") };
        let Purchase { product, key, amount, .. } = charge.purchase;
        tracing::debug!(%product, %key, minor = amount.minor, currency = %amount.currency, "charging");
        let mut charging = pin!(tokio::time::timeout(self.patience(), self.provider.charge(charge)));
        let charged = |charged: Result<Charged, Elapsed>| Event::Charged(charged.unwrap_or(Charged::Unclear));
        loop {
            tokio::select! {
                biased;
                () = word.notified() => {}
                answer = &mut charging => return charged(answer),
            }
            let mut asking = pin!(self.known(self.provider.outcome(charge.purchase)));
            tokio::select! {
                event = &mut asking => {
                    if Step::Charge.next(event) != Step::Charge {
                        return event;
                    }
                }
                answer = &mut charging => {
                    let event = charged(answer);
                    return if event == Event::Charged(Charged::Unclear) { asking.await } else { event };
                }
            }
        }
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
