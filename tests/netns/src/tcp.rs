//! A TCP connection whose bytes are checked at the far end.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crate::Namespace;

/// The length after which the content repeats: prime, so that a displaced segment cannot look right.
const PERIOD: usize = 65_521;
/// How long a connection may stand still.
const STALL: Duration = Duration::from_secs(30);

/// When a transfer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so many bytes.
    Bytes(u64),
    /// After so long.
    Time(Duration),
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Bytes that arrived as they were sent, up to the first wrong one.
    pub bytes: u64,
    /// From the connection to the last byte.
    pub elapsed: Duration,
    /// Whether every byte that was sent arrived, and as it was sent.
    pub intact: bool,
}

impl Report {
    /// Gigabits a second.
    pub fn gigabits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9) / 1e9
    }
}

/// Sends bytes from one namespace to `address` in another until `limit`; `progress` hears the total once a second.
///
/// # Errors
///
/// When no connection comes about, or it stands still for 30 seconds.
pub fn transfer(
    from: &Namespace,
    to: &Namespace,
    address: SocketAddr,
    limit: Limit,
    mut progress: impl FnMut(Duration, u64),
) -> io::Result<Report> {
    let listener = to.enter(|| TcpListener::bind(address))?;
    let outgoing = from.enter(|| TcpStream::connect_timeout(&listener.local_addr()?, STALL))?;
    let (incoming, _) = listener.accept()?;
    outgoing.set_write_timeout(Some(STALL))?;
    incoming.set_read_timeout(Some(STALL))?;
    let arrived = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&arrived);
    let start = Instant::now();
    let sink = std::thread::spawn(move || check(incoming, &counter).map(|intact| (intact, start.elapsed())));
    let source = std::thread::spawn(move || send(outgoing, limit));
    let mut told = Duration::ZERO;
    while !source.is_finished() {
        std::thread::sleep(Duration::from_millis(5));
        if start.elapsed() >= told + Duration::from_secs(1) {
            told += Duration::from_secs(1);
            progress(start.elapsed(), arrived.load(Ordering::Relaxed));
        }
    }
    let sent = source.join().map_err(|_| io::Error::other("the sender panicked"))??;
    let (intact, elapsed) = sink.join().map_err(|_| io::Error::other("the receiver panicked"))??;
    let bytes = arrived.load(Ordering::Relaxed);
    Ok(Report { bytes, elapsed, intact: intact && bytes == sent })
}

fn send(mut stream: TcpStream, limit: Limit) -> io::Result<u64> {
    let content = content();
    let start = Instant::now();
    let mut sent = 0_u64;
    loop {
        let rest = match limit {
            Limit::Bytes(bytes) => bytes - sent,
            Limit::Time(time) if start.elapsed() >= time => 0,
            Limit::Time(_) => u64::MAX,
        };
        if rest == 0 {
            return Ok(sent);
        }
        let offset = offset(sent);
        let end = content.len().min(offset.saturating_add(usize::try_from(rest).unwrap_or(usize::MAX)));
        sent += stream.write(&content[offset..end])? as u64;
    }
}

/// Reads to the end; false as soon as a byte is wrong.
fn check(mut stream: TcpStream, arrived: &AtomicU64) -> io::Result<bool> {
    let content = content();
    let mut buffer = vec![0; PERIOD];
    let mut total = 0_u64;
    loop {
        let room = PERIOD - offset(total);
        let length = stream.read(&mut buffer[..room])?;
        if length == 0 {
            return Ok(true);
        }
        if buffer[..length] != content[offset(total)..][..length] {
            return Ok(false);
        }
        total += length as u64;
        arrived.store(total, Ordering::Relaxed);
    }
}

fn offset(position: u64) -> usize {
    usize::try_from(position % PERIOD as u64).expect("less than the period")
}

fn content() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut content = Vec::with_capacity(PERIOD);
    for _ in 0..PERIOD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.push(state.to_le_bytes()[4]);
    }
    content
}
