//! A router that translates addresses, as far as two nodes notice: one of them is behind it, and roams when it pleases.
//!
//! ```text
//!   node --> inside | relay | outside: the newest door --> target
//!        <--        |       |          any door       <--
//! ```
//!
//! What was sent to where the node was still comes, so that a node that roams loses nothing by it.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::Namespace;

/// The threads wake up this often to see whether they are to end.
const TICK: Duration = Duration::from_millis(20);

/// A running relay; dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    target: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    inside: UdpSocket,
    /// Where the node is; none before it has sent something.
    node: Mutex<Option<SocketAddr>>,
    /// The oldest first; what the node sends leaves by the last.
    doors: Mutex<Vec<Arc<Door>>>,
    ends: AtomicBool,
}

#[derive(Debug)]
struct Door {
    socket: UdpSocket,
    /// Datagrams that left by it, and that came by it.
    left: AtomicU64,
    came: AtomicU64,
}

impl Relay {
    /// Starts one: what comes to `inside` leaves from `outside` to `target`.
    ///
    /// # Panics
    ///
    /// When an address cannot be bound.
    #[track_caller]
    pub fn start(namespace: &Namespace, inside: SocketAddr, outside: SocketAddr, target: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            inside: bind(namespace, inside),
            node: Mutex::new(None),
            doors: Mutex::new(Vec::new()),
            ends: AtomicBool::new(false),
        });
        let mut relay = Self { shared: Arc::clone(&shared), target, threads: Vec::new() };
        relay.roam(namespace, outside);
        relay.threads.push(std::thread::spawn(move || send(&shared, target)));
        relay
    }

    /// Has all that comes from now on leave from another address.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[track_caller]
    pub fn roam(&mut self, namespace: &Namespace, outside: SocketAddr) {
        let socket = bind(namespace, outside);
        let door = Arc::new(Door { socket, left: AtomicU64::new(0), came: AtomicU64::new(0) });
        let shared = Arc::clone(&self.shared);
        locked(&shared.doors).push(Arc::clone(&door));
        let target = self.target;
        self.threads.push(std::thread::spawn(move || receive(&shared, &door, target)));
    }

    /// How many datagrams left from each of its addresses, and came back to it.
    pub fn counts(&self) -> Vec<[u64; 2]> {
        let count = |door: &Arc<Door>| [&door.left, &door.came].map(|count| count.load(Ordering::Relaxed));
        locked(&self.shared.doors).iter().map(count).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

#[track_caller]
fn bind(namespace: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(address)).expect("an address of the relay");
    socket.set_read_timeout(Some(TICK)).expect("a timeout");
    // Best effort, as root: a burst must not be lost beside the tunnel.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).ok();
    rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 16 << 20).ok();
    socket
}

/// Takes what the node sends to the target.
fn send(shared: &Shared, target: SocketAddr) {
    let mut buffer = vec![0; 65536];
    while !shared.ends.load(Ordering::Relaxed) {
        let Ok((length, from)) = shared.inside.recv_from(&mut buffer) else { continue };
        *locked(&shared.node) = Some(from);
        let doors = locked(&shared.doors);
        let Some(door) = doors.last() else { continue };
        // What the kernel refuses is lost, as behind any router: a test that minds sees it in its own account.
        if door.socket.send_to(&buffer[..length], target).is_ok() {
            door.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes what comes by one door from the target to the node.
fn receive(shared: &Shared, door: &Door, target: SocketAddr) {
    let mut buffer = vec![0; 65536];
    while !shared.ends.load(Ordering::Relaxed) {
        let Ok((length, from)) = door.socket.recv_from(&mut buffer) else { continue };
        let Some(node) = (*locked(&shared.node)).filter(|_| from == target) else { continue };
        if shared.inside.send_to(&buffer[..length], node).is_ok() {
            door.came.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::can_run;

    #[test]
    fn a_node_is_seen_where_it_roams_to_and_is_found_where_it_was() {
        if !can_run() {
            return;
        }
        let namespace = Namespace::new();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let [node, target] = [1, 2].map(|port| bind(&namespace, at(port)));
        let mut relay = Relay::start(&namespace, at(3), at(4), at(2));
        let mut buffer = [0; 16];
        let hear = |socket: &UdpSocket, buffer: &mut [u8]| {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            socket.recv_from(buffer).expect("a datagram")
        };
        for (port, word) in [(4, b"one"), (5, b"two")] {
            if port == 5 {
                relay.roam(&namespace, at(5));
            }
            node.send_to(word, at(3)).expect("sent");
            assert_eq!(hear(&target, &mut buffer), (3, at(port)));
            assert_eq!(&buffer[..3], word);
        }
        for port in [4, 5] {
            target.send_to(b"answer", at(port)).expect("sent");
            assert_eq!(hear(&node, &mut buffer), (6, at(3)), "{port}");
        }
        let all = || relay.counts() == [[1, 1]; 2];
        assert!(crate::wait::until(Duration::from_secs(5), all), "{:?}", relay.counts());
    }
}
