//! The buffers of the sockets, in bytes of packet memory.
//!
//! A receive buffer must hold what arrives while its reader does something else; a send buffer is a queue that nothing else
//! bounds. The kernel counts memory, about twice what the packets carry, and doubles what it is asked for to that end; it
//! gives less than asked for where the system's limit is lower and the privilege (`CAP_NET_ADMIN`) is missing.

use std::os::fd::AsFd;

use rustix::net::sockopt;
use socket2::Socket;

use super::Udp;

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
}
