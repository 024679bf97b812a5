//! Ports of the loopback address for the processes that we start.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use parking_lot::Mutex;

use crate::entropy;
use crate::error::CliError;

/// Ports are taken from below the range that the kernel gives to outgoing connections, so that none of these
/// takes a node's port while the node is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// A process takes this many ports at a time for itself.
const BLOCK: u16 = 100;
const BLOCKS: u16 = (PORTS.end - PORTS.start) / BLOCK;

static OURS: Mutex<Ours> = Mutex::new(Ours { blocks: Vec::new(), rest: 0..0 });

/// The blocks of ports that this process has, and what it has not given out of the newest.
///
/// A block is had by a name among the kernel's abstract sockets, which one process has at a time and which is free
/// when it has ended: a port that was given out, and whose listener has yet to start, goes to nobody else.
struct Ours {
    blocks: Vec<UnixListener>,
    rest: std::ops::Range<u16>,
}

impl Ours {
    fn port(&mut self) -> Result<u16, CliError> {
        let mut last = None;
        for _ in PORTS {
            let Some(port) = self.rest.next() else {
                self.take_block()?;
                continue;
            };
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(_free) => return Ok(port),
                Err(error) => last = Some(error),
            }
        }
        Err(none(&last.map_or_else(|| "all are in use".to_owned(), |error| error.to_string())))
    }

    fn take_block(&mut self) -> Result<(), CliError> {
        #[allow(clippy::cast_possible_truncation)] // a remainder below a u16
        let first = (entropy::number() % u64::from(BLOCKS)) as u16;
        for block in (first..BLOCKS).chain(0..first) {
            let name = SocketAddr::from_abstract_name(format!("doorbuster-ports-{block}"));
            match name.and_then(|name| UnixListener::bind_addr(&name)) {
                Ok(lock) => {
                    self.blocks.push(lock);
                    let start = PORTS.start + block * BLOCK;
                    self.rest = start..start + BLOCK;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(none(&error.to_string())),
            }
        }
        Err(none(&format!("all {BLOCKS} blocks of {BLOCK} are taken, {} by this process", self.blocks.len())))
    }
}

fn none(why: &str) -> CliError {
    CliError::failed(format!("no free port on 127.0.0.1 in {PORTS:?}: {why}"))
}

/// Ports of the loopback address that nobody listens on now, and that no other call of this returns while this
/// process runs, in whatever process.
///
/// # Errors
/// When there is none left.
pub fn free_ports<const N: usize>() -> Result<[u16; N], CliError> {
    let mut ours = OURS.lock();
    let mut ports = [0; N];
    for port in &mut ports {
        *port = ours.port()?;
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_out_twice_and_all_are_outside_the_range_of_outgoing_connections() {
        let mut given = BTreeSet::new();
        for _ in 0..30 {
            let ports = free_ports::<10>().expect("the machine has ports");
            assert!(ports.iter().all(|port| PORTS.contains(port)));
            given.extend(ports);
        }
        assert_eq!(given.len(), 300, "more than two blocks");
    }

    #[test]
    fn two_processes_share_no_block() {
        let mut one = Ours { blocks: Vec::new(), rest: 0..0 };
        let mut other = Ours { blocks: Vec::new(), rest: 0..0 };
        for _ in 0..20 {
            one.take_block().expect("there are many");
            other.take_block().expect("there are many");
            assert_ne!(one.rest, other.rest);
        }
        let names = |ours: &Ours| -> BTreeSet<_> {
            let names = ours.blocks.iter().map(|lock| lock.local_addr().expect("it has a name"));
            names.map(|name| name.as_abstract_name().expect("an abstract one").to_owned()).collect()
        };
        assert!(names(&one).is_disjoint(&names(&other)));
    }

    #[test]
    fn a_port_that_somebody_else_listens_on_is_passed_over() {
        let mut ours = Ours { blocks: Vec::new(), rest: 0..0 };
        ours.take_block().expect("there are many");
        let next = ours.rest.start;
        let listener = TcpListener::bind(("127.0.0.1", next)).expect("nobody else has it");
        assert_ne!(ours.port().expect("the block has more"), next);
        drop(listener);
    }
}
