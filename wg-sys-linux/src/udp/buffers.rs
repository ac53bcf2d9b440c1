//! The buffers of the sockets, in bytes of packet memory.
//!
//! A receive buffer must hold what arrives while its reader does something else; a send buffer is a queue that nothing else
//! bounds. The kernel counts memory, about twice what the packets carry, and doubles what it is asked for to that end; it
//! gives less than asked for where the system's limit is lower and the privilege (`CAP_NET_ADMIN`) is missing.

use std::os::fd::AsFd;

use rustix::net::sockopt;
use socket2::Socket;

use super::Udp;

/// What the kernel counts for a datagram at least: its `sk_buff` with the `skb_shared_info` behind its bytes, 576 on 64 bits, and less if
/// either shrinks.
const LEAST: usize = 512;

/// Sizes of a receive and a send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// For datagrams received.
    pub recv: usize,
    /// For datagrams sent.
    pub send: usize,
}

impl Buffers {
    /// What is asked for at first: a millisecond at ten gigabits per second, each way, as the kernel counts.
    pub const DEFAULT: Self = Self { recv: 1 << 20, send: 1 << 20 };
}

impl Default for Buffers {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Udp {
    /// Asks for buffers of this size, also for the sockets of later changes of port, and returns what was given.
    pub fn set_buffers(&mut self, wanted: Buffers) -> Buffers {
        self.wanted_buffers = wanted;
        for socket in self.pair.sockets() {
            resize(socket, wanted);
        }
        self.buffers()
    }

    /// Returns the sizes of the buffers; of two sockets, the lesser.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        let least = |size: fn(&Socket) -> usize| self.pair.sockets().map(size).min().unwrap_or(0);
        // The kernel doubles what it was asked for.
        Buffers {
            recv: least(|socket| sockopt::socket_recv_buffer_size(socket).unwrap_or(0) / 2),
            send: least(|socket| sockopt::socket_send_buffer_size(socket).unwrap_or(0) / 2),
        }
    }
}

impl Udp {
    /// Returns how many datagrams, or trains of them, are received at most until all that wait in the sockets now have been, whatever
    /// comes meanwhile: as many of the smallest as the buffers hold, and as many more of the other family, as they are read by turns.
    #[must_use]
    pub fn most_waiting(&self) -> usize {
        let held = |socket: &Socket| sockopt::socket_recv_buffer_size(socket).unwrap_or(0) / LEAST;
        2 * self.pair.sockets().map(held).sum::<usize>()
    }
}

/// Asks beyond the system's limit, then within it. What there is works, too.
pub(super) fn resize(socket: impl AsFd, wanted: Buffers) {
    if sockopt::set_socket_recv_buffer_size_force(&socket, wanted.recv).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, wanted.recv);
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, wanted.send).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(&socket, wanted.send);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn buffers_are_as_asked_for_and_stay_so_over_a_change_of_port() {
        let mut udp = Udp::bind(0, 0).unwrap();
        let few = Buffers { recv: 100_000, send: 50_000 };
        assert_eq!(udp.set_buffers(few), few);
        udp.rebind(0).unwrap();
        assert_eq!(udp.buffers(), few);
    }

    #[test]
    fn size_beyond_the_limit_is_given_as_far_as_allowed() {
        let mut udp = Udp::bind(0, 0).unwrap();
        let first = udp.buffers();
        assert!(first.recv > 0 && first.recv <= Buffers::DEFAULT.recv, "{first:?}");
        let given = udp.set_buffers(Buffers { recv: usize::MAX, send: 0 });
        assert!(given.recv >= first.recv || !rustix::process::geteuid().is_root(), "{given:?}");
        assert!(given.send > 0, "the kernel leaves some");
    }

    #[test]
    fn no_more_wait_than_the_buffers_may_hold() {
        let mut udp = Udp::bind(0, 0).unwrap();
        udp.set_buffers(Buffers { recv: 50_000, send: 50_000 });
        let Some(socket) = &udp.pair.v4 else { return println!("no IPv4 here") };
        let held = sockopt::socket_recv_buffer_size(socket).unwrap() / LEAST;
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            let _ = client.send_to(&[], ("127.0.0.1", udp.port()));
        }
        let reader = UdpSocket::from(socket.try_clone().unwrap());
        let waited = (0..).take_while(|_| reader.recv(&mut [0]).is_ok()).count();
        assert!((1..=held).contains(&waited), "{waited} of {held}");
        assert!(udp.most_waiting() >= 2 * held);
    }
}
