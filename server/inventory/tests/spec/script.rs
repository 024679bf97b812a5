//! The commands of the scripts.
//!
//! ```text
//! at TIME                                  what follows happens then
//! create PRODUCT [setting=value ...]       stock ttl max_life cap limit per_reservation opens closes
//!                                          price currency name (how long) late=refund
//! adjust OPERATION PRODUCT DELTA           set OPERATION PRODUCT EXPECTED STOCK
//! pause|resume|close OPERATION PRODUCT
//! reserve PRODUCT RESERVATION USER [QUANTITY [TTL]]
//! pay|declined PRODUCT RESERVATION ATTEMPT [USER]
//! confirm|release|refunded PRODUCT RESERVATION [USER]
//! extend PRODUCT RESERVATION OPERATION BY [USER]
//! late PRODUCT RESERVATION USER QUANTITY
//! ack POSITION                             expire
//! show PRODUCT   find RESERVATION   feed AFTER LIMIT   next   unsettled payments|refunds
//!  room N (of the shard; first line)
//! ```

use std::str::FromStr;

use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::command::{
    AdjustStock, Cancel, CancelReason, Cancellation, ChangeSale, Command, Extend, LatePayment, LatePaymentPolicy,
    Payment, ProductSpec, Reserve, SaleAction, SetStock, Target,
};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::types::{
    Currency, FeedPosition, LogIndex, Millis, Money, OperationId, ProductId, Quantity, ReservationId, ShardId,
    Timestamp, UserId,
};

use crate::told;

const SHARD: ShardId = ShardId(0);

pub struct Script {
    inventory: Inventory,
    limits: Limits,
    time: Timestamp,
    index: u64,
}

impl Script {
    pub fn new() -> Self {
        let limits = Limits { retention: Millis(100_000), ..Limits::default() };
        Self { inventory: Inventory::new(SHARD, limits), limits, time: Timestamp(1000), index: 0 }
    }

    /// Runs a line and tells what came of it, or what is wrong with the line.
    pub fn run(&mut self, line: &str) -> Result<String, String> {
        self.restore();
        let mut words = Words { words: line.split_whitespace().collect(), line };
        let verb = words.next()?;
        let told = match verb.as_str() {
            "at" => {
                self.time = Timestamp(words.number()?);
                String::new()
            }
            "room" => {
                let room = words.number()?;
                self.limits = Limits { products: room, reservations: room, operations: room, ..self.limits };
                self.inventory = Inventory::new(SHARD, self.limits);
                String::new()
            }
            "show" => match self.inventory.product(words.id()?) {
                Ok(view) => told::product(&view),
                Err(refusal) => told::refusal(&refusal),
            },
            "find" => match self.inventory.find(words.id()?) {
                Ok(view) => told::reservation(&view),
                Err(refusal) => told::refusal(&refusal),
            },
            "next" => self.inventory.next_deadline().map_or("never".to_owned(), |next| next.to_string()),
            "unsettled" => self.unsettled(&words.next()?)?,
            "feed" => self.feed(words.number()?, words.number()?),
            _ => {
                let command = command(&verb, &mut words)?;
                self.index += 1;
                told::outcome(&self.inventory.apply(LogIndex(self.index), self.time, &command))
            }
        };
        words.end()?;
        Ok(told)
    }

    fn unsettled(&self, of: &str) -> Result<String, String> {
        let of = match of {
            "payments" => Unsettled::Payments,
            "refunds" => Unsettled::Refunds,
            other => return Err(format!("{other} are not settled or unsettled")),
        };
        let page = self.inventory.unsettled(of, Changed::default(), 100, self.time);
        let total = format!("{} altogether", page.total);
        Ok(page.reservations.iter().map(told::reservation).chain([total]).collect::<Vec<_>>().join("\n"))
    }

    fn feed(&self, after: u64, limit: u32) -> String {
        let page = self.inventory.feed(FeedPosition(after), limit);
        let ends = format!("acknowledged {}, last {}", page.acknowledged, page.last);
        page.entries.iter().map(told::feed_entry).chain([ends]).collect::<Vec<_>>().join("\n")
    }

    /// Replaces the state by what a snapshot of it says.
    fn restore(&mut self) {
        let mut bytes = Vec::new();
        self.inventory.freeze().write_to(&mut bytes).expect("a vector takes everything");
        let restored = Inventory::restore(SHARD, self.limits, &bytes).expect("a snapshot is read back");
        assert_eq!(restored.state_hash(), self.inventory.state_hash());
        self.inventory = restored;
    }
}

fn command(verb: &str, words: &mut Words<'_>) -> Result<Command, String> {
    Ok(match verb {
        "create" => Command::CreateProduct(Box::new(spec(words)?)),
        "adjust" => {
            Command::AdjustStock(AdjustStock { operation: words.id()?, product: words.id()?, delta: words.number()? })
        }
        "set" => Command::SetStock(SetStock {
            operation: words.id()?,
            product: words.id()?,
            expected: Quantity(words.number()?),
            stock: Quantity(words.number()?),
        }),
        "pause" => change(words, SaleAction::Pause)?,
        "resume" => change(words, SaleAction::Resume)?,
        "close" => change(words, SaleAction::Close)?,
        "reserve" => Command::Reserve(Reserve {
            product: words.id()?,
            reservation: words.id()?,
            user: words.id()?,
            quantity: Quantity(words.number_or(1)?),
            ttl: Millis(words.number_or(0)?),
        }),
        "pay" => Command::BeginPayment(payment(words)?),
        "declined" => Command::PaymentFailed(payment(words)?),
        "confirm" => Command::Confirm(target(words)?),
        "release" => Command::Release(target(words)?),
        "refunded" => Command::RefundDone(target(words)?),
        "cancel" => {
            let (product, reservation) = (words.id()?, words.id()?);
            let reason = words.next()?;
            let reason = CancelReason::named(&reason).ok_or_else(|| format!("{reason} is no reason"))?;
            let how = Cancellation { reason, return_stock: words.next()? == "returned" };
            Command::Cancel(Cancel { target: Target { product, reservation, user: words.user()? }, how })
        }
        "extend" => {
            let (product, reservation) = (words.id()?, words.id()?);
            let (operation, by) = (words.id()?, Millis(words.number()?));
            Command::Extend(Extend { target: Target { product, reservation, user: words.user()? }, operation, by })
        }
        "late" => {
            let target = Target { product: words.id()?, reservation: words.id()?, user: words.id()? };
            Command::LatePayment(LatePayment { target, quantity: Quantity(words.number()?) })
        }
        "ack" => Command::AcknowledgeFeed { shard: SHARD, through: FeedPosition(words.number()?) },
        "expire" => Command::Expire,
        other => return Err(format!("there is no command {other}")),
    })
}

fn change(words: &mut Words<'_>, action: SaleAction) -> Result<Command, String> {
    Ok(Command::ChangeSale(ChangeSale { operation: words.id()?, product: words.id()?, action }))
}

fn target(words: &mut Words<'_>) -> Result<Target, String> {
    Ok(Target { product: words.id()?, reservation: words.id()?, user: words.user()? })
}

fn payment(words: &mut Words<'_>) -> Result<Payment, String> {
    let (product, reservation, attempt) = (words.id()?, words.id()?, words.number()?);
    Ok(Payment { target: Target { product, reservation, user: words.user()? }, attempt })
}

fn spec(words: &mut Words<'_>) -> Result<ProductSpec, String> {
    let mut spec = ProductSpec {
        product: words.id()?,
        name: "phone".to_owned(),
        stock: Quantity(10),
        price: Money { minor: 49_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: Millis(10_000),
        max_life: Millis(30_000),
        payment_cap: Millis(5_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    };
    while let Ok(setting) = words.next() {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("{setting} is not a setting"))?;
        match name {
            "name" => spec.name = "x".repeat(number(value)?),
            "stock" => spec.stock = Quantity(number(value)?),
            "price" => spec.price.minor = number(value)?,
            "currency" => spec.price.currency = Currency(value.as_bytes().try_into().map_err(|_| "three bytes")?),
            "limit" => spec.limit_per_user = Quantity(number(value)?),
            "per_reservation" => spec.limit_per_reservation = Quantity(number(value)?),
            "ttl" => spec.ttl = Millis(number(value)?),
            "max_life" => spec.max_life = Millis(number(value)?),
            "cap" => spec.payment_cap = Millis(number(value)?),
            "opens" => spec.opens_at = Timestamp(number(value)?),
            "closes" => spec.closes_at = Timestamp(number(value)?),
            "late" if value == "refund" => spec.late_payment = LatePaymentPolicy::AlwaysRefund,
            _ => return Err(format!("there is no setting {setting}")),
        }
    }
    Ok(spec)
}

/// What is left of a line.
struct Words<'a> {
    words: std::collections::VecDeque<&'a str>,
    line: &'a str,
}

impl Words<'_> {
    fn next(&mut self) -> Result<String, String> {
        self.words.pop_front().map(str::to_owned).ok_or_else(|| format!("`{}` needs more words", self.line))
    }

    fn number<T: FromStr>(&mut self) -> Result<T, String> {
        number(&self.next()?)
    }

    fn number_or<T: FromStr>(&mut self, otherwise: T) -> Result<T, String> {
        if self.words.is_empty() { Ok(otherwise) } else { self.number() }
    }

    /// A number behind one letter that says of what.
    fn id<T: Id>(&mut self) -> Result<T, String> {
        let word = self.next()?;
        let number: u128 = number(word.strip_prefix(T::LETTER).ok_or_else(|| format!("{word} is no {}", T::LETTER))?)?;
        Ok(T::from_number(number))
    }

    /// A user, or anybody.
    fn user(&mut self) -> Result<UserId, String> {
        if self.words.is_empty() { Ok(UserId(0)) } else { self.id() }
    }

    fn end(&self) -> Result<(), String> {
        if self.words.is_empty() { Ok(()) } else { Err(format!("`{}` has words too many", self.line)) }
    }
}

trait Id {
    const LETTER: char;
    fn from_number(number: u128) -> Self;
}

macro_rules! id {
    ($name:ident, $letter:literal) => {
        impl Id for $name {
            const LETTER: char = $letter;
            fn from_number(number: u128) -> Self {
                Self(number.try_into().expect("ids in scripts are small"))
            }
        }
    };
}

id!(ProductId, 'p');
id!(ReservationId, 'r');
id!(UserId, 'u');
id!(OperationId, 'o');

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is no number that fits here"))
}
