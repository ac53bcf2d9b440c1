//! A flood of datagrams at a steady rate: what an attacker with one host and somebody else's addresses can send.
//!
//! The datagrams leave through a raw socket, so their sources are free to choose: all of [`SOURCES`]. The namespace that
//! floods also receives at all of these addresses ([`prepare`]), which is what a flood from verified sources needs; for the
//! victim it makes no difference whether anybody reads the answers.

mod message;

pub(crate) use message::wall;

use core::net::{Ipv4Addr, SocketAddrV4};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use std::io::IoSlice;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Namespace;
use crate::key::Key;
use crate::process;
use message::{Messages, Packet};

/// The addresses that a flood comes from, as `ip` writes them.
pub const SOURCES: &str = "10.77.0.0/16";
/// How many addresses a flood from verified sources has.
pub const VERIFIED_SOURCES: u16 = 1000;

/// Datagrams in one system call, at most.
const BURST: usize = 64;
/// The port that floods come from.
const PORT: u16 = 7700;
/// `IPPROTO_RAW`: the socket takes whole packets, IP header included.
const WHOLE_PACKETS: i32 = 255;

/// What a flood consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Initiations whose MAC1 is wrong.
    WrongMac1,
    /// Initiations with a right MAC1, from sources that do not answer.
    RightMac1,
    /// Data with a receiver index that is live, a counter far ahead, and a tag that is wrong.
    LiveIndex(u32),
    /// Initiations with a right MAC1, from [`VERIFIED_SOURCES`] addresses that use the cookies they get.
    Verified,
}

/// Lets `namespace` receive at all of [`SOURCES`].
///
/// # Panics
///
/// When `ip` fails.
#[track_caller]
pub fn prepare(namespace: &Namespace) {
    namespace.ip(&format!("route add local {SOURCES} dev lo"));
}

/// The address of a source.
fn source(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

/// A running flood; ends and tells its account with [`Flood::finish`].
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    started: Instant,
}

/// Written by the thread of the flood, or for it, and read by the other side, who wants no more than a recent value.
#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    bytes: AtomicU64,
    cookies: AtomicU64,
    index: AtomicU32,
    end: AtomicBool,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Bytes in them, without headers of UDP and IP.
    pub bytes: u64,
    /// Cookies that were taken in; none is looked for unless the sources are verified.
    pub cookies: u64,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Account {
    /// Datagrams a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Flood {
    /// Sends `rate` datagrams a second from `namespace` to `target`, where the owner of `public` listens, or a sink in its
    /// place. The thread runs on `cpu`, if one is given.
    ///
    /// # Panics
    ///
    /// When the kernel gives no raw socket, or the namespace has not been prepared.
    #[track_caller]
    pub fn start(
        namespace: &Namespace,
        kind: Kind,
        target: SocketAddrV4,
        public: &Key,
        rate: u32,
        cpu: Option<usize>,
    ) -> Self {
        let (raw, answers) = namespace.enter(|| {
            let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(WHOLE_PACKETS)))
                .expect("a raw socket");
            let answers = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("the port of the flood");
            (raw, answers)
        });
        answers.set_nonblocking(true).expect("a socket that does not block");
        rustix::net::sockopt::set_socket_send_buffer_size_force(&raw, 4 << 20).ok();
        if kind == Kind::Verified {
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&answers, 4 << 20).ok();
        }
        let shared = Arc::new(Shared::default());
        if let Kind::LiveIndex(index) = kind {
            shared.index.store(index, Ordering::Relaxed);
        }
        let messages = Messages::new(kind, target, public);
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                process::pin_thread(cpu);
                run(&raw, &answers, messages, target, rate, &shared);
            })
        };
        Self { shared, thread, started: Instant::now() }
    }

    /// The index that a flood of data uses from now on, as the session has changed.
    pub fn set_index(&self, index: u32) {
        self.shared.index.store(index, Ordering::Relaxed);
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Cookies taken in so far.
    pub fn cookies(&self) -> u64 {
        self.shared.cookies.load(Ordering::Relaxed)
    }

    /// Ends the flood and tells what it was.
    ///
    /// # Panics
    ///
    /// When its thread panicked.
    #[track_caller]
    pub fn finish(self) -> Account {
        self.shared.end.store(true, Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        self.thread.join().expect("the flood");
        Account {
            sent: self.shared.sent.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            cookies: self.shared.cookies.load(Ordering::Relaxed),
            elapsed,
        }
    }
}

fn run(
    raw: &Socket,
    answers: &UdpSocket,
    mut messages: Messages,
    target: SocketAddrV4,
    rate: u32,
    shared: &Shared,
) {
    let address = SocketAddrAny::from(target);
    let mut packets: [Packet; BURST] = core::array::from_fn(|_| Packet::default());
    let start = Instant::now();
    // What is due counts from here, so that a host that cannot keep up is not sent a backlog in one burst later.
    let mut behind = 0_u128;
    let mut sent = 0_u64;
    let mut bytes = 0_u64;
    let mut answer = [0; 256];
    while !shared.end.load(Ordering::Relaxed) {
        if messages.wants_answers() {
            for _ in 0..BURST {
                let Ok(length) = answers.recv(&mut answer) else { break };
                if messages.take_cookie(&answer[..length]) {
                    shared.cookies.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        let due = start.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
        let wanted = due.saturating_sub(behind).saturating_sub(u128::from(sent));
        if wanted == 0 {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        // A hundredth of a second is made up for, more is given up.
        behind += wanted.saturating_sub(u128::from(rate / 100).max(BURST as u128));
        let count = usize::try_from(wanted).unwrap_or(BURST).min(BURST);
        let index = shared.index.load(Ordering::Relaxed);
        for packet in &mut packets[..count] {
            messages.next(packet, index);
        }
        match send(raw, &address, &packets[..count]) {
            Ok(taken) => {
                sent += taken as u64;
                bytes += packets[..taken].iter().map(|packet| packet.payload_len() as u64).sum::<u64>();
                shared.sent.store(sent, Ordering::Relaxed);
                shared.bytes.store(bytes, Ordering::Relaxed);
            }
            // The queues of the kernel are full, or the link is gone; either shows in the account.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn send(raw: &Socket, address: &SocketAddrAny, packets: &[Packet]) -> rustix::io::Result<usize> {
    let slices: Vec<[IoSlice<'_>; 1]> =
        packets.iter().map(|packet| [IoSlice::new(packet.as_bytes())]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        packets.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<MMsgHdr<'_>> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new_with_addr(address, slice, control))
        .collect();
    sendmmsg(raw, &mut headers, SendFlags::empty())
}
