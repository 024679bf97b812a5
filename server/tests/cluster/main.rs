//! Servers in this process, on real sockets and real disks, spoken to in the wire protocol.

mod caller;
mod hostile;
mod nodes;
mod restart;
mod single;
mod three;
