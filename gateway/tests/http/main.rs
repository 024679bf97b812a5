//! The gateway over real sockets, in front of a real server on a real disk, both in this process: every row of the table
//! of answers, and what must not move anything. Each answer is checked against `openapi.yaml` as it arrives.

mod agent;
mod bodies;
mod cancels;
mod cluster;
mod connections;
mod ledger;
mod lists;
mod localstripe;
mod operators;
mod orders;
mod pacing;
mod payments;
mod provider;
mod recorded;
mod retries;
mod sale;
mod specification;
mod states;
mod stripe;
mod sweeps;
mod tokens;
mod told;
mod webhooks;
