//! Every kind of problem the gateway answers with: its stable code, status, title, and whether the same request may
//! succeed later. `openapi.yaml` names the same codes.

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Stable name, for programs.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// One line for people; the same for every occurrence.
    pub title: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

macro_rules! kinds {
    ($($name:ident $code:literal $status:literal $retry:ident $title:literal;)*) => {
        $(#[doc = $title] pub static $name: Kind = Kind { code: $code, status: $status, title: $title, retryable: kinds!(@$retry) };)*
        /// All of them.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
    (@again) => { true };
    (@never) => { false };
}

kinds! {
    // The request
    MALFORMED_JSON "malformed_json" 400 never "The body is not JSON";
    INVALID_QUERY "invalid_query" 400 never "A query parameter is not acceptable";
    IDEMPOTENCY_KEY_REQUIRED "idempotency_key_required" 400 never "The Idempotency-Key header is missing";
    IDEMPOTENCY_KEY_INVALID "idempotency_key_invalid" 400 never "The Idempotency-Key header is not acceptable";
    NOT_FOUND "not_found" 404 never "There is nothing at this path";
    UNKNOWN_PROVIDER "unknown_provider" 404 never "No webhooks of this provider are taken";
    METHOD_NOT_ALLOWED "method_not_allowed" 405 never "This path does not know that method";
    BODY_TIMEOUT "body_timeout" 408 again "The body took too long to arrive";
    BODY_TOO_LARGE "body_too_large" 413 never "The body is too large";
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" 415 never "The body is not declared as JSON";
    INVALID_FIELD "invalid_field" 422 never "A field's value is not acceptable";
    UNKNOWN_FIELD "unknown_field" 422 never "The body has a field that is not known";
    MISSING_FIELD "missing_field" 422 never "The body lacks a field";
    HEAD_TOO_LARGE "head_too_large" 431 never "The request's head is too large";

    // Who asks, and how often
    UNAUTHENTICATED "unauthenticated" 401 never "A bearer token is wanted";
    INVALID_TOKEN "invalid_token" 401 never "The token is not valid";
    TOKEN_EXPIRED "token_expired" 401 never "The token has expired";
    FORBIDDEN "forbidden" 403 never "The token does not allow this";
    INVALID_SIGNATURE "invalid_signature" 400 never "The signature is not believed";
    RATE_LIMITED "rate_limited" 429 again "Too many requests";

    // The sale
    SOLD_OUT "sold_out" 409 never "Sold out";
    ALL_HELD "all_held" 409 again "All units are held";
    INSUFFICIENT_STOCK "insufficient_stock" 409 again "Fewer units are available than asked for";
    LIMIT_REACHED "limit_reached" 409 never "The limit per user is reached";
    NOT_OPEN "not_open" 409 again "The sale has not begun";
    CLOSED "closed" 409 never "The sale is over";
    PAUSED "paused" 409 again "The sale is paused";
    QUANTITY_TOO_LARGE "quantity_too_large" 422 never "More units than one reservation may have";
    UNKNOWN_PRODUCT "unknown_product" 404 never "There is no such product";
    UNKNOWN_RESERVATION "unknown_reservation" 404 never "There is no such reservation";
    UNKNOWN_ORDER "unknown_order" 404 never "There is no such order";
    ORDER_PENDING "order_pending" 404 again "The reservation is confirmed, its order not stored yet";
    CONFLICTING_RETRY "conflicting_retry" 422 never "The key was used before with another request";
    RESERVATION_EXPIRED "reservation_expired" 409 never "The reservation has expired";
    RESERVATION_RELEASED "reservation_released" 409 never "The reservation was released";
    ALREADY_CONFIRMED "already_confirmed" 409 never "The reservation is confirmed";
    PAYMENT_IN_PROGRESS "payment_in_progress" 409 again "A payment is in progress";
    PAYMENT_NOT_IN_PROGRESS "payment_not_in_progress" 409 never "No such payment is in progress";
    PAYMENT_DECLINED "payment_declined" 402 never "The payment was declined";
    REFUNDING "refunding" 409 never "The payment goes back, or went back";
    NOT_CONFIRMED "not_confirmed" 409 never "The reservation is not confirmed";
    RESERVATION_CANCELLED "reservation_cancelled" 409 never "The reservation was confirmed, and cancelled";
    CANCEL_NOT_ALLOWED "cancel_not_allowed" 409 never "Customers cannot cancel here";
    CANCEL_TOO_LATE "cancel_too_late" 409 never "It is too late to cancel";
    NO_REFUND_DUE "no_refund_due" 409 never "No refund is due";
    LIFE_LIMIT_REACHED "life_limit_reached" 409 never "The reservation cannot be held longer";

    // Operators
    STOCK_BELOW_COMMITTED "stock_below_committed" 409 never "The stock would be less than what is held and sold";
    STOCK_MISMATCH "stock_mismatch" 409 never "The stock is not what was expected";
    STOCK_TOO_LARGE "stock_too_large" 422 never "The stock would exceed the limit";
    PRODUCT_EXISTS "product_exists" 409 never "There is another product with this id";
    CAPACITY_REACHED "capacity_reached" 503 again "The cluster holds as many as it can";
    INVALID_ARGUMENT "invalid_argument" 422 never "The product's settings are not acceptable";

    // The cluster
    NO_LEADER "no_leader" 503 again "The servers cannot be reached or are choosing a leader";
    OVERLOADED "overloaded" 503 again "Too much to do";
    PAYMENTS_DELAYED "payments_delayed" 503 again "The payment provider is too busy to pay in time";
    OUTCOME_UNKNOWN "outcome_unknown" 504 again "It may or may not have been done";
    ORDERS_UNAVAILABLE "orders_unavailable" 503 again "The order database cannot be reached";
    EVENTS_UNAVAILABLE "events_unavailable" 503 again "The event cannot be written down";
    NOT_READY "not_ready" 503 again "The gateway is not ready";
    INTERNAL "internal" 500 never "The gateway failed";
}
