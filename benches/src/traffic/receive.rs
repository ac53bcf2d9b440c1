//! Receives what [`super::send`] sends, as many to a system call as there are and together where the kernel has them
//! together (`UDP_GRO`), and counts it.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::sockopt::UdpGroSegment;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt};
use serde::{Deserialize, Serialize};

use super::payload::Label;

const BATCH: usize = 32;
/// The longest that the kernel joins.
const LONGEST: usize = 65_536;
/// Room in the socket, so that nothing is lost behind what is measured.
const ROOM: usize = 32 << 20;
/// How often it is looked whether this is the end.
const TICK: Duration = Duration::from_millis(20);
/// What is still under way at the end comes within this time of what came before.
const QUIET: Duration = Duration::from_millis(150);
/// No number beyond this is believed.
const MOST: u64 = 1 << 32;

/// What arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// Packets, each counted once.
    pub received: u64,
    /// Packets that arrived again.
    pub duplicated: u64,
    /// Packets that arrived behind a later one of their flow.
    pub reordered: u64,
    /// Packets that are none of this run, or of the wrong length.
    pub strange: u64,
}

/// A socket that receives and counts.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    size: usize,
    run: u32,
}

#[derive(Debug, Default)]
struct Flow {
    seen: Vec<u64>,
    next: u64,
}

impl Receiver {
    /// Listens for packets of `size` bytes of payload.
    ///
    /// # Errors
    ///
    /// The address cannot be had, or the kernel has no `UDP_GRO`.
    pub fn bind(address: SocketAddr, size: usize, run: u32) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(TICK))?;
        setsockopt(&socket, UdpGroSegment, &true)?;
        // Best effort, as root.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM).ok();
        Ok(Self { socket, size, run })
    }

    /// The address it listens at.
    ///
    /// # Errors
    ///
    /// That of the kernel.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Counts until `end` is set and nothing comes any more.
    ///
    /// # Errors
    ///
    /// That of the kernel.
    pub fn run(&self, end: &AtomicBool) -> io::Result<Received> {
        let mut account = Received::default();
        let mut flows: Vec<Flow> = Vec::new();
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let mut buffers = vec![0_u8; BATCH * LONGEST];
        let mut last = Instant::now();
        loop {
            let mut chunks = buffers.chunks_mut(LONGEST);
            let mut slices: [_; BATCH] =
                core::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
            let fd = self.socket.as_raw_fd();
            match recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
                Ok(messages) => {
                    for payload in messages.flat_map(|message| message.iovs()) {
                        self.count(payload, &mut flows, &mut account);
                    }
                    last = Instant::now();
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if end.load(Ordering::Relaxed) && last.elapsed() > QUIET {
                return Ok(account);
            }
        }
    }

    /// Counts one packet, or several that the kernel joined: all are of the same length.
    fn count(&self, joined: &[u8], flows: &mut Vec<Flow>, account: &mut Received) {
        for payload in joined.chunks(self.size) {
            let label = Label::read(payload).filter(|label| label.run == self.run && label.number < MOST);
            let Some(label) = label.filter(|label| payload.len() == self.size && label.flow < 1024) else {
                account.strange += 1;
                continue;
            };
            let at = label.flow as usize;
            if flows.len() <= at {
                flows.resize_with(at + 1, Flow::default);
            }
            flows[at].count(label.number, account);
        }
    }
}

impl Flow {
    fn count(&mut self, number: u64, account: &mut Received) {
        let word = usize::try_from(number / 64).unwrap_or(0);
        let bit = 1_u64 << (number % 64);
        if self.seen.len() <= word {
            self.seen.resize(word + 4096, 0);
        }
        if self.seen[word] & bit != 0 {
            account.duplicated += 1;
            return;
        }
        self.seen[word] |= bit;
        account.received += 1;
        account.reordered += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::{Mode, Plan, send};
    use super::*;

    #[test]
    fn numbers_are_counted_once_and_in_order() {
        let (mut flow, mut account) = (Flow::default(), Received::default());
        for number in [0, 1, 3, 2, 3, 5000, 64] {
            flow.count(number, &mut account);
        }
        assert_eq!(account, Received { received: 6, duplicated: 1, reordered: 2, strange: 0 });
    }

    #[test]
    fn both_kinds_of_generator_are_accounted_for() {
        for (mode, size) in [(Mode::Plain, 36), (Mode::Bursts, 36), (Mode::Bursts, 1372)] {
            let receiver = Receiver::bind(([127, 0, 0, 1], 0).into(), size, 9).unwrap();
            let to = receiver.address().unwrap();
            let end = AtomicBool::new(false);
            let (sent, received) = thread::scope(|scope| {
                let receiving = scope.spawn(|| receiver.run(&end));
                // So few that they have room in any socket, however late the receiver is.
                let time = Duration::from_millis(75);
                let plan = Plan { to, rate: 2_000, size, time, flows: 3, mode, run: 9 };
                let stray = Plan { mode: Mode::Plain, time: time / 5, run: 8, ..plan };
                send(&stray).unwrap();
                let sent = send(&plan).unwrap();
                end.store(true, Ordering::Relaxed);
                (sent, receiving.join().unwrap().unwrap())
            });
            assert!(sent.sent > 0 && received.received == sent.sent, "{mode:?}: {sent:?} {received:?}");
            assert_eq!((received.duplicated, received.reordered), (0, 0));
            assert!(received.strange > 0, "the other run is told apart");
        }
    }
}
