//! Peers that shake hands with one responder, each from an address of its own, a few at a time: how many handshakes a second
//! it completes.
//!
//! The initiators follow the protocol, cookies included, but for the pauses that it asks of them: the time of each peer
//! jumps ahead when its handshake is done or must be tried again. What they compute, the machine cannot give to the
//! responder, so the figure compares programs and is no measure of one alone.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::time::{Instant as Clock, SystemTime};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};
use wg_proto::aead::RingAead;
use wg_proto::dh::{AwsLcDh, Dh as _};
use wg_proto::limits::REPLAY_WORDS;
use wg_proto::{Config, Endpoint, Event, Instant, Load, Peer, PrivateKey, PublicKey, UnixTime};

type Initiator = Peer<AwsLcDh, RingAead, REPLAY_WORDS, AwsLcDh>;

/// More than any rule of the protocol asks for between two initiations, with its jitter.
const JUMP: Duration = Duration::from_secs(10);
/// A handshake that takes longer is tried again.
const PATIENCE: Duration = Duration::from_millis(250);
/// The time that is kept between two initiations of one peer: responders drop more than that.
const PACE: Duration = Duration::from_millis(60);
const COOKIE_REPLY: u8 = 3;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the responder is.
    pub to: SocketAddr,
    /// Its key.
    pub responder: [u8; 32],
    /// The private keys of the initiators, which it knows as its peers.
    pub keys: Vec<[u8; 32]>,
    /// The first of their addresses; the others follow.
    pub from: Ipv4Addr,
    /// How many handshakes are under way at a time.
    pub in_flight: usize,
    /// How long.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Handshakes that gave a session.
    pub completed: u64,
    /// Those that did not, within a quarter of a second.
    pub failed: u64,
    /// Cookies that the responder asked for.
    pub cookies: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds of processor time that the initiators took of these.
    pub processor: f64,
}

struct One {
    peer: Initiator,
    socket: UdpSocket,
    /// What its clock is ahead.
    ahead: Duration,
    began: Duration,
}

/// Shakes hands until the time is over.
///
/// # Errors
///
/// An address cannot be had, or a key is none.
pub fn run(plan: &Plan) -> io::Result<Account> {
    let mut rng = ChaCha20Rng::from_seed(seed());
    let mut all = Vec::new();
    for (key, number) in plan.keys.iter().zip(u32::from(plan.from)..) {
        let socket = UdpSocket::bind((Ipv4Addr::from(number), 0))?;
        socket.connect(plan.to)?;
        socket.set_nonblocking(true)?;
        let responder = PublicKey::from_bytes(plan.responder);
        let config = Config { endpoint: Some(plan.to), ..Config::new(responder) };
        let identity = AwsLcDh::new(PrivateKey::from_bytes(*key));
        let peer = Initiator::sized(identity, config, &mut rng)
            .map_err(|error| io::Error::other(error.to_string()))?;
        // Room for the first initiation, whatever the time is.
        all.push(One { peer, socket, ahead: JUMP, began: Duration::ZERO });
    }
    let mut account = Account::default();
    let mut idle: VecDeque<usize> = (0..all.len()).collect();
    let mut busy: Vec<usize> = Vec::new();
    let (start, used) = (Clock::now(), processor_time());
    loop {
        let time = start.elapsed();
        if time >= plan.time {
            account.seconds = time.as_secs_f64();
            account.processor = processor_time().saturating_sub(used).as_secs_f64();
            return Ok(account);
        }
        while busy.len() < plan.in_flight
            && let Some(next) = idle.front().copied()
        {
            let one = &mut all[next];
            if one.began != Duration::ZERO && time.saturating_sub(one.began) < PACE {
                break;
            }
            idle.pop_front();
            one.begin(time, plan.to, &mut rng);
            busy.push(next);
        }
        wait(&all, &busy)?;
        busy.retain(|&at| {
            let done = all[at].turn(start.elapsed(), plan.to, &mut rng, &mut account);
            if done {
                idle.push_back(at);
            }
            !done
        });
    }
}

/// Waits until one of the sockets has something, at most a millisecond.
fn wait(all: &[One], busy: &[usize]) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> =
        busy.iter().map(|&at| PollFd::new(&all[at].socket, PollFlags::IN)).collect();
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }))?;
    Ok(())
}

impl One {
    fn begin(&mut self, time: Duration, to: SocketAddr, rng: &mut ChaCha20Rng) {
        self.ahead += JUMP;
        self.began = time.max(Duration::from_nanos(1));
        self.peer.initiate(instant(time + self.ahead));
        self.transmit(time, to, rng);
    }

    /// Whether this handshake is over.
    fn turn(&mut self, time: Duration, to: SocketAddr, rng: &mut ChaCha20Rng, account: &mut Account) -> bool {
        let mut buffer = [0; 256];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let now = instant(time + self.ahead);
            let cookie = buffer[0] == COOKIE_REPLY;
            // What it cannot use is dropped, as any peer does.
            self.peer.handle(&mut buffer[..length], Endpoint::new(to), Load::Normal, now, wall(), rng).ok();
            if cookie {
                // The next try would be in five seconds: the time of this peer passes quicker.
                account.cookies += 1;
                self.ahead += JUMP;
                self.peer.handle_timeout(instant(time + self.ahead));
            }
            self.transmit(time, to, rng);
        }
        let mut done = false;
        while let Some(event) = self.peer.poll_event() {
            done |= event == Event::Established;
        }
        if done {
            account.completed += 1;
        } else if time.saturating_sub(self.began) > PATIENCE {
            account.failed += 1;
            return true;
        }
        done
    }

    fn transmit(&mut self, time: Duration, to: SocketAddr, rng: &mut ChaCha20Rng) {
        let mut buffer = [0; 256];
        let now = instant(time + self.ahead);
        while let Ok(Some(transmit)) = self.peer.poll_transmit(&mut buffer, now, wall(), rng) {
            debug_assert_eq!(transmit.endpoint.remote, to);
            // What is lost is tried again.
            self.socket.send(&buffer[..transmit.len]).ok();
        }
    }
}

/// What this process has used so far.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// A monotonic clock that does not begin at zero.
fn instant(time: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000))
}

fn wall() -> UnixTime {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::new(time.as_secs(), time.subsec_nanos())
}

/// No two runs have the same indices and ephemeral keys; nothing here needs to be a secret.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    seed[..16].copy_from_slice(&time.to_le_bytes());
    seed[16..20].copy_from_slice(&std::process::id().to_le_bytes());
    seed
}
