//! Sees every UDP datagram on the interfaces of a namespace, in both directions.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Namespace, wait};

/// `ETH_P_ALL` in network order, which is how a packet socket wants it.
const EVERY_PROTOCOL: i32 = 0x0003_u16.to_be() as i32;
/// The protocol number of UDP.
const UDP: u8 = 17;

/// A datagram as it was on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it was to go.
    pub destination: SocketAddr,
    /// The traffic class (IPv4: the former type of service), DSCP and ECN.
    pub traffic_class: u8,
    /// Whether routers are told not to fragment it. Never set in IPv6, which has no such bit.
    pub dont_fragment: bool,
    /// The UDP payload; of a fragmented datagram, what the first fragment holds.
    pub payload: Vec<u8>,
    /// The whole packet, from its IP header to the end that this tells.
    pub packet: Vec<u8>,
    /// The length that the UDP header tells, without that header.
    pub length: usize,
    /// When it was seen.
    pub at: Instant,
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, traffic_class, payload, length, .. } = self;
        let start = &payload[..payload.len().min(8)];
        write!(f, "{source} > {destination}, class {traffic_class:#04x}, {length} bytes: {start:02x?}..")
    }
}

/// A running capture; dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    seen: Arc<Mutex<Vec<Datagram>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts to watch all interfaces of `namespace`.
    ///
    /// # Panics
    ///
    /// When the kernel gives no packet socket.
    #[track_caller]
    pub fn start(namespace: &Namespace) -> Self {
        let mut socket = namespace.enter(|| {
            Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(EVERY_PROTOCOL)))
                .expect("a packet socket")
        });
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).ok();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let end = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, end) = (Arc::clone(&seen), Arc::clone(&end));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65536];
                while !end.load(Ordering::Relaxed) {
                    let Ok(length) = socket.read(&mut buffer) else { continue };
                    if let Some(datagram) = parse(&buffer[..length]) {
                        seen.lock().unwrap_or_else(PoisonError::into_inner).push(datagram);
                    }
                }
            })
        };
        Self { seen, end, thread: Some(thread) }
    }

    /// What was seen and fits, once all that is under way has been.
    pub fn matching(&self, fits: impl Fn(&Datagram) -> bool) -> Vec<Datagram> {
        self.settle();
        self.seen().iter().filter(|datagram| fits(datagram)).cloned().collect()
    }

    /// Waits until a datagram that fits has been seen.
    pub fn find(&self, limit: Duration, fits: impl Fn(&Datagram) -> bool) -> Option<Datagram> {
        wait::find(limit, || self.seen().iter().find(|datagram| fits(datagram)).cloned())
    }

    /// Forgets what was seen, once all that is under way has been.
    pub fn forget(&self) {
        self.settle();
        self.seen().clear();
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Datagram>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing new has come for a moment, or, under lasting traffic, until a second has passed.
    fn settle(&self) {
        let mut last = (self.seen().len(), Instant::now());
        wait::until(Duration::from_secs(1), || {
            let count = self.seen().len();
            if count != last.0 {
                last = (count, Instant::now());
            }
            last.1.elapsed() > Duration::from_millis(100)
        });
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Reads a packet that starts with its IP header; none if it is no UDP, or a fragment but the first.
fn parse(packet: &[u8]) -> Option<Datagram> {
    let (parts, dont_fragment) = match packet.first()? >> 4 {
        4 => (parse_v4(packet)?, packet.get(6)? & 0x40 != 0),
        6 => (parse_v6(packet)?, false),
        _ => return None,
    };
    let Parts { addresses, traffic_class, segment, packet } = parts;
    let port = |at: usize| Some(u16::from_be_bytes(*segment.get(at..)?.first_chunk()?));
    Some(Datagram {
        source: SocketAddr::new(addresses.0, port(0)?),
        destination: SocketAddr::new(addresses.1, port(2)?),
        traffic_class,
        dont_fragment,
        payload: segment.get(8..)?.to_vec(),
        packet: packet.to_vec(),
        length: usize::from(port(4)?).checked_sub(8)?,
        at: Instant::now(),
    })
}

/// A packet taken apart.
struct Parts<'a> {
    addresses: (IpAddr, IpAddr),
    traffic_class: u8,
    /// What is behind the IP header.
    segment: &'a [u8],
    /// All of it, without what a link puts behind short packets.
    packet: &'a [u8],
}

fn parse_v4(packet: &[u8]) -> Option<Parts<'_>> {
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
    let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?);
    let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
    if *packet.get(9)? != UDP || fragment & 0x1fff != 0 {
        return None;
    }
    let packet = packet.get(..total)?;
    Some(Parts {
        addresses: (address(12)?.into(), address(16)?.into()),
        traffic_class: packet[1],
        segment: packet.get(header..)?,
        packet,
    })
}

fn parse_v6(packet: &[u8]) -> Option<Parts<'_>> {
    let total = 40 + usize::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?));
    let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
    let addresses = (address(8)?.into(), address(24)?.into());
    let traffic_class = packet[0] << 4 | packet[1] >> 4;
    let packet = packet.get(..total)?;
    let segment = match *packet.get(6)? {
        UDP => packet.get(40..)?,
        // A fragment header: the next protocol, a reserved byte, 13 bits of offset.
        44 if *packet.get(40)? == UDP && *packet.get(42)? == 0 && packet.get(43)? & 0xf8 == 0 => {
            packet.get(48..)?
        }
        _ => return None,
    };
    Some(Parts { addresses, traffic_class, segment, packet })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(fragment: [u8; 2]) -> Vec<u8> {
        let mut packet = vec![0x45, 0x88, 0, 31, 0, 0, fragment[0], fragment[1], 64, UDP, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([0, 7, 0, 9, 0, 11, 0, 0, 1, 2, 3]);
        packet
    }

    #[test]
    fn ipv4_datagram_is_read() {
        let datagram = parse(&v4([0, 0])).unwrap();
        assert_eq!(datagram.source, "10.0.0.1:7".parse().unwrap());
        assert_eq!(datagram.destination, "10.0.0.2:9".parse().unwrap());
        assert_eq!((datagram.traffic_class, datagram.payload, datagram.length), (0x88, vec![1, 2, 3], 3));
    }

    #[test]
    fn only_the_first_fragment_counts() {
        assert!(parse(&v4([0x20, 0])).is_some());
        assert_eq!(parse(&v4([0, 1])), None);
    }

    #[test]
    fn ipv6_datagram_is_read() {
        let mut packet = vec![0x68, 0x80, 0, 0, 0, 10, UDP, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend(Ipv6Addr::UNSPECIFIED.octets());
        packet.extend([0, 7, 0, 9, 0, 10, 0, 0, 1, 2]);
        let datagram = parse(&packet).unwrap();
        assert_eq!(datagram.source, "[::1]:7".parse().unwrap());
        assert_eq!((datagram.traffic_class, datagram.payload), (0x88, vec![1, 2]));
    }

    #[test]
    fn every_truncation_is_survived() {
        let packet = v4([0, 0]);
        for length in 0..packet.len() {
            assert_eq!(parse(&packet[..length]), None);
        }
    }
}
