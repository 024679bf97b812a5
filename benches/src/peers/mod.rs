//! The same work on Doorbuster and on what shops use instead, in one run, in turn.
//!
//! Rooms: `contest` is which work is done by which system; `options` what can be told; `stand` a system that is up; `round`
//! one measurement, and all of them in turn, with `busy` what others had of the machine; `table` what is printed. The generator is that of `doorbuster bench`, one for
//! all systems: `lua` speaks to Valkey and Redis (`resp` is their protocol, `valkey` their processes), `sql` to PostgreSQL
//! (`messages` is its protocol), `echo` to a server that does nothing, which is what sockets allow. `in_order` is what
//! all three share, whose answers come in the order of the questions.

pub mod busy;
pub mod contest;
pub mod echo;
pub mod in_order;
pub mod lua;
pub mod messages;
pub mod options;
pub mod resp;
pub mod round;
pub mod sql;
pub mod stand;
pub mod table;
pub mod valkey;
