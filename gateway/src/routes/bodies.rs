//! What can be read as a body of which route: the routes' own readers, without the routes.
//!
//! For whoever wants to know before sending, and for the tests that send any bytes at all.

use hyper::HeaderMap;

use super::{admin, cancel, payment, reservations};
use crate::problem::Problem;

/// A route that reads a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `POST /v1/reservations`.
    Reserve,
    /// `POST /v1/reservations/{id}/extend`.
    Extend,
    /// `POST /v1/reservations/{id}/payment`.
    Pay,
    /// `POST /v1/admin/products`.
    CreateProduct,
    /// `POST /v1/admin/products/{product}/stock`.
    Stock,
    /// `POST /v1/admin/reservations/{id}/cancel`.
    Cancel,
}

impl Body {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Reserve, Self::Extend, Self::Pay, Self::CreateProduct, Self::Stock, Self::Cancel];
}

/// Reads these bytes as such a body, sent without headers, and forgets what they said.
///
/// # Errors
/// What the route would answer: 400 for what is not JSON, 422 for fields that do not fit.
pub fn check(body: Body, bytes: &[u8]) -> Result<(), Problem> {
    let headers = HeaderMap::new();
    match body {
        Body::Reserve => reservations::check_reserve(&headers, bytes),
        Body::Extend => reservations::check_extend(&headers, bytes),
        Body::Pay => payment::check(&headers, bytes),
        Body::CreateProduct => admin::check_create(&headers, bytes),
        Body::Stock => admin::check_stock(&headers, bytes),
        Body::Cancel => cancel::check(&headers, bytes),
    }
}
