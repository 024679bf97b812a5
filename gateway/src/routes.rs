//! The routes: one table of what there is, for whom, and what each may answer; `openapi.yaml` says the same, and a test
//! compares the two. One file a subject.

use std::net::IpAddr;

use hyper::Method;
use hyper::http::request::Parts;

use crate::app::App;
use crate::layers::auth::Caller;
use crate::problem::{HttpResponse, Problem, cluster, kinds};

pub mod admin;
pub mod bodies;
pub mod cancel;
pub mod health;
pub mod key;
pub mod orders;
pub mod payment;
pub mod products;
pub mod reservations;
mod table;
pub mod view;
mod wait;
pub mod webhooks;

pub use table::{Action, TABLE};

/// A request that has passed the layers.
pub struct Call {
    /// Its head.
    pub parts: Parts,
    /// Its body.
    pub body: hyper::body::Incoming,
    /// Who it is from, on routes that ask.
    pub caller: Option<Caller>,
    /// The address it is from.
    pub client: IpAddr,
    /// The route's place in the table.
    pub route: usize,
}

impl Call {
    /// The part of the path that the route's pattern has in braces; empty if it has none.
    #[must_use]
    pub fn parameter(&self) -> &str {
        let mut pairs = TABLE[self.route].path.split('/').zip(self.parts.uri.path().split('/'));
        pairs.find(|(pattern, _)| pattern.starts_with('{')).map_or("", |(_, part)| part)
    }

    /// Who it is from.
    ///
    /// # Errors
    /// 500 on a route whose access asks nobody: the table is wrong.
    pub fn caller(&self) -> Result<Caller, Problem> {
        self.caller.ok_or_else(|| cluster::internal("a route for nobody asked who it is", ""))
    }

    /// Reads the body.
    ///
    /// # Errors
    /// As [`crate::body::read`].
    pub async fn read(&mut self, app: &App) -> Result<bytes::Bytes, Problem> {
        crate::body::read(&self.parts.headers, &mut self.body, &app.config.http).await
    }
}

/// Finds the route of a method and path.
///
/// # Errors
/// 404 when no route has this path, 405 when one has, with another method.
pub fn find(method: &Method, path: &str) -> Result<usize, Problem> {
    let mut allow = None;
    for (index, route) in TABLE.iter().enumerate() {
        if matches(route.path, path) {
            if route.method == method.as_str() {
                return Ok(index);
            }
            allow = Some(route.path);
        }
    }
    Err(match allow {
        None => Problem::new(&kinds::NOT_FOUND, "No route has this path; see openapi.yaml."),
        Some(path) => {
            let problem = Problem::new(&kinds::METHOD_NOT_ALLOWED, "See the Allow header.");
            problem.allow(table::methods(path))
        }
    })
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if pattern == part => {}
            (Some(pattern), Some(part)) if pattern.starts_with('{') && !part.is_empty() => {}
            _ => return false,
        }
    }
}

/// Runs a route.
///
/// # Errors
/// What the route answers when it cannot do what is asked; each is in its line of the table.
pub async fn run(app: &App, call: Call) -> Result<HttpResponse, Problem> {
    match TABLE[call.route].action {
        Action::ListProducts => products::list(app).await,
        Action::ShowProduct => products::show(app, &call).await,
        Action::Reserve => reservations::reserve(app, call).await,
        Action::ShowReservation => reservations::show(app, &call).await,
        Action::Release => reservations::release(app, &call).await,
        Action::Extend => reservations::extend(app, call).await,
        Action::Pay => payment::pay(app, call).await,
        Action::Cancel => cancel::by_customer(app, &call).await,
        Action::CancelAny => cancel::by_operator(app, call).await,
        Action::Webhook => webhooks::receive(app, call).await,
        Action::ShowOrder => orders::show(app, &call).await,
        Action::CreateProduct => admin::create(app, call).await,
        Action::ChangeStock => admin::stock(app, call).await,
        Action::ChangeSale(action) => admin::sale(app, &call, action).await,
        Action::Live => Ok(health::live()),
        Action::Ready => health::ready(app).await,
        Action::Metrics => health::metrics(app, &call),
    }
}

#[cfg(test)]
mod tests;
