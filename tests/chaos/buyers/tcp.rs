//! Buyers who use the client library: they reserve, pay, give back, extend, let run out, pay too late, and ask again for
//! what they have.

use doorbuster_client::Client;
use doorbuster_protocol::command::{Command, Extend, LatePayment, Payment, Reserve, Target};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, OperationId, Quantity, ReservationId, UserId};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Buyer;
use crate::chaos::shop::{Door, Product};
use crate::history::Heard;

/// A buyer on his way through one product's sale.
struct Visit<'a> {
    buyer: &'a Buyer,
    client: &'a Client,
    product: &'a Product,
    rng: &'a mut StdRng,
}

/// Runs until the sale is over.
pub async fn run(buyer: Buyer, client: Client, seed: u64) {
    let mut rng = buyer.rng(seed);
    while !buyer.over.is_cancelled() {
        if let Some(product) = buyer.shop.visit(Door::Tcp, &mut rng) {
            Visit { buyer: &buyer, client: &client, product: &product, rng: &mut rng }.run().await;
        }
        buyer.think(&mut rng, 60).await;
    }
}

impl Visit<'_> {
    async fn run(&mut self) {
        let reserve = self.reserve();
        let target = Target { product: reserve.product, reservation: reserve.reservation, user: reserve.user };
        let heard = self.command(Command::Reserve(reserve)).await;
        if self.rng.random_bool(0.25) {
            self.query(Query::Product(reserve.product)).await;
        }
        match heard {
            Heard::Reply(_) => {}
            Heard::Unknown if self.rng.random_bool(0.7) => {
                self.query(Query::Reservation(target)).await;
            }
            _ => return,
        }
        match self.rng.random_range(0..20) {
            0..3 => drop(self.command(Command::Reserve(reserve)).await),
            3 => {
                let other = Reserve { quantity: Quantity(reserve.quantity.0 + 1), ..reserve };
                self.command(Command::Reserve(other)).await;
            }
            _ => {}
        }
        self.buyer.think(self.rng, 300).await;
        match self.rng.random_range(0..10) {
            0..3 => self.buy(target).await,
            3..6 => self.pay(target, reserve.quantity).await,
            6 => drop(self.command(Command::Release(target)).await),
            7 => self.extend(target).await,
            _ => self.let_run_out(target, reserve.quantity).await,
        }
    }

    fn reserve(&mut self) -> Reserve {
        let own = u128::from(self.buyer.number) << 64;
        let ttl = if self.rng.random_bool(0.5) { 0 } else { self.rng.random_range(100..=self.product.spec.ttl.0) };
        Reserve {
            product: self.product.spec.product,
            reservation: ReservationId(self.rng.random::<u128>() | 1),
            user: UserId(own + self.rng.random_range(1..=2)),
            quantity: Quantity(if self.rng.random_bool(0.8) { 1 } else { 2 }),
            ttl: Millis(ttl),
        }
    }

    async fn buy(&mut self, target: Target) {
        self.command(Command::Confirm(target)).await;
        if self.rng.random_bool(0.3) {
            self.query(Query::Reservation(target)).await;
        }
        if self.rng.random_bool(0.1) {
            self.command(Command::Confirm(target)).await;
        }
    }

    /// He is his own payment provider.
    async fn pay(&mut self, target: Target, quantity: Quantity) {
        let mut attempt = 1;
        loop {
            let payment = Payment { target, attempt };
            // A gateway that sweeps finds it, does not know of any charge, and may end it as failed.
            self.buyer.record.call(self.buyer.number, RequestBody::Command(Command::PaymentFailed(payment)));
            if let Heard::Refused(_) = self.command(Command::BeginPayment(payment)).await {
                return;
            }
            self.buyer.think(self.rng, 200).await;
            match self.rng.random_range(0..10) {
                0..6 => return self.settle(target, quantity).await,
                6..8 => {
                    let failed = self.command(Command::PaymentFailed(payment)).await;
                    attempt += 1;
                    if attempt > 2 || !matches!(failed, Heard::Reply(_)) {
                        return;
                    }
                }
                // As a gateway that dies: the pin has to end.
                _ => return,
            }
        }
    }

    /// The money is taken.
    async fn settle(&mut self, target: Target, quantity: Quantity) {
        if let Heard::Refused(_) = self.command(Command::Confirm(target)).await {
            self.pay_late(target, quantity).await;
        }
    }

    async fn pay_late(&mut self, target: Target, quantity: Quantity) {
        let heard = self.command(Command::LatePayment(LatePayment { target, quantity })).await;
        let due = state(&heard).is_some_and(|view| view.state == ReservationState::RefundDue);
        if due && self.rng.random_bool(0.8) {
            self.command(Command::RefundDone(target)).await;
        }
    }

    async fn extend(&mut self, target: Target) {
        let operation = OperationId(self.rng.random::<u128>() | 1);
        let extend = Extend { target, operation, by: Millis(self.rng.random_range(50..=500)) };
        self.command(Command::Extend(extend)).await;
        if self.rng.random_bool(0.3) {
            self.command(Command::Extend(extend)).await;
        }
        if self.rng.random_bool(0.5) {
            self.buy(target).await;
        }
    }

    async fn let_run_out(&mut self, target: Target, quantity: Quantity) {
        self.buyer.think(self.rng, 2 * self.product.spec.ttl.0).await;
        self.query(Query::Reservation(target)).await;
        match self.rng.random_range(0..4) {
            0 => self.pay_late(target, quantity).await,
            1 => self.buy(target).await,
            _ => drop(self.query(Query::Product(target.product)).await),
        }
    }

    async fn command(&mut self, command: Command) -> Heard {
        let tries = self.tries();
        self.buyer.ask(self.client, RequestBody::Command(command), tries).await
    }

    async fn query(&mut self, query: Query) -> Heard {
        self.buyer.ask(self.client, RequestBody::Query(query), 2).await
    }

    /// Most come back until they know; some give up.
    fn tries(&mut self) -> u32 {
        if self.rng.random_bool(0.6) { 6 } else { 1 }
    }
}

fn state(heard: &Heard) -> Option<ReservationView> {
    match heard {
        Heard::Reply(Reply::Reservation(reply)) => Some(reply.reservation),
        _ => None,
    }
}
