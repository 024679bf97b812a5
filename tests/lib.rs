//! What the whole-system tests, the simulator and the chaos run share: histories, what was seen, the properties.

#![forbid(unsafe_code)]

pub mod binary;
pub mod chaos;
pub mod checkers;
pub mod history;
pub mod http;
pub mod model;
pub mod observation;
pub mod sim;
