//! What operators do: products, stock, sales. Their tokens have the scope `admin`.

use std::borrow::Cow;

use doorbuster_protocol::command::{AdjustStock, ChangeSale, LatePaymentPolicy, ProductSpec, SaleAction, SetStock};
use doorbuster_protocol::limits::{
    MAX_PRICE_MINOR, MAX_PRODUCT_NAME_BYTES, MAX_RESERVATION_QUANTITY, MAX_STOCK, MAX_TTL, MIN_TTL,
};
use doorbuster_protocol::reply::ProductReply;
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, Timestamp};
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::view::{Product, json, located, marked};
use super::{Call, key, products};
use crate::app::App;
use crate::field::{Number, Time};
use crate::problem::{HttpResponse, Problem, kinds};
use crate::{body, ids};

/// Product ids made over HTTP stay below 2^53, which every JSON reader keeps exactly.
const MAX_PRODUCT: u64 = (1 << 53) - 1;
const DEFAULT_TTL: Millis = Millis(5 * 60_000);
const DEFAULT_PAYMENT_CAP: Millis = Millis(2 * 60_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody<'a> {
    product: Number,
    #[serde(borrow)]
    name: Cow<'a, str>,
    stock: Number,
    #[serde(borrow)]
    price: PriceBody<'a>,
    limit_per_user: Option<Number>,
    limit_per_reservation: Option<Number>,
    ttl_ms: Option<Number>,
    max_life_ms: Option<Number>,
    payment_cap_ms: Option<Number>,
    opens_at: Option<Time>,
    closes_at: Option<Time>,
    #[serde(default)]
    late_payment: LatePayment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceBody<'a> {
    minor: Number,
    #[serde(borrow)]
    currency: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LatePayment {
    #[default]
    RetakeOrRefund,
    AlwaysRefund,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockBody {
    delta: Option<Number>,
    expected: Option<Number>,
    stock: Option<Number>,
}

/// What stock shall become.
enum StockChange {
    By(i64),
    To { expected: Quantity, stock: Quantity },
}

/// `POST /v1/admin/products`: puts a product on sale. The product id is its own idempotency key.
///
/// # Errors
/// What the body lacks, 409 for an id with other settings, and the cluster's.
pub async fn create(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let bytes = call.read(app).await?;
    let spec = read_spec(body::parse(&call.parts.headers, &bytes)?)?;
    let path = format!("/v1/products/{}", spec.product);
    let reply = app.backend.client()?.create_product(spec).await?;
    Ok(located(shown(StatusCode::CREATED, &reply), &path))
}

/// `POST /v1/admin/products/{product}/stock`: by a difference, or to a number if it still is what the caller thinks.
///
/// # Errors
/// What body or key lack, 404, 409 for what stock cannot become, and the cluster's.
pub async fn stock(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let product = products::parse(&call)?;
    let user = call.caller()?.user;
    let bytes = call.read(app).await?;
    let operation = ids::operation(user, "stock", key::read(&call.parts.headers)?);
    let change = read_stock(&body::parse(&call.parts.headers, &bytes)?)?;
    let client = app.backend.client()?;
    let reply = match change {
        StockChange::By(delta) => client.adjust_stock(AdjustStock { operation, product, delta }).await?,
        StockChange::To { expected, stock } => {
            client.set_stock(SetStock { operation, product, expected, stock }).await?
        }
    };
    Ok(shown(StatusCode::OK, &reply))
}

/// `POST /v1/admin/products/{product}/pause`, `resume` and `close`.
///
/// # Errors
/// What the key lacks, 404, 409 for a sale that is closed, and the cluster's.
pub async fn sale(app: &App, call: &Call, action: SaleAction) -> Result<HttpResponse, Problem> {
    let product = products::parse(call)?;
    let operation = ids::operation(call.caller()?.user, "sale", key::read(&call.parts.headers)?);
    let reply = app.backend.client()?.change_sale(ChangeSale { operation, product, action }).await?;
    Ok(shown(StatusCode::OK, &reply))
}

/// Whether the body of [`create`] can be read.
pub(super) fn check_create(headers: &HeaderMap, bytes: &[u8]) -> Result<(), Problem> {
    read_spec(body::parse(headers, bytes)?).map(drop)
}

/// Whether the body of [`stock`] can be read.
pub(super) fn check_stock(headers: &HeaderMap, bytes: &[u8]) -> Result<(), Problem> {
    read_stock(&body::parse(headers, bytes)?).map(drop)
}

fn shown(status: StatusCode, reply: &ProductReply) -> HttpResponse {
    marked(json(status, &Product::from(&reply.product)), reply.replayed)
}

fn read_stock(body: &StockBody) -> Result<StockChange, Problem> {
    match body {
        StockBody { delta: Some(delta), expected: None, stock: None } => {
            Ok(StockChange::By(delta.within_signed("delta", MAX_STOCK)?))
        }
        StockBody { delta: None, expected: Some(expected), stock: Some(stock) } => Ok(StockChange::To {
            expected: Quantity(expected.within_u32("expected", 0, MAX_STOCK)?),
            stock: Quantity(stock.within_u32("stock", 0, MAX_STOCK)?),
        }),
        _ => {
            let detail = "Give either delta, or expected and stock.";
            Err(Problem::new(&kinds::MISSING_FIELD, detail).with("field", "delta"))
        }
    }
}

fn read_spec(body: CreateBody<'_>) -> Result<ProductSpec, Problem> {
    let ttl = duration("ttl_ms", body.ttl_ms, MIN_TTL, DEFAULT_TTL)?;
    let default_life = Millis((ttl.0 * 4).min(MAX_TTL.0));
    Ok(ProductSpec {
        product: ProductId(body.product.within("product", 1, MAX_PRODUCT)?),
        name: read_name(body.name)?,
        stock: Quantity(body.stock.within_u32("stock", 0, MAX_STOCK)?),
        price: read_price(&body.price)?,
        limit_per_user: limit("limit_per_user", body.limit_per_user, MAX_STOCK)?,
        limit_per_reservation: limit("limit_per_reservation", body.limit_per_reservation, MAX_RESERVATION_QUANTITY)?,
        ttl,
        max_life: duration("max_life_ms", body.max_life_ms, ttl, default_life)?,
        payment_cap: duration("payment_cap_ms", body.payment_cap_ms, MIN_TTL, DEFAULT_PAYMENT_CAP)?,
        opens_at: time("opens_at", body.opens_at)?,
        closes_at: time("closes_at", body.closes_at)?,
        late_payment: match body.late_payment {
            LatePayment::RetakeOrRefund => LatePaymentPolicy::RetakeOrRefund,
            LatePayment::AlwaysRefund => LatePaymentPolicy::AlwaysRefund,
        },
    })
}

fn read_name(name: Cow<'_, str>) -> Result<String, Problem> {
    if name.is_empty() || name.len() > MAX_PRODUCT_NAME_BYTES {
        let detail = format!("name must have 1 to {MAX_PRODUCT_NAME_BYTES} bytes of UTF-8.");
        let problem = Problem::new(&kinds::INVALID_FIELD, detail).with("field", "name");
        return Err(problem.with("limit", MAX_PRODUCT_NAME_BYTES));
    }
    Ok(name.into_owned())
}

fn read_price(price: &PriceBody<'_>) -> Result<Money, Problem> {
    let no_currency = || {
        let detail = "price.currency must be an ISO 4217 code: three upper-case letters.";
        Problem::new(&kinds::INVALID_FIELD, detail).with("field", "price.currency")
    };
    Ok(Money {
        minor: price.minor.within("price.minor", 0, MAX_PRICE_MINOR)?,
        currency: Currency::parse(&price.currency).ok_or_else(no_currency)?,
    })
}

fn limit(field: &'static str, number: Option<Number>, most: u32) -> Result<Quantity, Problem> {
    number.map_or(Ok(0), |number| number.within_u32(field, 0, most)).map(Quantity)
}

fn duration(field: &'static str, number: Option<Number>, least: Millis, default: Millis) -> Result<Millis, Problem> {
    number.map_or(Ok(default.0), |number| number.within(field, least.0, MAX_TTL.0)).map(Millis)
}

fn time(field: &'static str, time: Option<Time>) -> Result<Timestamp, Problem> {
    time.map_or(Ok(Timestamp(0)), |time| time.read(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Result<ProductSpec, &'static str> {
        let body = body::parse(&HeaderMap::new(), json.as_bytes());
        body.and_then(read_spec).map_err(|problem| problem.kind.code)
    }

    #[test]
    fn a_product_with_nothing_but_the_necessary() {
        let made =
            spec(r#"{"product":7,"name":"Ph\u00f6ne","stock":100,"price":{"minor":49900,"currency":"EUR"}}"#).unwrap();
        assert_eq!((made.product, made.stock, made.name.as_str()), (ProductId(7), Quantity(100), "Phöne"));
        assert_eq!((made.ttl, made.max_life), (Millis(300_000), Millis(1_200_000)));
        assert_eq!((made.opens_at, made.closes_at), (Timestamp(0), Timestamp(0)));
    }

    #[test]
    fn each_field_has_its_limits() {
        let with = |change: &str| {
            let mut body: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(r#"{"product":7,"name":"a","stock":1,"price":{"minor":1,"currency":"EUR"}}"#)
                    .unwrap();
            body.extend(serde_json::from_str::<serde_json::Map<_, _>>(change).unwrap());
            spec(&serde_json::to_string(&body).unwrap()).map(|_| ())
        };
        for (change, expected) in [
            (r"{}", Ok(())),
            (r#"{"product":0}"#, Err("invalid_field")),
            (r#"{"product":9007199254740992}"#, Err("invalid_field")),
            (r#"{"name":""}"#, Err("invalid_field")),
            (r#"{"stock":-1}"#, Err("invalid_field")),
            (r#"{"stock":1000000001}"#, Err("invalid_field")),
            (r#"{"price":{"minor":1,"currency":"eur"}}"#, Err("invalid_field")),
            (r#"{"price":{"minor":1.5,"currency":"EUR"}}"#, Err("invalid_field")),
            (r#"{"price":{"minor":1,"currency":"EUR","vat":1}}"#, Err("unknown_field")),
            (r#"{"ttl_ms":99}"#, Err("invalid_field")),
            (r#"{"ttl_ms":1000,"max_life_ms":999}"#, Err("invalid_field")),
            (r#"{"ttl_ms":1000,"max_life_ms":1000}"#, Ok(())),
            (r#"{"opens_at":"2026-11-27T12:00:00Z","closes_at":1795867200000}"#, Ok(())),
            (r#"{"opens_at":"noon"}"#, Err("invalid_field")),
            (r#"{"late_payment":"always_refund"}"#, Ok(())),
            (r#"{"late_payment":"sometimes"}"#, Err("invalid_field")),
        ] {
            assert_eq!(with(change), expected, "{change}");
        }
    }
}
