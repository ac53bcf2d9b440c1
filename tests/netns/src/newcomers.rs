//! Honest peers that begin a session, each from an address of its own, and how long that takes them.
//!
//! They follow the protocol to the letter, with its retransmissions, jitter and cookies, as they are `wg-proto`; but they
//! have no interface, so that a hundred of them cost little.

use core::fmt::Write as _;
use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant as Clock;

use getrandom::SysRng;
use wg_proto::aead::RustCryptoAead;
use wg_proto::{Config, Endpoint, Event, Instant, Load, Peer, PrivateKey, PublicKey};

use crate::flood::wall;
use crate::key::{Key, KeyPair};
use crate::{Namespace, Node, process, uapi};

/// The addresses of newcomers, as `ip` writes them.
pub const ADDRESSES: &str = "10.78.0.0/16";
const PORT: u16 = 7800;
/// How often each newcomer looks around.
const TICK: Duration = Duration::from_millis(2);

/// Lets `namespace` be at all of [`ADDRESSES`].
///
/// # Panics
///
/// When `ip` fails.
#[track_caller]
pub fn prepare(namespace: &Namespace) {
    namespace.ip(&format!("route add local {ADDRESSES} dev lo"));
}

/// Newcomers on their way; ends and tells how they fared with [`Newcomers::finish`].
#[derive(Debug)]
pub struct Newcomers {
    end: Arc<AtomicBool>,
    arrived: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Option<Duration>>>,
    interface: String,
    keys: Vec<Key>,
}

impl Newcomers {
    /// Makes `count` peers known to `node`, and lets them begin their sessions one after the other within `window`, from
    /// `namespace`, to `endpoint`.
    ///
    /// # Panics
    ///
    /// When the node refuses them, or the namespace has not been prepared.
    #[track_caller]
    pub fn start(
        namespace: &Namespace,
        node: &Node,
        endpoint: SocketAddr,
        count: u16,
        window: Duration,
        cpu: Option<usize>,
    ) -> Self {
        let pairs: Vec<KeyPair> = (0..count).map(|_| KeyPair::generate()).collect();
        let mut lines = String::new();
        for (number, pair) in (0..count).zip(&pairs) {
            let [high, low] = number.to_be_bytes();
            write!(lines, "public_key={}\nallowed_ip=10.79.{high}.{low}/32\n", pair.public.hex()).ok();
        }
        assert_eq!(uapi::set(node.interface(), &lines).ok(), Some(0), "the node takes its new peers");
        let sockets: Vec<UdpSocket> = namespace.enter(|| {
            let socket = |number| UdpSocket::bind((address(number), PORT)).expect("an address of a newcomer");
            (0..count).map(socket).collect()
        });
        let remote = PublicKey::from_bytes(*node.keys.public.as_bytes());
        let end = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (end, arrived, pairs) = (Arc::clone(&end), Arc::clone(&arrived), pairs.clone());
            std::thread::spawn(move || {
                process::pin_thread(cpu);
                let newcomers = pairs
                    .iter()
                    .zip(sockets)
                    .map(|(pair, socket)| Newcomer::new(pair, socket, remote, endpoint))
                    .collect();
                run(newcomers, window, &end, &arrived)
            })
        };
        let keys = pairs.iter().map(|pair| pair.public).collect();
        Self { end, arrived, thread, interface: node.interface().to_owned(), keys }
    }

    /// How many have a session by now.
    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends it, and tells for each newcomer how long it took to have a session, if it got one. The node forgets them.
    ///
    /// # Panics
    ///
    /// When the thread panicked.
    #[track_caller]
    pub fn finish(self) -> Vec<Option<Duration>> {
        self.end.store(true, Ordering::Relaxed);
        let times = self.thread.join().expect("the newcomers");
        let mut lines = String::new();
        for key in &self.keys {
            write!(lines, "public_key={}\nremove=true\n", key.hex()).ok();
        }
        assert_eq!(uapi::set(&self.interface, &lines).ok(), Some(0), "the node forgets its peers");
        times
    }
}

fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 78, high, low)
}

struct Newcomer {
    peer: Peer<PrivateKey, RustCryptoAead>,
    socket: UdpSocket,
    endpoint: SocketAddr,
    began: Option<Duration>,
    took: Option<Duration>,
}

impl Newcomer {
    fn new(pair: &KeyPair, socket: UdpSocket, remote: PublicKey, endpoint: SocketAddr) -> Self {
        socket.set_nonblocking(true).expect("a socket that does not block");
        let identity = PrivateKey::from_bytes(*pair.private.as_bytes());
        let config = Config { endpoint: Some(endpoint), ..Config::new(remote) };
        let peer = Peer::new(identity, config, &mut SysRng).expect("a key of a node is none of low order");
        Self { peer, socket, endpoint, began: None, took: None }
    }

    fn turn(&mut self, time: Duration) {
        let now = instant(time);
        self.peer.handle_timeout(now);
        let mut buffer = [0; 256];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let from = Endpoint::new(self.endpoint);
            // What it cannot use is dropped, as any peer does.
            self.peer.handle(&mut buffer[..length], from, Load::Normal, now, wall(), &mut SysRng).ok();
        }
        while let Some(event) = self.peer.poll_event() {
            if event == Event::Established && self.took.is_none() {
                self.took = self.began.map(|began| time.saturating_sub(began));
            }
        }
        while let Ok(Some(transmit)) = self.peer.poll_transmit(&mut buffer, now, wall(), &mut SysRng) {
            // The protocol takes care of what is lost.
            self.socket.send_to(&buffer[..transmit.len], self.endpoint).ok();
        }
    }
}

/// A monotonic clock that does not begin at zero.
fn instant(time: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000))
}

fn run(
    mut newcomers: Vec<Newcomer>,
    window: Duration,
    end: &AtomicBool,
    arrived: &AtomicUsize,
) -> Vec<Option<Duration>> {
    let count = u32::try_from(newcomers.len()).unwrap_or(u32::MAX).max(1);
    let start = Clock::now();
    while !end.load(Ordering::Relaxed) {
        for (newcomer, at) in newcomers.iter_mut().zip((0..).map(|number: u32| window * number / count)) {
            let time = start.elapsed();
            if newcomer.began.is_none() && time >= at {
                newcomer.began = Some(time);
                newcomer.peer.initiate(instant(time));
            }
            // Who has a session leaves the rest to others.
            if newcomer.began.is_some() && newcomer.took.is_none() {
                newcomer.turn(time);
                arrived.fetch_add(newcomer.took.is_some().into(), Ordering::Relaxed);
            }
        }
        std::thread::sleep(TICK);
    }
    newcomers.iter().map(|newcomer| newcomer.took).collect()
}
