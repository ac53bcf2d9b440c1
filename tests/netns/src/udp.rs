//! A stream of numbered UDP packets and the account of what became of them.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::{Namespace, wait};

/// The smallest payload: the number.
pub const SMALLEST: usize = 8;
/// The threads of a stream wake up this often to see whether it is to end.
const TICK: Duration = Duration::from_millis(20);
/// A sender that was kept waiting catches up by so many packets between two pauses of at least this length.
const MOST_AT_ONCE: u32 = 64;
const BREATH: Duration = Duration::from_millis(1);

/// A running stream. Ends and tells its account with [`Flow::finish`].
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Account>,
    started: Instant,
}

/// Both counters are written by one thread and read by the owner of the flow, who wants no more than a recent value.
#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    end_sender: AtomicBool,
    end_receiver: AtomicBool,
}

/// What became of the packets of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets that the kernel refused, for example while an interface was down.
    pub refused: u64,
    /// Packets that arrived, each counted once.
    pub received: u64,
    /// Packets that arrived again.
    pub duplicated: u64,
    /// Packets that arrived behind a later one.
    pub reordered: u64,
    /// Packets whose content is not what was sent.
    pub corrupted: u64,
    /// Runs of lost packets: number of the first, and how many.
    pub gaps: Vec<(u64, u64)>,
    /// How long the sender ran.
    pub elapsed: Duration,
}

impl Account {
    /// Packets sent that did not arrive.
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Whether each packet arrived once, intact and in order.
    pub fn is_perfect(&self) -> bool {
        self.is_perfect_but_for(0)
    }

    /// Whether each packet arrived once, intact and in order, but for at most so many that did not arrive.
    pub fn is_perfect_but_for(&self, lost: u64) -> bool {
        self.received > 0
            && self.lost() <= lost
            && (self.refused, self.duplicated, self.reordered, self.corrupted) == (0, 0, 0, 0)
    }
}

impl Flow {
    /// Sends `rate` packets a second of `size` bytes from one namespace to `address` in another.
    ///
    /// # Panics
    ///
    /// When `address` cannot be bound or `size` is below [`SMALLEST`].
    #[track_caller]
    pub fn start(from: &Namespace, to: &Namespace, address: SocketAddr, rate: u32, size: usize) -> Self {
        assert!(size >= SMALLEST, "{size} bytes hold no number");
        let incoming = to.enter(|| UdpSocket::bind(address).expect("the address of the receiver"));
        incoming.set_read_timeout(Some(TICK)).expect("a timeout");
        // Best effort, as root: a burst must not be lost behind the tunnel.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&incoming, 16 << 20).ok();
        let any: SocketAddr =
            if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("an address");
        let outgoing = from.enter(|| UdpSocket::bind(any).expect("a socket"));
        let shared = Arc::new(Shared::default());
        let receiver = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || receive(&incoming, size, &shared))
        };
        let sender = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || send(&outgoing, address, rate, size, &shared))
        };
        Self { shared, sender, receiver, started: Instant::now() }
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Packets received so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Ends the sender, waits for what is still on its way, and tells the account.
    ///
    /// # Panics
    ///
    /// When a thread of the stream panicked.
    #[track_caller]
    pub fn finish(self) -> Account {
        self.shared.end_sender.store(true, Ordering::Relaxed);
        self.sender.join().expect("the sender");
        let elapsed = self.started.elapsed();
        let sent = self.shared.sent.load(Ordering::Relaxed);
        // Until all is there or nothing has come for a while.
        let mut last = (self.shared.received.load(Ordering::Relaxed), Instant::now());
        wait::until(Duration::from_secs(10), || {
            let received = self.shared.received.load(Ordering::Relaxed);
            if received != last.0 {
                last = (received, Instant::now());
            }
            received >= sent || last.1.elapsed() > Duration::from_millis(400)
        });
        self.shared.end_receiver.store(true, Ordering::Relaxed);
        let mut account = self.receiver.join().expect("the receiver");
        account.sent = sent;
        account.refused = self.shared.refused.load(Ordering::Relaxed);
        account.elapsed = elapsed;
        account
    }
}

fn send(socket: &UdpSocket, address: SocketAddr, rate: u32, size: usize, shared: &Shared) {
    let mut packet = vec![0; size];
    let start = Instant::now();
    let (mut number, mut at_once) = (0_u64, 0);
    while !shared.end_sender.load(Ordering::Relaxed) {
        // What is late goes at once, so that the rate holds whatever the scheduler does; but not more than any queue on the way takes.
        let due = Duration::from_nanos(number.saturating_mul(1_000_000_000) / u64::from(rate.max(1)));
        let early = due.saturating_sub(start.elapsed());
        let pause = if early.is_zero() && at_once == MOST_AT_ONCE { BREATH } else { early.min(TICK) };
        if !pause.is_zero() {
            std::thread::sleep(pause);
            at_once = 0;
            continue;
        }
        at_once += 1;
        fill(&mut packet, number);
        if socket.send_to(&packet, address).is_ok() {
            number += 1;
            shared.sent.store(number, Ordering::Relaxed);
        } else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn receive(socket: &UdpSocket, size: usize, shared: &Shared) -> Account {
    let mut account = Account::default();
    let mut buffer = vec![0; 65536];
    let mut expected = vec![0; size];
    let mut seen: Vec<u64> = Vec::new();
    let mut next = 0_u64;
    while !shared.end_receiver.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some(number) = buffer[..length].first_chunk::<SMALLEST>().map(|bytes| u64::from_be_bytes(*bytes))
        else {
            account.corrupted += 1;
            continue;
        };
        fill(&mut expected, number);
        if buffer[..length] != expected[..] || number > next + 100_000_000 {
            account.corrupted += 1;
            continue;
        }
        let (word, bit) = (usize::try_from(number / 64).expect("a small number"), 1_u64 << (number % 64));
        if seen.len() <= word {
            seen.resize(word + 1024, 0);
        }
        if seen[word] & bit != 0 {
            account.duplicated += 1;
            continue;
        }
        seen[word] |= bit;
        account.received += 1;
        shared.received.store(account.received, Ordering::Relaxed);
        if number < next {
            account.reordered += 1;
        }
        next = next.max(number + 1);
    }
    account.gaps = gaps(&seen, shared.sent.load(Ordering::Relaxed));
    account
}

/// Number and length of each run of zero bits below `end`.
fn gaps(seen: &[u64], end: u64) -> Vec<(u64, u64)> {
    let mut gaps: Vec<(u64, u64)> = Vec::new();
    for number in 0..end {
        let word = usize::try_from(number / 64).ok().and_then(|word| seen.get(word)).copied().unwrap_or(0);
        if word >> (number % 64) & 1 == 1 {
            continue;
        }
        match gaps.last_mut() {
            Some((first, length)) if *first + *length == number => *length += 1,
            _ => gaps.push((number, 1)),
        }
    }
    gaps
}

/// The number, then bytes that follow from it.
fn fill(packet: &mut [u8], number: u64) {
    let (head, body) = packet.split_at_mut(SMALLEST);
    head.copy_from_slice(&number.to_be_bytes());
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in body.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bytes = state.to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_runs_of_missing_numbers() {
        assert_eq!(gaps(&[0b1011], 6), [(2, 1), (4, 2)]);
        assert_eq!(gaps(&[], 3), [(0, 3)]);
        assert_eq!(gaps(&[u64::MAX], 64), []);
        assert_eq!(gaps(&[u64::MAX >> 1, u64::MAX << 1], 128), [(63, 2)]);
    }

    #[test]
    fn content_depends_on_the_number() {
        let (mut one, mut two) = ([0; 40], [0; 40]);
        fill(&mut one, 1);
        fill(&mut two, 2);
        assert_ne!(one[8..], two[8..]);
        assert_eq!(one[..8], 1_u64.to_be_bytes());
    }

    #[test]
    fn account_with_a_duplicate_is_not_perfect() {
        let perfect = Account { sent: 3, received: 3, ..Account::default() };
        assert!(perfect.is_perfect());
        assert!(!Account { duplicated: 1, ..perfect.clone() }.is_perfect());
        assert!(!Account { received: 2, ..perfect.clone() }.is_perfect());
        assert!(Account { received: 2, ..perfect.clone() }.is_perfect_but_for(1));
        assert!(!Account { received: 1, ..perfect.clone() }.is_perfect_but_for(1));
        assert!(!Account { received: 2, duplicated: 1, ..perfect.clone() }.is_perfect_but_for(1));
        assert!(!Account { corrupted: 1, ..perfect }.is_perfect());
        assert!(!Account::default().is_perfect());
    }
}
