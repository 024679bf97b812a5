//! The wires between the nodes, which can be cut.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use doorbuster_server::ServerConfig;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Carries every peer connection of a cluster.
#[derive(Clone, Default)]
pub struct Links {
    links: Arc<Mutex<Vec<Link>>>,
}

struct Link {
    from: u16,
    to: u16,
    up: watch::Sender<bool>,
}

impl Links {
    /// Puts a wire of ours in the place of each peer's address.
    pub fn run_through(&self, config: &mut ServerConfig) {
        for peer in config.peers.iter_mut().filter(|peer| peer.node != config.node) {
            let listener = StdListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let target = std::mem::replace(&mut peer.peer, listener.local_addr().unwrap().to_string());
            let (up, state) = watch::channel(true);
            tokio::spawn(carry(TcpListener::from_std(listener).unwrap(), target.parse().unwrap(), state));
            self.links.lock().push(Link { from: config.node, to: peer.node, up });
        }
    }

    /// Nothing gets through between this node and the others, in either direction.
    pub fn cut_off(&self, node: u16) {
        self.set(node, false);
    }

    /// Everything gets through again.
    pub fn heal(&self, node: u16) {
        self.set(node, true);
    }

    fn set(&self, node: u16, up: bool) {
        for link in self.links.lock().iter().filter(|link| link.from == node || link.to == node) {
            link.up.send_replace(up);
        }
    }
}

async fn carry(listener: TcpListener, target: SocketAddr, state: watch::Receiver<bool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut state = state.clone();
        if !*state.borrow_and_update() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = state.changed() => {}
            }
        });
    }
}
