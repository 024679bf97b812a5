//! Legal histories, invented: the naive model does what many clients at once ask, at random moments between question
//! and answer, some of which never hear it. And mutations of answers, which are not legal any more.

use doorbuster_inventory::Limits;
use doorbuster_protocol::command::{
    AdjustStock, Cancel, CancelReason, Cancellation, ChangeSale, Command, Extend, LatePayment, Payment, Reserve,
    SaleAction, SetStock, Target,
};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{ProductReply, Reply, ReservationReply, ReservationState};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, OperationId, ProductId, Quantity, ReservationId, Timestamp, UserId};

use super::stage::{EPOCH, heard, product};
use crate::history::{Heard, History, Moment, Operation};
use crate::model::{Naive, Outcome};

/// splitmix64: the seed derives everything.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// How a history is invented.
#[derive(Clone, Copy)]
pub(crate) struct Recipe {
    pub operations: u64,
    pub clients: u64,
    pub products: u64,
    pub stock: u32,
    /// One in so many hears nothing; half of these have their effect, some of them much later.
    pub gives_up: u64,
    /// Clients that gave up look what became of it when all is over.
    pub asks_at_the_end: bool,
}

/// A command took effect: when, with which stamp, and what it was.
pub(crate) struct Effect {
    pub at: Moment,
    pub stamp: Timestamp,
    pub command: Command,
}

/// See the module.
pub(crate) struct Invented {
    pub history: History,
    pub log: Vec<Effect>,
}

struct Plan {
    operation: usize,
    at: u64,
}

const MS: u64 = 1_000_000;

/// Invents one.
pub(crate) fn invent(seed: u64, recipe: &Recipe) -> Invented {
    let mut random = Random(seed);
    let mut history = History::default();
    let mut plans = Vec::new();
    for id in 1..=recipe.products {
        let at = id * MS;
        let body = RequestBody::Command(product(id, recipe.stock));
        history.operations.push(asked(0, at - 10, Some(at + 10), body));
        plans.push(Plan { operation: history.operations.len() - 1, at });
    }
    let mut free: Vec<u64> = (0..recipe.clients).map(|client| (20 + client) * MS).collect();
    for number in 0..recipe.operations {
        let client = usize::try_from(random.below(recipe.clients)).unwrap();
        let called = free[client] + random.below(20 * MS);
        let mut at = called + 1 + random.below(12 * MS);
        let returned = at + 1 + random.below(8 * MS);
        free[client] = returned + 1;
        let gives_up = recipe.gives_up > 0 && random.one_in(recipe.gives_up);
        let body = ask(&mut random, number, recipe);
        let returns = (!gives_up).then_some(returned);
        history.operations.push(asked(u32::try_from(client).unwrap(), called, returns, body));
        if gives_up && random.one_in(3) {
            at += random.below(2000 * MS);
        }
        if !gives_up || random.one_in(2) {
            plans.push(Plan { operation: history.operations.len() - 1, at });
        }
    }
    if recipe.asks_at_the_end {
        ask_at_the_end(&mut history, &mut plans, free.into_iter().max().unwrap_or_default() + 3000 * MS);
    }
    plans.sort_by_key(|plan| plan.at);
    let log = play(&mut random, &mut history, &plans);
    Invented { history, log }
}

fn ask_at_the_end(history: &mut History, plans: &mut Vec<Plan>, from: u64) {
    let given_up = history.operations.iter().filter(|operation| operation.returned.is_none());
    let targets: Vec<_> = given_up.filter_map(|operation| target_of(&operation.body)).collect();
    for (at, target) in (0..).map(|nth| from + nth * MS).zip(targets) {
        let body = RequestBody::Query(Query::Reservation(target));
        history.operations.push(asked(0, at - 10, Some(at + 10), body));
        plans.push(Plan { operation: history.operations.len() - 1, at });
    }
}

fn target_of(body: &RequestBody) -> Option<Target> {
    let RequestBody::Command(command) = body else { return None };
    Some(match command {
        Command::Reserve(reserve) => {
            Target { product: reserve.product, reservation: reserve.reservation, user: UserId(0) }
        }
        Command::BeginPayment(payment) | Command::PaymentFailed(payment) => payment.target,
        Command::Confirm(target) | Command::Release(target) | Command::RefundDone(target) => *target,
        Command::Extend(extend) => extend.target,
        Command::Cancel(cancel) => cancel.target,
        Command::LatePayment(late) => Target { user: UserId(0), ..late.target },
        _ => return None,
    })
}

fn asked(client: u32, called: u64, returned: Option<u64>, body: RequestBody) -> Operation {
    Operation { client, called: Moment(called), returned: returned.map(Moment), body, heard: Heard::Unknown }
}

/// What is asked names what was likely asked for before.
fn ask(random: &mut Random, number: u64, recipe: &Recipe) -> RequestBody {
    let product = ProductId(1 + random.below(recipe.products));
    let recent = |random: &mut Random| {
        let back = 1 + random.below(30.min(number + 1));
        let number = number.saturating_sub(back);
        // Ids carry their product, so that most targets fit.
        let id = ReservationId(u128::from(number) << 8 | u128::from(product.0));
        Target { product, reservation: id, user: UserId(0) }
    };
    let operation = OperationId(1 << 80 | u128::from(number - number.min(random.below(3))));
    let command = match random.below(100) {
        0..38 => Command::Reserve(Reserve {
            product,
            reservation: ReservationId(
                u128::from(number - number.min(random.below(2) * random.below(9))) << 8 | u128::from(product.0),
            ),
            user: UserId(1 + u128::from(random.below(40))),
            quantity: Quantity(1 + u32::try_from(random.below(2)).unwrap()),
            ttl: Millis(if random.one_in(2) { 0 } else { 200 + random.below(3) }),
        }),
        38..48 => Command::Confirm(recent(random)),
        48..54 => Command::Release(recent(random)),
        54..62 => Command::BeginPayment(Payment { target: recent(random), attempt: 1 }),
        62..66 => Command::PaymentFailed(Payment { target: recent(random), attempt: 1 }),
        66..69 => Command::Extend(Extend { target: recent(random), operation, by: Millis(150) }),
        69..72 => {
            let target = Target { user: UserId(1 + u128::from(random.below(40))), ..recent(random) };
            Command::LatePayment(LatePayment { target, quantity: Quantity(1) })
        }
        72..74 => Command::RefundDone(recent(random)),
        74..76 => Command::AdjustStock(AdjustStock { operation, product, delta: 2 - random.below(3).cast_signed() }),
        76..77 => Command::SetStock(SetStock {
            operation,
            product,
            expected: Quantity(recipe.stock),
            stock: Quantity(recipe.stock + 1),
        }),
        77..79 => {
            let action = if random.one_in(3) { SaleAction::Pause } else { SaleAction::Resume };
            Command::ChangeSale(ChangeSale { operation, product, action })
        }
        79..83 => Command::Cancel(Cancel {
            target: recent(random),
            how: Cancellation { reason: CancelReason::Shop, return_stock: random.one_in(2) },
        }),
        83..90 => return RequestBody::Query(Query::Product(product)),
        _ => return RequestBody::Query(Query::Reservation(recent(random))),
    };
    RequestBody::Command(command)
}

/// Everything takes effect on the model, in order; what is due expires a little later.
fn play(random: &mut Random, history: &mut History, plans: &[Plan]) -> Vec<Effect> {
    let mut model = Naive::new(Limits::default());
    let mut log = Vec::new();
    for plan in plans {
        let stamp = (EPOCH + plan.at / MS).max(model.now);
        while let Some((due, _)) = model.next_deadline().filter(|(due, _)| due.0 + 20 < stamp) {
            let expires = (due.0 + random.below(20)).max(model.now);
            let _ = model.apply(expires, &Command::Expire);
            let at = Moment((expires - EPOCH) * MS);
            log.push(Effect { at, stamp: Timestamp(expires), command: Command::Expire });
        }
        let operation = &mut history.operations[plan.operation];
        let outcome = match &operation.body {
            RequestBody::Command(command) => {
                let outcome = model.apply(stamp, command);
                log.push(Effect { at: Moment(plan.at), stamp: Timestamp(stamp), command: command.clone() });
                outcome
            }
            RequestBody::Query(query) => read(&model, query, stamp),
        };
        if operation.returned.is_some() {
            operation.heard = heard(&outcome);
        }
    }
    let mut times = 0;
    log.iter_mut().for_each(|effect| {
        times = effect.at.0.max(times);
        effect.at = Moment(times);
    });
    log
}

fn read(model: &Naive, query: &Query, now: u64) -> Outcome {
    let time = Timestamp(now);
    match query {
        Query::Product(id) if model.products.contains_key(id) => {
            let product = model.product_view(*id);
            Ok(Reply::Product(Box::new(ProductReply { replayed: false, time, product })))
        }
        Query::Reservation(target) => match model.reservations.get(&target.reservation) {
            Some(made) if made.view.product == target.product => {
                Ok(Reply::Reservation(ReservationReply { replayed: false, time, reservation: made.view }))
            }
            _ => Err(Refusal::UnknownReservation),
        },
        _ => Err(Refusal::UnknownProduct),
    }
}

/// Changes an answer so that it is not true any more; says how. None if this one has nothing to change.
pub(crate) fn mutate(random: &mut Random, operation: &mut Operation) -> Option<&'static str> {
    match &mut operation.heard {
        Heard::Reply(Reply::Reservation(reply)) => Some(mutate_reservation(random, reply)),
        Heard::Reply(Reply::Product(reply)) => Some(mutate_product(random, reply)),
        Heard::Refused(refusal) => mutate_refusal(refusal),
        _ => None,
    }
}

fn mutate_reservation(random: &mut Random, reply: &mut ReservationReply) -> &'static str {
    let view = &mut reply.reservation;
    match random.below(6) {
        0 => {
            view.state = match view.state {
                ReservationState::Held => ReservationState::Confirmed,
                ReservationState::Confirmed => ReservationState::Released,
                ReservationState::Expired => ReservationState::Held,
                _ => ReservationState::Expired,
            };
            "state"
        }
        1 => {
            view.expires_at.0 += 1;
            "deadline"
        }
        2 => {
            view.payment_attempts += 1;
            "attempts"
        }
        3 => {
            view.created_at.0 -= 1;
            "creation"
        }
        4 => {
            view.quantity.0 += 1;
            "quantity"
        }
        _ => {
            view.user.0 += 1;
            "user"
        }
    }
}

fn mutate_product(random: &mut Random, reply: &mut ProductReply) -> &'static str {
    let view = &mut reply.product;
    match random.below(4) {
        0 if view.available.0 > 0 => {
            view.available.0 -= 1;
            view.sold.0 += 1;
            "sold one more"
        }
        1 if view.held.0 > 0 => {
            view.held.0 -= 1;
            view.available.0 += 1;
            "one back"
        }
        2 if view.next_expiry.0 > 0 => {
            view.next_expiry.0 += 1;
            "next expiry"
        }
        _ => {
            view.spec.stock.0 += 1;
            view.available.0 += 1;
            "stock"
        }
    }
}

fn mutate_refusal(refusal: &mut Refusal) -> Option<&'static str> {
    let (other, how) = match *refusal {
        Refusal::SoldOut => (Refusal::InsufficientStock { available: Quantity(1) }, "sold out, not"),
        Refusal::AllHeld { .. } => (Refusal::SoldOut, "all held, sold out"),
        Refusal::InsufficientStock { available } => {
            (Refusal::InsufficientStock { available: Quantity(available.0 + 1) }, "how many are left")
        }
        Refusal::UnknownReservation => (Refusal::ReservationReleased, "unknown, released"),
        Refusal::AlreadyConfirmed | Refusal::ReservationReleased | Refusal::ReservationExpired { .. } => {
            (Refusal::UnknownReservation, "over, unknown")
        }
        Refusal::PaymentInProgress => (Refusal::AlreadyConfirmed, "paying, confirmed"),
        Refusal::Paused => (Refusal::Closed, "paused, closed"),
        _ => return None,
    };
    *refusal = other;
    Some(how)
}
