//! The gateway's order writer beside bare `UNNEST` batches of the same rows, into the same PostgreSQL, in turn.
//!
//! Four ways, each into the gateway's own tables, with their indexes, emptied before, and with the same durability:
//! - `writer`: [`OrderWriter`](doorbuster_gateway::orders::OrderWriter) on the order feed of a real server, whose confirmed
//!   reservations they are: read, stored, acknowledged, page after page.
//! - `writer-from-memory`: the same writer, where reading and acknowledging the feed costs nothing.
//! - `bare`: what the writer leaves in the tables, orders and their payments, in transactions of as many, and nothing else:
//!   columns made before the clock starts, no position, no lock, no look at what is parked.
//! - `bare-orders`: orders without payments, which is less than must be stored.
//!
//! Rooms: `options` what can be told; `feed` the feeds; `bare` the inserts; `round` one measurement of all four; `told` what is
//! printed. After each round the writer's and the bare rows are compared, so that all have really written the same.

pub mod bare;
pub mod feed;
pub mod options;
pub mod round;
pub mod told;
