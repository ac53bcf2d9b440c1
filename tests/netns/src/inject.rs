//! Datagrams that no honest peer would send.

use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;

use crate::Namespace;

/// A plain UDP socket in a namespace, for any bytes to anywhere.
#[derive(Debug)]
pub struct Injector {
    socket: UdpSocket,
    target: SocketAddr,
}

impl Injector {
    /// Binds `source` (port 0 for any) in `namespace`.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[track_caller]
    pub fn new(namespace: &Namespace, source: SocketAddr, target: SocketAddr) -> Self {
        let socket = namespace.enter(|| UdpSocket::bind(source).expect("the source address"));
        // As root; the largest datagram is bigger than the default of some machines.
        rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 4 << 20).ok();
        Self { socket, target }
    }

    /// Sends one datagram.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    #[track_caller]
    pub fn send(&self, datagram: &[u8]) {
        if let Err(error) = self.socket.send_to(datagram, self.target) {
            panic!("{} bytes to {}: {error}", datagram.len(), self.target);
        }
    }

    /// Where it sends from.
    ///
    /// # Panics
    ///
    /// When the kernel does not tell.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// What has come back, until nothing comes for `silence`.
    pub fn answers(&self, silence: Duration) -> Vec<Vec<u8>> {
        self.socket.set_read_timeout(Some(silence)).expect("a timeout");
        let mut buffer = vec![0; 65536];
        let mut answers = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            answers.push(buffer[..length].to_vec());
        }
        answers
    }
}
