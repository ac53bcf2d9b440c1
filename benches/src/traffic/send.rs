//! Sends numbered packets at a rate: by themselves, many to a system call but each on its own way through the kernel, or in
//! bursts that stay together (`UDP_SEGMENT`), as QUIC programs send them.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::sockopt::UdpGsoSegment;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg, setsockopt};
use serde::{Deserialize, Serialize};

use super::payload::{Label, SMALLEST};

/// Packets to a system call at most, and segments to a burst.
const BATCH: usize = 64;
/// What one datagram of UDP over IPv4 can hold: a burst is one until it is cut.
const LONGEST: usize = 65_507;
/// How long nothing is sent when all that is due has been sent.
const PAUSE: Duration = Duration::from_micros(50);
/// A generator that was kept from its work for longer does not catch up, but lets the packets of that time go.
const CATCH_UP: Duration = Duration::from_millis(5);

/// How packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Each as a packet of its own.
    Plain,
    /// Bursts of up to 64 that the kernel carries as one for as long as it can.
    Bursts,
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// To where.
    pub to: SocketAddr,
    /// Packets a second, of all flows together.
    pub rate: u32,
    /// Bytes of payload in each.
    pub size: usize,
    /// How long.
    pub time: Duration,
    /// From how many ports. The packets of a batch are of one flow.
    pub flows: u32,
    /// How they leave.
    pub mode: Mode,
    /// Distinguishes this run from others.
    pub run: u32,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets that were due and not sent, as the generator did not get to it.
    pub missed: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// Sends packets as planned.
///
/// # Errors
///
/// The kernel refuses packets of this kind, or the sockets cannot be had.
pub fn send(plan: &Plan) -> io::Result<Sent> {
    let per_burst = match plan.mode {
        Mode::Plain => BATCH,
        Mode::Bursts => BATCH.min(LONGEST / plan.size.max(SMALLEST)),
    };
    if plan.size < SMALLEST || plan.size > LONGEST || plan.flows == 0 || plan.rate == 0 {
        return Err(io::Error::other("nothing can be sent with this plan"));
    }
    let sockets = (0..plan.flows).map(|_| socket(plan)).collect::<io::Result<Vec<_>>>()?;
    let mut flows: Vec<u64> = vec![0; sockets.len()];
    let mut buffer = vec![0; per_burst * plan.size];
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut account = Sent::default();
    let start = Instant::now();
    for at in (0..sockets.len()).cycle() {
        let elapsed = start.elapsed();
        if elapsed >= plan.time {
            account.seconds = elapsed.as_secs_f64();
            return Ok(account);
        }
        let due = packets(elapsed, plan.rate);
        let owed = due.saturating_sub(account.sent + account.missed);
        let excess = owed.saturating_sub(packets(CATCH_UP, plan.rate).max(2 * per_burst as u64));
        account.missed += excess;
        let owed = usize::try_from(owed - excess).unwrap_or(usize::MAX);
        let count = match plan.mode {
            Mode::Plain => owed.min(BATCH),
            // A burst leaves when all of it is due.
            Mode::Bursts if owed < per_burst => 0,
            Mode::Bursts => per_burst,
        };
        if count == 0 {
            thread::sleep(PAUSE);
            continue;
        }
        let buffer = &mut buffer[..count * plan.size];
        let flow = u32::try_from(at).unwrap_or(0);
        for (payload, number) in buffer.chunks_mut(plan.size).zip(flows[at]..) {
            Label { run: plan.run, flow, number }.write(payload);
        }
        let sent = match plan.mode {
            Mode::Bursts => burst(&sockets[at], buffer).map(|()| count)?,
            Mode::Plain => batch(&sockets[at], &mut headers, buffer, plan.size)?,
        };
        flows[at] += sent as u64;
        account.sent += sent as u64;
    }
    Ok(account)
}

fn socket(plan: &Plan) -> io::Result<UdpSocket> {
    let any: SocketAddr = if plan.to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(plan.to)?;
    if plan.mode == Mode::Bursts {
        setsockopt(&socket, UdpGsoSegment, &i32::try_from(plan.size).map_err(io::Error::other)?)?;
    }
    Ok(socket)
}

/// How many packets are due in `time`.
fn packets(time: Duration, rate: u32) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Sends all or nothing; waits while the kernel has no room.
fn burst(socket: &UdpSocket, buffer: &[u8]) -> io::Result<()> {
    loop {
        match socket.send(buffer) {
            Ok(_) => return Ok(()),
            Err(error) => recover(error)?,
        }
    }
}

/// Sends packets of `size` bytes and returns how many the kernel took.
fn batch(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<()>,
    buffer: &[u8],
    size: usize,
) -> io::Result<usize> {
    let empty = [IoSlice::new(&[])];
    let mut slices = [empty; BATCH];
    let mut count = 0;
    for (slice, payload) in slices.iter_mut().zip(buffer.chunks(size)) {
        *slice = [IoSlice::new(payload)];
        count += 1;
    }
    loop {
        let nowhere_else = [None; BATCH];
        match sendmmsg(socket.as_raw_fd(), headers, &slices[..count], nowhere_else, [], MsgFlags::empty()) {
            Ok(results) => return Ok(results.count()),
            Err(error) => recover(error.into())?,
        }
    }
}

/// Waits a little after an error that passes by itself: no room, or nobody there yet.
fn recover(error: io::Error) -> io::Result<()> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOBUFS | Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EINTR) => {
            thread::sleep(PAUSE);
            Ok(())
        }
        _ => Err(error),
    }
}
