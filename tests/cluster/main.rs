//! Whole-system tests: real processes of the `doorbuster` binary, real sockets, real disks, real `kill -9`.
//!
//! `./test` builds the binary first; these tests use the one in their own target folder.

mod bench;
mod damage;
mod demo;
mod dispute;
mod failover;
mod feed;
mod kill_all;
mod lagging;
mod sale;
mod steps;
