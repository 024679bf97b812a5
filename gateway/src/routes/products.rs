//! Products, for anybody to see.

use hyper::StatusCode;
use serde::Serialize;

use super::Call;
use super::view::{Product, json};
use crate::app::App;
use crate::ids;
use crate::problem::{HttpResponse, Problem, kinds};

#[derive(Serialize)]
struct Page<'a> {
    products: Vec<Product<'a>>,
}

/// `GET /v1/products`: all, in the order of their ids.
///
/// # Errors
/// The cluster's.
pub async fn list(app: &App) -> Result<HttpResponse, Problem> {
    let views = app.backend.client()?.products().await?;
    Ok(json(StatusCode::OK, &Page { products: views.iter().map(Product::from).collect() }))
}

/// `GET /v1/products/{product}`.
///
/// # Errors
/// 404, and the cluster's.
pub async fn show(app: &App, call: &Call) -> Result<HttpResponse, Problem> {
    let product = parse(call)?;
    let reply = app.backend.client()?.product(product).await?;
    Ok(json(StatusCode::OK, &Product::from(&reply.product)))
}

/// The product that the path names.
///
/// # Errors
/// 404 for what is no product id.
pub fn parse(call: &Call) -> Result<doorbuster_protocol::types::ProductId, Problem> {
    let unknown = || Problem::new(&kinds::UNKNOWN_PRODUCT, "A product id is a whole number from 1.");
    ids::parse_product(call.parameter()).ok_or_else(unknown)
}
