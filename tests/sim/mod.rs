//! The simulator: the product's real code in a world that breaks things, on one thread and virtual time.
//!
//! A [`World`] is built from a [`Scenario`] (which a seed draws), the [`Actor`]s that use the cluster, and the properties
//! that must hold. Everything that happens derives from the scenario: the same one gives the same trace hash. No real
//! time, thread, randomness of the machine or order of a hash map has a part in a run.

pub mod cli;
pub mod clocks;
pub mod counters;
pub mod disk;
pub mod faults;
pub mod marks;
pub mod net;
pub mod port;
pub mod probe;
pub mod rng;
pub mod scenario;
pub mod schedule;
pub mod trace;
pub mod workload;
pub mod world;

pub use counters::Counters;
pub use faults::{Fault, Faults};
pub use marks::Marks;
pub use port::{Actor, Happened, Link, Port};
pub use rng::Rng;
pub use scenario::Scenario;
pub use world::{Found, Outcome, World};
