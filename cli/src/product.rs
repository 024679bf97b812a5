//! `doorbuster product`: put products on sale, look at them, change their stock and their sale.

use crate::connect::Connection;
use crate::error::CliError;
use crate::names::{When, parse_duration, parse_product, parse_reservation_id, parse_when};
use crate::output::Output;
use crate::view::{product_json, product_reply_json, product_table, products_table};
use crate::{clock, entropy};
use clap::{Args, Subcommand, ValueEnum};
use doorbuster_protocol::command::{AdjustStock, ChangeSale, LatePaymentPolicy, ProductSpec, SaleAction, SetStock};
use doorbuster_protocol::reply::ProductReply;
use doorbuster_protocol::types::{Currency, Millis, Money, OperationId, ProductId, Quantity, ReservationId, Timestamp};
use serde_json::Value;

/// `doorbuster product ...`
#[derive(Args, Debug)]
pub struct ProductArgs {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Put a product on sale
    #[command(after_help = "Examples:\n  \
        doorbuster product create 7 --name 'Phone X' --stock 100 --price 49900 --currency EUR\n  \
        doorbuster product create 8 --name Tickets --stock 5000 --price 9000 --limit-per-user 4 \\\n      \
        --ttl 10m --opens-at 2026-11-27T12:00:00Z --closes-at 2026-11-28T00:00:00Z\n\n\
        Creating the same product again with the same settings is a replay; with others it is refused (product_exists).")]
    Create(Box<CreateArgs>),
    /// List all products with their stock
    List,
    /// Show one product
    Show {
        /// The product's id
        #[arg(value_parser = parse_product, value_name = "PRODUCT")]
        product: ProductId,
    },
    /// Add units to the stock, or take free ones away
    #[command(after_help = "Examples:\n  doorbuster product adjust 7 50\n  doorbuster product adjust 7 -- -20")]
    Adjust {
        /// The product's id
        #[arg(value_parser = parse_product, value_name = "PRODUCT")]
        product: ProductId,
        /// Units to add; negative to take away (never below what is held and sold)
        #[arg(allow_negative_numbers = true)]
        delta: i64,
        #[command(flatten)]
        operation: Operation,
    },
    /// Set the stock, if it still is what you think
    #[command(after_help = "Example:\n  doorbuster product set-stock 7 --expected 100 --stock 150")]
    SetStock {
        /// The product's id
        #[arg(value_parser = parse_product, value_name = "PRODUCT")]
        product: ProductId,
        /// The stock you believe it has now, in units; another is refused (stock_mismatch)
        #[arg(long)]
        expected: u32,
        /// The stock it shall have, in units
        #[arg(long)]
        stock: u32,
        #[command(flatten)]
        operation: Operation,
    },
    /// Refuse new reservations until resumed; held ones can still be paid
    Pause(ChangeArgs),
    /// Undo a pause
    Resume(ChangeArgs),
    /// Refuse new reservations for good; held ones can still be paid
    Close(ChangeArgs),
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// The product's id, yours to choose: a whole number from 1
    #[arg(value_parser = parse_product, value_name = "PRODUCT")]
    product: ProductId,
    /// Its name for people, at most 200 bytes
    #[arg(long)]
    name: String,
    /// Units put on sale
    #[arg(long)]
    stock: u32,
    /// Price of a unit in the currency's minor unit (cents, pence, yen)
    #[arg(long, value_name = "MINOR")]
    price: u64,
    /// ISO 4217 code
    #[arg(long, default_value = "EUR", value_parser = parse_currency)]
    currency: Currency,
    /// Most units a user may hold and have bought together; 0 for no limit
    #[arg(long, default_value_t = 0)]
    limit_per_user: u32,
    /// Most units in one reservation; 0 for the protocol's limit of 10000
    #[arg(long, default_value_t = 0)]
    limit_per_reservation: u32,
    /// How long a reservation is held (100ms to 7d)
    #[arg(long, default_value = "5m", value_parser = parse_duration, value_name = "DURATION")]
    ttl: Millis,
    /// Longest life of a held reservation with its extensions; at least the TTL [default: four TTLs, at most 7d]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    max_life: Option<Millis>,
    /// Longest time that one payment may pin a reservation
    #[arg(long, default_value = "2m", value_parser = parse_duration, value_name = "DURATION")]
    payment_cap: Millis,
    /// When the sale opens: 2026-11-27T12:00:00Z, UTC milliseconds, or +10m [default: at once]
    #[arg(long, value_parser = parse_when, value_name = "TIME")]
    opens_at: Option<When>,
    /// When the sale closes, written likewise [default: never]
    #[arg(long, value_parser = parse_when, value_name = "TIME")]
    closes_at: Option<When>,
    /// What happens to a payment that succeeds after its reservation is gone
    #[arg(long, value_enum, default_value_t = LatePayment::RetakeOrRefund)]
    late_payment: LatePayment,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LatePayment {
    /// Take the units again if there are any, else refund
    RetakeOrRefund,
    /// Always refund
    AlwaysRefund,
}

#[derive(Args, Debug)]
struct ChangeArgs {
    /// The product's id
    #[arg(value_parser = parse_product, value_name = "PRODUCT")]
    product: ProductId,
    #[command(flatten)]
    operation: Operation,
}

/// The idempotency key of a change.
#[derive(Args, Debug)]
struct Operation {
    /// Idempotency key, 1 to 32 hex digits: the same key again does nothing twice [default: a fresh one]
    #[arg(long, value_parser = parse_reservation_id, value_name = "HEX")]
    operation: Option<ReservationId>,
}

impl Operation {
    fn id(&self) -> OperationId {
        self.operation.map_or_else(entropy::operation_id, |id| OperationId(id.0))
    }
}

fn parse_currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).ok_or_else(|| format!("'{text}' is no currency: wanted three upper-case letters, as in EUR"))
}

impl CreateArgs {
    fn spec(&self) -> ProductSpec {
        let now = clock::wall();
        let four_lives = Millis(self.ttl.0.saturating_mul(4).min(doorbuster_protocol::limits::MAX_TTL.0));
        ProductSpec {
            product: self.product,
            name: self.name.clone(),
            stock: Quantity(self.stock),
            price: Money { minor: self.price, currency: self.currency },
            limit_per_user: Quantity(self.limit_per_user),
            limit_per_reservation: Quantity(self.limit_per_reservation),
            ttl: self.ttl,
            max_life: self.max_life.unwrap_or(four_lives),
            payment_cap: self.payment_cap,
            opens_at: self.opens_at.map_or(Timestamp(0), |when| when.at(now)),
            closes_at: self.closes_at.map_or(Timestamp(0), |when| when.at(now)),
            late_payment: match self.late_payment {
                LatePayment::RetakeOrRefund => LatePaymentPolicy::RetakeOrRefund,
                LatePayment::AlwaysRefund => LatePaymentPolicy::AlwaysRefund,
            },
        }
    }
}

/// Runs it.
pub async fn run(args: ProductArgs, output: Output) -> Result<(), CliError> {
    let client = args.connection.open().await?;
    let reply: ProductReply = match args.action {
        Action::List => {
            let products = client.products().await?;
            output.print(|| products_table(&products), || Value::Array(products.iter().map(product_json).collect()));
            return Ok(());
        }
        Action::Create(create) => client.create_product(create.spec()).await?,
        Action::Show { product } => client.product(product).await?,
        Action::Adjust { product, delta, operation } => {
            client.adjust_stock(AdjustStock { operation: operation.id(), product, delta }).await?
        }
        Action::SetStock { product, expected, stock, operation } => {
            let (expected, stock) = (Quantity(expected), Quantity(stock));
            client.set_stock(SetStock { operation: operation.id(), product, expected, stock }).await?
        }
        Action::Pause(change) => client.change_sale(change.to(SaleAction::Pause)).await?,
        Action::Resume(change) => client.change_sale(change.to(SaleAction::Resume)).await?,
        Action::Close(change) => client.change_sale(change.to(SaleAction::Close)).await?,
    };
    output.print(|| product_table(&reply), || product_reply_json(&reply));
    Ok(())
}

impl ChangeArgs {
    fn to(&self, action: SaleAction) -> ChangeSale {
        ChangeSale { operation: self.operation.id(), product: self.product, action }
    }
}
