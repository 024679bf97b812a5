//! Commands: what changes state. A command travels from the client, is proposed to its shard's log as
//! it came, and is applied by the inventory on every replica.

use crate::types::{
    FeedPosition, Millis, Money, OperationId, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};

/// A change of one shard's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Puts a product on sale. Idempotent by product id: the same contents again is a replay, others are refused.
    CreateProduct(Box<ProductSpec>),
    /// Adds units to a product's stock, or takes free ones away.
    AdjustStock(AdjustStock),
    /// Sets a product's stock if it still is what the caller thinks.
    SetStock(SetStock),
    /// Pauses, resumes or closes a product's sale.
    ChangeSale(ChangeSale),
    /// Claims units for a user.
    Reserve(Reserve),
    /// Pins a reservation for a charge: `held` → `paying`, until the later of its deadline and the payment cap from now.
    BeginPayment(Payment),
    /// The charge was declined: `paying` → `held`, until its deadline from before or a short grace from now.
    PaymentFailed(Payment),
    /// Sells the units: `held` or `paying` → `confirmed`.
    Confirm(Target),
    /// Gives the units back by request: `held` → `released`. A payment in progress has to end first.
    Release(Target),
    /// Moves a held reservation's deadline later, counted from that deadline.
    Extend(Extend),
    /// The provider says paid: sells what is held or paying; of what is gone, takes the units again or owes a refund.
    LatePayment(LatePayment),
    /// The provider says refunded: `refund_due` → `refunded`.
    RefundDone(Target),
    /// Undoes a sale: `confirmed` → `refund_due` if it was paid for, else `cancelled`.
    Cancel(Cancel),
    /// Everything on the shard's order feed up to here is stored.
    AcknowledgeFeed {
        /// Which shard.
        shard: ShardId,
        /// The last position that is stored.
        through: FeedPosition,
    },
    /// Time has passed: expire what is due. Proposed by leaders, never accepted from clients.
    Expire,
}

/// What is on sale, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductSpec {
    /// The product's id.
    pub product: ProductId,
    /// Its name, for people.
    pub name: String,
    /// Units put on sale.
    pub stock: Quantity,
    /// Price of one unit.
    pub price: Money,
    /// Most units a user may hold and have bought together; 0 for no limit.
    pub limit_per_user: Quantity,
    /// Most units in one reservation, at most the protocol's limit; 0 for that limit.
    pub limit_per_reservation: Quantity,
    /// How long a reservation is held.
    pub ttl: Millis,
    /// Longest life of a held reservation, extensions included, from its creation; payments may prolong it by one
    /// `payment_cap` and one grace. At least `ttl`.
    pub max_life: Millis,
    /// How long from its beginning a payment pins a reservation whose deadline is sooner.
    pub payment_cap: Millis,
    /// Reserves are refused before; 0 for no opening time.
    pub opens_at: Timestamp,
    /// Reserves are refused from then on; 0 for no closing time.
    pub closes_at: Timestamp,
    /// What happens to a payment that succeeds after its reservation is gone.
    pub late_payment: LatePaymentPolicy,
}

/// What happens to a payment that succeeds after its reservation is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatePaymentPolicy {
    /// Units left: take them again and confirm. None: refund.
    #[default]
    RetakeOrRefund,
    /// Always refund.
    AlwaysRefund,
}

/// See [`Command::AdjustStock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjustStock {
    /// Idempotency key.
    pub operation: OperationId,
    /// Which product.
    pub product: ProductId,
    /// Units to add; negative to take away.
    pub delta: i64,
}

/// See [`Command::SetStock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetStock {
    /// Idempotency key.
    pub operation: OperationId,
    /// Which product.
    pub product: ProductId,
    /// The stock the caller believes it has now.
    pub expected: Quantity,
    /// The stock it shall have.
    pub stock: Quantity,
}

/// See [`Command::ChangeSale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeSale {
    /// Idempotency key.
    pub operation: OperationId,
    /// Which product.
    pub product: ProductId,
    /// What to do with its sale.
    pub action: SaleAction,
}

/// What an operator does to a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleAction {
    /// Refuse new reserves until resumed.
    Pause,
    /// Undo a pause.
    Resume,
    /// Refuse new reserves for good.
    Close,
}

/// See [`Command::Reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Which product.
    pub product: ProductId,
    /// The reservation to make; the idempotency key.
    pub reservation: ReservationId,
    /// For whom.
    pub user: UserId,
    /// How many units.
    pub quantity: Quantity,
    /// How long to hold them; 0 for the product's TTL, which is also the most.
    pub ttl: Millis,
}

/// Names a reservation. The product leads to the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The reservation's product.
    pub product: ProductId,
    /// The reservation.
    pub reservation: ReservationId,
    /// Its owner: another's reservation is answered `unknown_reservation`. 0 leaves the owner unchecked.
    pub user: UserId,
}

/// See [`Command::BeginPayment`] and [`Command::PaymentFailed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Which reservation.
    pub target: Target,
    /// Which try, 1 for the first: makes a late retry of an earlier try harmless.
    pub attempt: u16,
}

/// See [`Command::Extend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Which reservation.
    pub target: Target,
    /// Idempotency key of this extension.
    pub operation: OperationId,
    /// How much later its deadline shall be.
    pub by: Millis,
}

/// See [`Command::LatePayment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatePayment {
    /// Which reservation; the user must be given, for the record may have left its retention.
    pub target: Target,
    /// How many units were paid.
    pub quantity: Quantity,
}

/// See [`Command::Cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Which reservation.
    pub target: Target,
    /// Why, and what becomes of its units.
    pub how: Cancellation,
}

/// Why a sale was undone, and what became of its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// Why.
    pub reason: CancelReason,
    /// Whether the units go back on sale; else they are written off, and the stock is so much less.
    pub return_stock: bool,
}

/// Why a sale was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// Its customer wanted it.
    Customer,
    /// The shop cannot or does not want to deliver.
    Shop,
    /// It was bought by fraud.
    Fraud,
    /// It was bought twice.
    Duplicate,
}

impl CancelReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Customer, Self::Shop, Self::Fraud, Self::Duplicate];

    /// The reason's name on the wire's edges: HTTP, database, command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Shop => "shop",
            Self::Fraud => "fraud",
            Self::Duplicate => "duplicate",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl Cancellation {
    /// Added to the reason's number when the units go back on sale.
    const RETURNED: u8 = 8;

    /// Its number on the wire and in snapshots; 0 is left for none. Below 16.
    #[must_use]
    pub const fn number(self) -> u8 {
        let reason = match self.reason {
            CancelReason::Customer => 1,
            CancelReason::Shop => 2,
            CancelReason::Fraud => 3,
            CancelReason::Duplicate => 4,
        };
        if self.return_stock { reason + Self::RETURNED } else { reason }
    }

    /// The one of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let choices = CancelReason::ALL.into_iter().flat_map(|reason| [false, true].map(|back| (reason, back)));
        let mut all = choices.map(|(reason, return_stock)| Self { reason, return_stock });
        all.find(|cancellation| cancellation.number() == number)
    }
}

impl Command {
    /// The product it concerns; `None` for the commands that concern the shard as a whole.
    #[must_use]
    pub fn product(&self) -> Option<ProductId> {
        Some(match self {
            Self::CreateProduct(spec) => spec.product,
            Self::AdjustStock(adjust) => adjust.product,
            Self::SetStock(set) => set.product,
            Self::ChangeSale(change) => change.product,
            Self::Reserve(reserve) => reserve.product,
            Self::BeginPayment(payment) | Self::PaymentFailed(payment) => payment.target.product,
            Self::Confirm(target) | Self::Release(target) | Self::RefundDone(target) => target.product,
            Self::Extend(extend) => extend.target.product,
            Self::LatePayment(late) => late.target.product,
            Self::Cancel(cancel) => cancel.target.product,
            Self::AcknowledgeFeed { .. } | Self::Expire => return None,
        })
    }
}
