//! A TCP connection's way through a network that we own: delayed, stalled in one direction or both, broken, refused; to one
//! target, or to each of several in turn, as behind a load balancer; or answered as if it had arrived.
//!
//! A stalled direction loses nothing while its connection lives: what was sent arrives when the stall ends, even if the
//! sender has closed meanwhile, as in a network that repeats what it lost. What a break finds under way is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// One read at most.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks that one direction of a connection holds; then its sender is held up.
const CHUNKS: usize = 64;

/// How one direction carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// At once.
    #[default]
    Open,
    /// So much later.
    Late(Duration),
    /// Not until this changes.
    Stalled,
}

/// How a proxy treats its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// From who connected towards who listens.
    pub forth: Flow,
    /// The other direction.
    pub back: Flow,
    /// New connections are closed at once.
    pub refuses: bool,
    /// Requests on new connections are answered with HTTP's 200 here, and not carried.
    pub swallows: bool,
    /// Connections made under an earlier number are broken.
    pub storms: u64,
}

impl Weather {
    /// Breaks every connection there is.
    pub fn storm(&mut self) {
        self.storms += 1;
    }
}

/// What passed through.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections carried.
    pub connections: AtomicU64,
    /// Connections broken, and those refused.
    pub broken: AtomicU64,
}

/// Listens on a port of its own and carries every connection to the next target that takes it. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: AbortHandle,
}

#[derive(Clone, Copy)]
enum Direction {
    Forth,
    Back,
}

impl Proxy {
    /// Starts it; must be called on a runtime.
    pub fn start(targets: &[String], traffic: Arc<Traffic>) -> Result<Self, CliError> {
        let wrong = |error: std::io::Error| CliError::failed(format!("a proxy to {targets:?} cannot listen: {error}"));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let listener = TcpListener::from_std(listener).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let weather = watch::Sender::new(Weather::default());
        let task = tokio::spawn(listen(listener, targets.into(), weather.subscribe(), traffic)).abort_handle();
        Ok(Self { address, weather, task })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes how it treats its connections.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    listener: TcpListener,
    targets: Arc<[String]>,
    weather: watch::Receiver<Weather>,
    traffic: Arc<Traffic>,
) {
    let mut connections = JoinSet::new();
    let mut first = 0;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptors left, most likely: others may close some.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if weather.borrow().refuses {
            traffic.broken.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if weather.borrow().swallows {
            traffic.broken.fetch_add(1, Ordering::Relaxed);
            connections.spawn(swallow(stream));
            continue;
        }
        traffic.connections.fetch_add(1, Ordering::Relaxed);
        let (targets, weather, traffic) = (Arc::clone(&targets), weather.clone(), Arc::clone(&traffic));
        first = (first + 1) % targets.len().max(1);
        connections.spawn(async move {
            if carry_until_storm(stream, (&targets, first), weather).await {
                traffic.broken.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Says that all is well, until who asked goes.
async fn swallow(mut stream: TcpStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut answer: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    while matches!(stream.read(&mut chunk).await, Ok(1..)) && stream.write_all(answer).await.is_ok() {
        answer = b"";
    }
}

/// Whether a storm broke it; else one of its ends closed it.
async fn carry_until_storm(stream: TcpStream, targets: (&[String], usize), weather: watch::Receiver<Weather>) -> bool {
    let mut sky = weather.clone();
    let born = sky.borrow_and_update().storms;
    let storm = sky.wait_for(|weather| weather.storms != born);
    tokio::select! {
        biased;
        broken = storm => broken.is_ok(),
        // An end that broke has told the other by now; nothing is left to report.
        _ended = carry(stream, targets, weather) => false,
    }
}

async fn carry(near: TcpStream, targets: (&[String], usize), weather: watch::Receiver<Weather>) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    let far = connect(targets).await?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let forth = pump(near_read, far_write, Direction::Forth, weather.clone());
    let back = pump(far_read, near_write, Direction::Back, weather);
    tokio::try_join!(forth, back).map(drop)
}

/// To the first from this place on that takes connections.
async fn connect((targets, first): (&[String], usize)) -> std::io::Result<TcpStream> {
    let mut connected = Err(std::io::Error::other("a proxy without a target"));
    for target in targets.iter().cycle().skip(first).take(targets.len()) {
        connected = TcpStream::connect(target).await;
        if connected.is_ok() {
            break;
        }
    }
    connected
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel(CHUNKS);
    let read = async {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            if from.read_buf(&mut chunk).await? == 0 || sender.send((clock::now(), chunk)).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok::<(), std::io::Error>(())
    };
    let write = async {
        while let Some((at, chunk)) = receiver.recv().await {
            held_up(direction, at, &mut weather).await;
            to.write_all(&chunk).await?;
        }
        held_up(direction, clock::now(), &mut weather).await;
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

/// Returns when something that came then may go on.
async fn held_up(direction: Direction, came: std::time::Instant, weather: &mut watch::Receiver<Weather>) {
    loop {
        let now = *weather.borrow_and_update();
        let flow = match direction {
            Direction::Forth => now.forth,
            Direction::Back => now.back,
        };
        match flow {
            Flow::Open => return,
            Flow::Late(by) => return tokio::time::sleep_until((came + by).into()).await,
            Flow::Stalled => {
                if weather.changed().await.is_err() {
                    return; // the proxy is gone
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    /// Somebody who sends back what he gets.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn hears(stream: &mut TcpStream, expected: &[u8]) -> bool {
        let mut heard = vec![0; expected.len()];
        matches!(tokio::time::timeout(SHORT, stream.read_exact(&mut heard)).await, Ok(Ok(_))) && heard == expected
    }

    #[tokio::test]
    async fn stalled_bytes_arrive_when_the_stall_ends_and_a_storm_breaks_connections() {
        let traffic = Arc::new(Traffic::default());
        let proxy = Proxy::start(&[echo().await], Arc::clone(&traffic)).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"one").await.unwrap();
        assert!(hears(&mut stream, b"one").await);

        proxy.change(|weather| weather.forth = Flow::Stalled);
        stream.write_all(b"two").await.unwrap();
        assert!(!hears(&mut stream, b"two").await);
        proxy.change(|weather| weather.forth = Flow::Open);
        assert!(hears(&mut stream, b"two").await);

        proxy.change(Weather::storm);
        let ended = tokio::time::timeout(LONG, stream.read(&mut [0])).await.expect("it is told");
        assert!(matches!(ended, Ok(0) | Err(_)));
        proxy.change(|weather| weather.refuses = true);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(matches!(tokio::time::timeout(LONG, refused.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
        assert_eq!(traffic.connections.load(Ordering::Relaxed), 1);
        assert_eq!(traffic.broken.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_delay_delays_and_keeps_the_order() {
        let proxy = Proxy::start(&[echo().await], Arc::default()).unwrap();
        proxy.change(|weather| weather.back = Flow::Late(2 * SHORT));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let begun = clock::now();
        stream.write_all(b"one").await.unwrap();
        stream.write_all(b"two").await.unwrap();
        let mut heard = [0; 6];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"onetwo");
        assert!(begun.elapsed() >= 2 * SHORT);
    }

    #[tokio::test]
    async fn what_is_swallowed_is_answered_and_carried_to_nobody() {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(&[target.local_addr().unwrap().to_string()], Arc::default()).unwrap();
        proxy.change(|weather| weather.swallows = true);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        assert!(hears(&mut stream, b"HTTP/1.1 200 OK\r\n").await);
        assert!(tokio::time::timeout(SHORT, target.accept()).await.is_err());
    }

    #[tokio::test]
    async fn connections_go_to_each_target_in_turn_and_past_one_that_is_gone() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let heard: Vec<TcpListener> =
            vec![TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let mut targets: Vec<String> = heard.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
        targets.push(gone);
        let proxy = Proxy::start(&targets, Arc::default()).unwrap();
        let mut connections = Vec::new();
        for _ in 0..targets.len() {
            connections.push(TcpStream::connect(proxy.address()).await.unwrap());
        }
        // The one that was to go to who is gone has gone to the first.
        for (listener, times) in heard.iter().zip([2, 1]) {
            for _ in 0..times {
                assert!(tokio::time::timeout(LONG, listener.accept()).await.is_ok());
            }
            assert!(tokio::time::timeout(SHORT, listener.accept()).await.is_err());
        }
    }
}
