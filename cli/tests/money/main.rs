//! What operators are given to keep orders and money straight: the binary itself, against real databases and real processes.

#[allow(dead_code, reason = "the gateway's tests have it too, and use more of it")]
#[path = "../../../gateway/tests/http/lists.rs"]
mod lists;
#[allow(dead_code, reason = "the gateway's tests have it too, and use more of it")]
#[path = "../../../gateway/tests/http/localstripe.rs"]
mod localstripe;
mod parked;
mod reconciliation;
mod shop;
mod stripe;
