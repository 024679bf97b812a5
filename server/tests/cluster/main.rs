//! Servers in this process, on real sockets and real disks, spoken to in the wire protocol.

mod caller;
mod cancel;
mod hostile;
mod links;
mod nodes;
mod partition;
mod restart;
mod single;
mod three;
