//! The table of routes: method, path, for whom, and every answer each may give.

use doorbuster_protocol::command::SaleAction;

use crate::layers::auth::Access;
use crate::problem::kinds::{self, Kind};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path; a part in braces stands for any one.
    pub path: &'static str,
    /// Who it is for.
    pub access: Access,
    /// What it does.
    pub action: Action,
    /// Statuses of its answers that are no problems.
    pub statuses: &'static [u16],
    /// The problems it may answer with, in groups.
    pub problems: &'static [&'static [&'static Kind]],
}

/// What a route does.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the table says what each is
pub enum Action {
    ListProducts,
    ShowProduct,
    Reserve,
    ShowReservation,
    Release,
    Extend,
    Pay,
    Cancel,
    CancelAny,
    Webhook,
    ShowOrder,
    CreateProduct,
    ChangeStock,
    ChangeSale(SaleAction),
    Live,
    Ready,
    Metrics,
}

impl Route {
    /// Whether the table says that the route may answer so: with this problem, or without one with this status.
    #[must_use]
    pub fn may_answer(&self, status: u16, problem: Option<&'static Kind>) -> bool {
        match problem {
            Some(kind) => self.problems.iter().copied().flatten().any(|known| std::ptr::eq(*known, kind)),
            None => self.statuses.contains(&status),
        }
    }
}

type Kinds = &'static [&'static Kind];

/// The layers before every route but probes.
const LAYERS: Kinds = &[&kinds::HEAD_TOO_LARGE, &kinds::RATE_LIMITED, &kinds::OVERLOADED, &kinds::INTERNAL];
const PROBE: Kinds = &[&kinds::HEAD_TOO_LARGE];
const USER: Kinds = &[&kinds::UNAUTHENTICATED, &kinds::INVALID_TOKEN, &kinds::TOKEN_EXPIRED];
const ADMIN: Kinds = &[&kinds::UNAUTHENTICATED, &kinds::INVALID_TOKEN, &kinds::TOKEN_EXPIRED, &kinds::FORBIDDEN];
const BODY: Kinds = &[
    &kinds::MALFORMED_JSON,
    &kinds::BODY_TIMEOUT,
    &kinds::BODY_TOO_LARGE,
    &kinds::UNSUPPORTED_MEDIA_TYPE,
    &kinds::INVALID_FIELD,
    &kinds::UNKNOWN_FIELD,
    &kinds::MISSING_FIELD,
];
const KEY: Kinds = &[&kinds::IDEMPOTENCY_KEY_REQUIRED, &kinds::IDEMPOTENCY_KEY_INVALID, &kinds::CONFLICTING_RETRY];
const READ: Kinds = &[&kinds::NO_LEADER, &kinds::OUTCOME_UNKNOWN];
const CHANGE: Kinds = &[&kinds::NO_LEADER, &kinds::OUTCOME_UNKNOWN, &kinds::CAPACITY_REACHED];
const GONE: Kinds = &[
    &kinds::UNKNOWN_RESERVATION,
    &kinds::RESERVATION_EXPIRED,
    &kinds::RESERVATION_RELEASED,
    &kinds::ALREADY_CONFIRMED,
    &kinds::PAYMENT_IN_PROGRESS,
    &kinds::REFUNDING,
    &kinds::RESERVATION_CANCELLED,
];

/// Why a sale is not undone.
const NOT_UNDONE: Kinds = &[
    &kinds::UNKNOWN_RESERVATION,
    &kinds::RESERVATION_EXPIRED,
    &kinds::RESERVATION_RELEASED,
    &kinds::PAYMENT_IN_PROGRESS,
    &kinds::REFUNDING,
    &kinds::NOT_CONFIRMED,
    &kinds::RESERVATION_CANCELLED,
];

const SALE_ITSELF: Kinds = &[&kinds::UNKNOWN_PRODUCT, &kinds::CLOSED];
const SALE: &[Kinds] = &[LAYERS, ADMIN, KEY, CHANGE, SALE_ITSELF];

const fn sale(path: &'static str, action: SaleAction) -> Route {
    Route {
        method: "POST",
        path,
        access: Access::Admin,
        action: Action::ChangeSale(action),
        statuses: &[200],
        problems: SALE,
    }
}

const fn probe(path: &'static str, action: Action, problems: &'static [Kinds]) -> Route {
    Route { method: "GET", path, access: Access::Probe, action, statuses: &[200], problems }
}

/// Every route.
pub static TABLE: &[Route] = &[
    Route {
        method: "POST",
        path: "/v1/reservations",
        access: Access::User,
        action: Action::Reserve,
        statuses: &[201],
        problems: &[
            LAYERS,
            USER,
            BODY,
            KEY,
            CHANGE,
            &[
                &kinds::SOLD_OUT,
                &kinds::ALL_HELD,
                &kinds::INSUFFICIENT_STOCK,
                &kinds::LIMIT_REACHED,
                &kinds::NOT_OPEN,
                &kinds::CLOSED,
                &kinds::PAUSED,
                &kinds::QUANTITY_TOO_LARGE,
                &kinds::UNKNOWN_PRODUCT,
                &kinds::INVALID_ARGUMENT,
            ],
        ],
    },
    Route {
        method: "GET",
        path: "/v1/reservations/{id}",
        access: Access::User,
        action: Action::ShowReservation,
        statuses: &[200],
        problems: &[LAYERS, USER, READ, &[&kinds::UNKNOWN_RESERVATION]],
    },
    Route {
        method: "DELETE",
        path: "/v1/reservations/{id}",
        access: Access::User,
        action: Action::Release,
        statuses: &[200],
        problems: &[LAYERS, USER, CHANGE, GONE],
    },
    Route {
        method: "POST",
        path: "/v1/reservations/{id}/extend",
        access: Access::User,
        action: Action::Extend,
        statuses: &[200],
        problems: &[LAYERS, USER, BODY, KEY, CHANGE, GONE, &[&kinds::LIFE_LIMIT_REACHED, &kinds::INVALID_ARGUMENT]],
    },
    Route {
        method: "POST",
        path: "/v1/reservations/{id}/payment",
        access: Access::User,
        action: Action::Pay,
        statuses: &[200, 202],
        problems: &[
            LAYERS,
            USER,
            BODY,
            CHANGE,
            GONE,
            &[
                &kinds::INVALID_QUERY,
                &kinds::PAYMENT_DECLINED,
                &kinds::PAYMENT_NOT_IN_PROGRESS,
                &kinds::PAYMENTS_DELAYED,
            ],
        ],
    },
    Route {
        method: "POST",
        path: "/v1/reservations/{id}/cancel",
        access: Access::User,
        action: Action::Cancel,
        statuses: &[200],
        problems: &[LAYERS, USER, CHANGE, NOT_UNDONE, &[&kinds::CANCEL_NOT_ALLOWED, &kinds::CANCEL_TOO_LATE]],
    },
    Route {
        method: "GET",
        path: "/v1/products",
        access: Access::Public,
        action: Action::ListProducts,
        statuses: &[200],
        problems: &[LAYERS, READ],
    },
    Route {
        method: "GET",
        path: "/v1/products/{product}",
        access: Access::Public,
        action: Action::ShowProduct,
        statuses: &[200],
        problems: &[LAYERS, READ, &[&kinds::UNKNOWN_PRODUCT]],
    },
    Route {
        method: "POST",
        path: "/v1/webhooks/{provider}",
        access: Access::Public,
        action: Action::Webhook,
        statuses: &[200],
        problems: &[
            LAYERS,
            READ,
            &[
                &kinds::UNKNOWN_PROVIDER,
                &kinds::BODY_TIMEOUT,
                &kinds::BODY_TOO_LARGE,
                &kinds::INVALID_SIGNATURE,
                &kinds::MALFORMED_JSON,
                &kinds::EVENTS_UNAVAILABLE,
            ],
        ],
    },
    Route {
        method: "GET",
        path: "/v1/orders/{id}",
        access: Access::User,
        action: Action::ShowOrder,
        statuses: &[200],
        problems: &[LAYERS, USER, READ, &[&kinds::UNKNOWN_ORDER, &kinds::ORDER_PENDING, &kinds::ORDERS_UNAVAILABLE]],
    },
    Route {
        method: "POST",
        path: "/v1/admin/products",
        access: Access::Admin,
        action: Action::CreateProduct,
        statuses: &[201],
        problems: &[LAYERS, ADMIN, BODY, CHANGE, &[&kinds::PRODUCT_EXISTS, &kinds::INVALID_ARGUMENT]],
    },
    Route {
        method: "POST",
        path: "/v1/admin/products/{product}/stock",
        access: Access::Admin,
        action: Action::ChangeStock,
        statuses: &[200],
        problems: &[
            LAYERS,
            ADMIN,
            BODY,
            KEY,
            CHANGE,
            &[
                &kinds::UNKNOWN_PRODUCT,
                &kinds::STOCK_BELOW_COMMITTED,
                &kinds::STOCK_MISMATCH,
                &kinds::STOCK_TOO_LARGE,
                &kinds::INVALID_ARGUMENT,
            ],
        ],
    },
    Route {
        method: "POST",
        path: "/v1/admin/reservations/{id}/cancel",
        access: Access::Admin,
        action: Action::CancelAny,
        statuses: &[200],
        problems: &[LAYERS, ADMIN, BODY, CHANGE, NOT_UNDONE],
    },
    sale("/v1/admin/products/{product}/pause", SaleAction::Pause),
    sale("/v1/admin/products/{product}/resume", SaleAction::Resume),
    sale("/v1/admin/products/{product}/close", SaleAction::Close),
    probe("/livez", Action::Live, &[PROBE]),
    probe("/readyz", Action::Ready, &[PROBE, &[&kinds::NOT_READY]]),
    probe("/metrics", Action::Metrics, &[PROBE, &[&kinds::NOT_FOUND]]),
];

/// What `Allow` says of a path of the table.
pub fn methods(path: &str) -> &'static str {
    let mut methods = TABLE.iter().filter(|route| route.path == path).map(|route| route.method);
    match (methods.next(), methods.next()) {
        // The only path that has two.
        (Some("GET"), Some("DELETE")) => "GET, DELETE",
        (Some(only), None) => only,
        _ => "",
    }
}
