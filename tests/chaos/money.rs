//! The money, once nothing goes wrong any more: every payment comes to its end, and then what `doorbuster audit --payments`
//! compares must fit, without any grace, and the provider must have been paid for what was sold through gateways, neither
//! more nor less.
//!
//! Nobody charges at the counter, which is the client library: what the run's own clients reserve there, they confirm
//! without money, or say that money came. Of those reservations alone, and not of their products, two kinds of differences
//! are left out: that they are sold and not charged, and that a refund is due for money that there never was. Everything
//! else holds for them too, and above all that nobody was charged for them.

use std::collections::BTreeSet;
use std::time::Duration;

use doorbuster_cli::audit::judgement::{KINDS, Kind, Rules};
use doorbuster_cli::audit::ledger::{Charge, Provider, State};
use doorbuster_cli::audit::listing;
use doorbuster_cli::audit::payments::{self, Difference, Payments};
use doorbuster_cli::audit::simulator;
use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_cli::names::{parse_reservation, reservation_text};
use doorbuster_client::Client;
use doorbuster_protocol::command::Command;
use doorbuster_protocol::limits::MAX_PAGE;
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, ReservationId, ShardId, Timestamp};
use serde_json::{Value, json};

use crate::history::History;

/// How long payments and refunds may take to their end. What the provider decides late is decided after 2 s; a gateway
/// gives one up after 10 s of silence, and finds it again within a second.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How long the books may take to say so.
const BOOKED_WITHIN: Duration = Duration::from_secs(30);
const ROUND: Duration = Duration::from_millis(200);
/// Differences beyond these are counted only.
const MOST_NAMED: usize = 12;

/// What was reserved at the counter.
pub type Counter = BTreeSet<ReservationId>;

/// What the books say.
#[derive(Debug, Default)]
pub struct Money {
    /// Differences of each kind that must not be.
    pub counts: Vec<(&'static str, usize)>,
    /// Sold through gateways, and charges whose money the provider has.
    pub sold: usize,
    /// See `sold`.
    pub charged: usize,
    /// Charges that it has given back.
    pub refunded: usize,
    /// Left out: reservations of the counter that are sold, or to be refunded, without money.
    pub at_the_counter: usize,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// What these clients reserved, or said that money came for, through the client library.
pub fn counter(history: &History, over_http: impl Fn(u32) -> bool) -> Counter {
    let own = history.operations.iter().filter(|operation| !over_http(operation.client));
    let reserved = own.filter_map(|operation| match &operation.body {
        RequestBody::Command(Command::Reserve(reserve)) => Some(reserve.reservation),
        RequestBody::Command(Command::LatePayment(late)) => Some(late.target.reservation),
        _ => None,
    });
    reserved.collect()
}

/// Waits until no payment is under way, no refund of money due, and nothing undecided at the provider.
pub async fn until_settled(client: &Client, provider: &str, counter: &Counter) -> Result<(), CliError> {
    let deadline = clock::now() + SETTLED_WITHIN;
    loop {
        let mut open = open(client, counter).await?;
        let deciding =
            simulator::ledger(provider).await?.into_iter().filter(|charge| charge.state == State::InProgress);
        open.extend(deciding.map(|charge| format!("the provider has not decided {}", charge.key)));
        if open.is_empty() {
            return Ok(());
        }
        if clock::now() > deadline {
            let (seconds, count) = (SETTLED_WITHIN.as_secs(), open.len());
            open.truncate(MOST_NAMED);
            return Err(CliError::wrong(format!("money: {count} not settled after {seconds}s: {}", open.join("; "))));
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// What the shards say is not at its end.
async fn open(client: &Client, counter: &Counter) -> Result<Vec<String>, CliError> {
    let mut open = Vec::new();
    for shard in (0..client.shards()).map(ShardId) {
        for (of, words) in [(Unsettled::Payments, "has a payment open"), (Unsettled::Refunds, "has a refund due")] {
            let mut after = Changed::default();
            loop {
                let page = client.unsettled(shard, of, after, MAX_PAGE).await?.reservations;
                let Some(last) = page.last() else { break };
                after = Changed { at: last.changed_at, reservation: last.reservation };
                // Whoever said that money came, gives it back or not: no gateway can.
                let ours = page.iter().filter(|view| of == Unsettled::Payments || !counter.contains(&view.reservation));
                open.extend(ours.map(|view| format!("{} {words}", reservation_text(view.product, view.reservation))));
            }
        }
    }
    Ok(open)
}

/// Compares shards, order database and provider until they agree, or their time is over.
pub async fn compare(client: &Client, database: &str, provider: &str, counter: &Counter) -> Result<Money, CliError> {
    let deadline = clock::now() + BOOKED_WITHIN;
    let rules = Rules { grace: Millis(0), refund_limit: Millis(0) };
    let books = Provider::Simulator(provider.to_owned());
    loop {
        let is_last = clock::now() > deadline;
        let found = payments::compare(client, database, &books, Timestamp(0), rules, Duration::ZERO).await?;
        let (charges, views) = (simulator::ledger(provider).await?, listing::reservations(client).await?);
        let money = judge(&found, &charges, &views, counter);
        if money.problems.is_empty() || is_last {
            return Ok(money);
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// What must not be.
fn judge(found: &Payments, charges: &[Charge], views: &[ReservationView], counter: &Counter) -> Money {
    let (left_out, wrong): (Vec<_>, Vec<_>) =
        found.differences.iter().partition(|difference| needs_no_money(difference, counter));
    let is_ours = |view: &&ReservationView| !counter.contains(&view.reservation);
    let of = |state: State| charges.iter().filter(|charge| charge.state == state).count();
    let in_state = |state| views.iter().filter(is_ours).filter(|view| view.state == state).count();
    let mut money = Money {
        counts: KINDS.map(|kind| (kind.name(), wrong.iter().filter(|it| it.kind == kind).count())).to_vec(),
        sold: in_state(ReservationState::Confirmed),
        charged: of(State::Succeeded),
        refunded: of(State::Refunded),
        at_the_counter: left_out.len(),
        problems: Vec::new(),
    };
    let words = |it: &&Difference| format!("money: {}: reservation {} {}", it.kind.name(), it.name, it.words);
    money.problems.extend(wrong.iter().take(MOST_NAMED).map(words));
    if let Some(more) = wrong.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        money.problems.push(format!("money: and {more} more"));
    }
    let at_the_counter = charges.iter().filter(|charge| charge.reservation().is_some_and(|id| counter.contains(&id)));
    let taken = at_the_counter.filter(|charge| matches!(charge.state, State::Succeeded | State::Refunded));
    money.problems.extend(taken.map(|charge| format!("money: charged at the counter: {}", charge.key)));
    // Counted apart from the comparison, so that a comparison of nothing does not pass.
    let refunded = in_state(ReservationState::Refunded);
    if (money.sold, refunded) != (money.charged, money.refunded) {
        money.problems.push(format!(
            "money: {} reservations are sold through gateways, and the provider has {} charges; {refunded} are refunded, and it \
             has given back {}",
            money.sold, money.charged, money.refunded
        ));
    }
    if found.in_motion > 0 {
        money.problems.push(format!("money: {} payments are still in motion, and were not compared", found.in_motion));
    }
    money
}

/// Whether it is what must be of a reservation that nobody charges.
fn needs_no_money(difference: &Difference, counter: &Counter) -> bool {
    let reservation = parse_reservation(&difference.name).ok().map(|name| name.reservation);
    matches!(difference.kind, Kind::OrderedNotCharged | Kind::RefundDueUnpaid)
        && reservation.is_some_and(|id| counter.contains(&id))
}

impl Money {
    /// For programs.
    pub fn json(&self) -> Value {
        let mut json = json!({
            "sold": self.sold, "charged": self.charged, "refunded": self.refunded, "at_the_counter": self.at_the_counter,
        });
        for (kind, count) in &self.counts {
            json[kind] = (*count).into();
        }
        json
    }

    /// For people, a line each.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { sold, charged, refunded, at_the_counter, .. } = self;
        let counts = self.counts.iter().map(|(kind, count)| (*kind, count.to_string()));
        let mut rows = vec![
            ("sold through gateways, charged, refunded", format!("{sold}, {charged}, {refunded}")),
            ("sold or to be refunded at the counter, without money", at_the_counter.to_string()),
        ];
        rows.extend(counts);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::types::{ProductId, Quantity, UserId};

    /// Two of a product: one bought through a gateway and charged, one confirmed at the counter.
    const OURS: ReservationId = ReservationId(1);
    const OWN: ReservationId = ReservationId(2);

    fn view(reservation: ReservationId, state: ReservationState) -> ReservationView {
        ReservationView {
            product: ProductId(7),
            reservation,
            user: UserId(3),
            quantity: Quantity(1),
            state,
            payment_attempts: 1,
            late: false,
            cancelled: None,
            created_at: Timestamp(10),
            first_expires_at: Timestamp(20),
            expires_at: Timestamp(20),
            changed_at: Timestamp(21),
        }
    }

    fn charge(reservation: ReservationId, attempt: u16, state: State) -> Charge {
        let key = format!("{:032x}-10-{attempt}", reservation.0);
        Charge {
            key,
            place: None,
            amount: 100,
            currency: "EUR".to_owned(),
            state,
            given_back: 0,
            going_back: 0,
            changed_at: Timestamp(15),
        }
    }

    fn found(differences: &[(ReservationId, Kind)]) -> Payments {
        let one = |(id, kind): &(ReservationId, Kind)| Difference {
            kind: *kind,
            name: reservation_text(ProductId(7), *id),
            words: String::new(),
        };
        Payments { differences: differences.iter().map(one).collect(), ..Payments::default() }
    }

    fn judged(differences: &[(ReservationId, Kind)], charges: &[Charge]) -> Money {
        let views = [view(OURS, ReservationState::Confirmed), view(OWN, ReservationState::Confirmed)];
        judge(&found(differences), charges, &views, &Counter::from([OWN]))
    }

    #[test]
    fn only_the_counter_needs_no_money() {
        let paid = [charge(OURS, 1, State::Declined), charge(OURS, 2, State::Succeeded)];
        let own = [(OWN, Kind::OrderedNotCharged), (OWN, Kind::RefundDueUnpaid)];
        let money = judged(&own, &paid);
        assert_eq!((money.problems.clone(), money.at_the_counter, money.sold), (Vec::new(), 2, 1));
        assert!(money.counts.iter().all(|(_, count)| *count == 0), "{money:?}");
        for kind in KINDS {
            let money = judged(&[(OURS, kind), own[0]], &paid);
            let counted: Vec<_> = money.counts.iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!((counted, money.problems.len()), (vec![&(kind.name(), 1)], 1), "{money:?}");
            let excused = matches!(kind, Kind::OrderedNotCharged | Kind::RefundDueUnpaid);
            assert_eq!(judged(&[(OWN, kind)], &paid).problems.is_empty(), excused, "{kind:?}");
        }
    }

    #[test]
    fn the_provider_has_the_money_for_what_is_sold_and_for_nothing_else() {
        let paid = charge(OURS, 1, State::Succeeded);
        assert_eq!(judged(&[], std::slice::from_ref(&paid)).problems, Vec::<String>::new());
        for charges in [
            vec![],
            vec![charge(OURS, 1, State::Refunded)],
            vec![paid.clone(), charge(OURS, 2, State::Succeeded)],
            vec![paid.clone(), charge(OURS, 2, State::Refunded)],
            vec![paid.clone(), charge(OWN, 1, State::Refunded)],
            vec![charge(OWN, 1, State::Succeeded)],
        ] {
            assert!(!judged(&[], &charges).problems.is_empty(), "{charges:?}");
        }
        let moving = Payments { in_motion: 1, ..Payments::default() };
        assert_eq!(judge(&moving, &[], &[], &Counter::new()).problems.len(), 1);
    }

    #[test]
    fn what_was_reserved_at_the_counter_is_told_from_what_came_over_http() {
        use crate::history::{Heard, Moment, Operation};
        use doorbuster_protocol::command::{LatePayment, Reserve, Target};
        let operation = |client, command| Operation {
            client,
            called: Moment(1),
            returned: None,
            body: RequestBody::Command(command),
            heard: Heard::Unknown,
        };
        let (product, user, quantity) = (ProductId(7), UserId(3), Quantity(1));
        let reserve = |reservation| Command::Reserve(Reserve { product, reservation, user, quantity, ttl: Millis(0) });
        let late =
            |reservation| Command::LatePayment(LatePayment { target: Target { product, reservation, user }, quantity });
        let operations = vec![
            operation(1, reserve(OWN)),
            operation(9, reserve(OURS)),
            operation(9, late(OURS)),
            operation(2, late(ReservationId(4))),
        ];
        let counter = counter(&History { operations }, |client| client == 9);
        assert_eq!(counter, Counter::from([OWN, ReservationId(4)]));
    }
}
