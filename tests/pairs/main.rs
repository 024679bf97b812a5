//! The hard pairs: two things that must not come together, and do. Each over real HTTP with real processes of the binary, and
//! judged by the provider's own ledger, the order database and `doorbuster audit --payments`.

mod books;
mod database;
mod instant;
mod late;
mod outages;
mod shop;
mod shopper;
mod sweeps;
mod told;
