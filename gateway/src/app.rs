//! What answers a request: every layer in its order, then the route.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::clock::Stopwatch;
use crate::config::{ConfigError, GatewayConfig, networks};
use crate::layers::address::Addresses;
use crate::layers::auth::{Access, Auth};
use crate::layers::head;
use crate::layers::limits::Limits;
use crate::layers::shed::Shed;
use crate::metrics::Metrics;
use crate::problem::kinds::Kind;
use crate::problem::{HttpResponse, Problem};
use crate::routes::orders::OrderReader;
use crate::routes::{self, Call, TABLE};
use crate::saga::provider::PaymentProvider;
use crate::saga::worker::Saga;
use crate::webhooks::Webhooks;

/// Everything that requests share.
pub struct App {
    /// The configuration.
    pub config: GatewayConfig,
    /// The cluster.
    pub backend: Arc<Backend>,
    /// Payments in progress.
    pub saga: Arc<Saga>,
    /// Stored orders, if a database is configured.
    pub orders: Option<Arc<dyn OrderReader>>,
    /// What payment providers tell, if it is configured.
    pub webhooks: Option<Webhooks>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may read it.
    pub metrics_from: Vec<IpNet>,
    /// Requests in progress.
    pub shed: Shed,
    /// Cancelled when the gateway begins to shut down.
    pub draining: CancellationToken,
    addresses: Addresses,
    limits: Limits,
    auth: Auth,
}

impl App {
    /// Builds every layer; reads the keys.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn new(
        config: GatewayConfig,
        provider: Arc<dyn PaymentProvider>,
        orders: Option<Arc<dyn OrderReader>>,
        webhooks: Option<Webhooks>,
    ) -> Result<Self, ConfigError> {
        let backend = Arc::new(Backend::default());
        let metrics = Arc::new(Metrics::new());
        let exempt = networks("limits.exempt", &config.limits.exempt)?;
        Ok(Self {
            saga: Saga::new(Arc::clone(&backend), provider, Arc::clone(&metrics), config.payment.clone()),
            backend,
            orders,
            webhooks,
            metrics,
            metrics_from: networks("metrics_from", &config.metrics_from)?,
            shed: Shed::new(config.http.max_in_flight),
            draining: CancellationToken::new(),
            addresses: Addresses::new(networks("trusted_proxies", &config.trusted_proxies)?),
            limits: Limits::new(&config.limits, exempt),
            auth: Auth::load(&config)?,
            config,
        })
    }

    /// Answers a request from this peer. Cancelled when the peer goes away; what the cluster was asked by then may have
    /// been done all the same, which the same `Idempotency-Key` tells.
    pub async fn answer(&self, peer: IpAddr, request: Request<Incoming>) -> HttpResponse {
        let watch = Stopwatch::start();
        let found = routes::find(request.method(), request.uri().path());
        let route = found.as_ref().ok().copied();
        let answer = self.pass(peer, found, request).await;
        let problem = answer.as_ref().err().map(|problem| problem.kind);
        let response = answer.unwrap_or_else(Problem::into_response);
        let status = response.status().as_u16();
        self.note(route, status, problem);
        self.metrics.answered(route, status, watch.elapsed());
        response
    }

    /// Counts a problem, and tells when an answer is not one that the table, and so `openapi.yaml`, knows of.
    fn note(&self, route: Option<usize>, status: u16, problem: Option<&'static Kind>) {
        if let Some(kind) = problem {
            self.metrics.problem(kind);
        }
        if let Some(route) = route.map(|index| &TABLE[index])
            && !route.may_answer(status, problem)
        {
            let code = problem.map(|kind| kind.code);
            tracing::error!(route = route.path, status, code, "an answer that the table of routes does not know");
        }
    }

    async fn pass(
        &self,
        peer: IpAddr,
        found: Result<usize, Problem>,
        request: Request<Incoming>,
    ) -> Result<HttpResponse, Problem> {
        let (parts, body) = request.into_parts();
        head::check(&parts, &self.config.http)?;
        let client = self.addresses.client(peer, &parts.headers);
        if let Ok(route) = found
            && TABLE[route].access == Access::Probe
        {
            return routes::run(self, Call { parts, body, caller: None, client, route }).await;
        }
        self.limits.check(client)?;
        let _place = self.shed.enter()?;
        let route = found?;
        let caller = self.auth.admit(TABLE[route].access, &parts.headers)?;
        routes::run(self, Call { parts, body, caller, client, route }).await
    }
}
