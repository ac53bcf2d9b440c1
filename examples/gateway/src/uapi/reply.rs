//! From state to text: the replies to get and set, written line by line through one small buffer.
//!
//! The order of the fields is wireguard-go's; `wg` needs a peer's `public_key` first and `errno` last. The buffer has
//! held keys, so it is wiped each time it is emptied.

use std::io::{self, Write};

use zeroize::{Zeroize, Zeroizing};

use super::{Errno, PeerSnapshot, Snapshot, hex};

/// The buffer is emptied when less than one line is left.
const BUFFER_LEN: usize = 16 * 1024;
/// Longer than any line of a reply.
const LINE_LEN: usize = 256;

/// Writes the reply to a get.
///
/// An error number is positive here: `wg` reads only digits in the reply to a get (U10).
///
/// # Errors
///
/// The error of `out`; the reply is then cut short.
pub fn write_get<W: Write>(out: &mut W, result: Result<&Snapshot, Errno>) -> io::Result<()> {
    let mut lines = Lines { out, buffer: Zeroizing::new(Vec::with_capacity(BUFFER_LEN)) };
    let errno = match result {
        Ok(snapshot) => {
            write_device(&mut lines, snapshot)?;
            0
        }
        Err(errno) => errno.code(),
    };
    lines.end(errno)
}

/// Writes the reply to a set.
///
/// An error number is negative here: `wg` negates it before it looks up the message (U10).
///
/// # Errors
///
/// The error of `out`; the reply is then cut short.
pub fn write_set<W: Write>(out: &mut W, result: Result<(), Errno>) -> io::Result<()> {
    let lines = Lines { out, buffer: Zeroizing::new(Vec::with_capacity(LINE_LEN)) };
    lines.end(result.err().map_or(0, |errno| -errno.code()))
}

fn write_device<W: Write>(lines: &mut Lines<'_, W>, device: &Snapshot) -> io::Result<()> {
    if let Some(key) = &device.private_key {
        lines.key("private_key", key.as_bytes())?;
    }
    if device.listen_port != 0 {
        lines.line(format_args!("listen_port={}", device.listen_port))?;
    }
    if device.firewall_mark != 0 {
        lines.line(format_args!("fwmark={}", device.firewall_mark))?;
    }
    // Additions; who does not know them passes over them.
    if device.lane_moves != 0 {
        lines.line(format_args!("lane_moves={}", device.lane_moves))?;
    }
    for (lane, received) in device.lane_received.iter().enumerate() {
        lines.line(format_args!("lane_received={lane} {received}"))?;
    }
    if let Some((chosen, runs)) = device.strategy {
        lines.line(format_args!("strategy={chosen}"))?;
        lines.line(format_args!("strategy_in_effect={runs}"))?;
    }
    for lane in &device.lane_split {
        lines.line(format_args!("lane_split={lane}"))?;
    }
    for (reason, count) in device.dropped.iter().filter(|(_, count)| *count != 0) {
        lines.line(format_args!("dropped={reason} {count}"))?;
    }
    device.peers.iter().try_for_each(|peer| write_peer(lines, peer))
}

fn write_peer<W: Write>(lines: &mut Lines<'_, W>, peer: &PeerSnapshot) -> io::Result<()> {
    lines.key("public_key", peer.public_key.as_bytes())?;
    lines.key("preshared_key", peer.preshared_key.as_ref().map_or(&[0; 32], |key| key.as_bytes()))?;
    lines.line(format_args!("protocol_version=1"))?;
    if let Some(endpoint) = peer.endpoint {
        // The zone of a link-local address comes out as a number, which needs no look-up and which `wg` reads.
        lines.line(format_args!("endpoint={endpoint}"))?;
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    lines.line(format_args!("last_handshake_time_sec={}", handshake.secs()))?;
    lines.line(format_args!("last_handshake_time_nsec={}", handshake.nanos()))?;
    lines.line(format_args!("tx_bytes={}", peer.tx_bytes))?;
    lines.line(format_args!("rx_bytes={}", peer.rx_bytes))?;
    lines.line(format_args!("persistent_keepalive_interval={}", peer.persistent_keepalive))?;
    peer.allowed_ips.iter().try_for_each(|prefix| lines.line(format_args!("allowed_ip={prefix}")))
}

/// Lines on their way out.
struct Lines<'a, W: Write> {
    out: &'a mut W,
    /// Never grows past its first capacity, which would leave a copy behind.
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> Lines<'_, W> {
    fn line(&mut self, line: core::fmt::Arguments<'_>) -> io::Result<()> {
        self.make_room()?;
        writeln!(self.buffer, "{line}")
    }

    fn key(&mut self, name: &str, key: &[u8; 32]) -> io::Result<()> {
        self.make_room()?;
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.push(b'=');
        self.buffer.extend_from_slice(hex::encode(key).as_slice());
        self.buffer.push(b'\n');
        Ok(())
    }

    fn end(mut self, errno: i32) -> io::Result<()> {
        self.line(format_args!("errno={errno}\n"))?;
        self.empty()
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.buffer.capacity() - self.buffer.len() < LINE_LEN { self.empty() } else { Ok(()) }
    }

    fn empty(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.as_mut_slice().zeroize();
        self.buffer.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv6Addr, SocketAddrV6};

    use wg_datapath::{DropCounters, DropReason, IpPrefix};
    use wg_proto::{PresharedKey, PrivateKey, PublicKey, UnixTime};
    use wg_sched::StrategyKind;

    use super::*;

    #[test]
    fn fields_come_in_the_order_of_wireguard_go() {
        let mut dropped = Box::new(DropCounters::default());
        dropped.count_many(DropReason::Replay, u64::MAX);
        dropped.count(DropReason::NoPeerForDestination);
        let text = get(&Snapshot {
            private_key: Some(Box::new(PrivateKey::from_bytes([0xaa; 32]))),
            listen_port: 51820,
            firewall_mark: u32::MAX,
            lane_moves: 3,
            lane_received: vec![7, u64::MAX],
            strategy: Some((StrategyKind::Adaptive, StrategyKind::CounterSplit)),
            lane_split: vec![1],
            dropped,
            peers: vec![peer()],
        });
        let expected = format!(
            "private_key=a8{}6a\nlisten_port=51820\nfwmark=4294967295\nlane_moves=3\n\
             lane_received=0 7\nlane_received=1 18446744073709551615\n\
             strategy=adaptive\nstrategy_in_effect=counter-split\nlane_split=1\n\
             dropped=no_peer_for_destination 1\ndropped=replay 18446744073709551615\npublic_key={}\npreshared_key={}\n\
             protocol_version=1\nendpoint=192.0.2.1:7\nlast_handshake_time_sec=1700000000\n\
             last_handshake_time_nsec=5\ntx_bytes=18446744073709551615\nrx_bytes=2\n\
             persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\nerrno=0\n\n",
            "aa".repeat(30),
            "0b".repeat(32),
            "0c".repeat(32),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_not_set_is_left_out_or_zero() {
        assert_eq!(get(&Snapshot::default()), "errno=0\n\n");
        let bare = PeerSnapshot {
            preshared_key: None,
            endpoint: None,
            last_handshake: None,
            allowed_ips: vec![],
            ..peer()
        };
        let text = get(&Snapshot { peers: vec![bare], ..Snapshot::default() });
        assert!(text.contains(&format!("preshared_key={}\n", "0".repeat(64))), "{text}");
        assert!(text.contains("last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"), "{text}");
        assert!(!text.contains("endpoint=") && !text.contains("allowed_ip="), "{text}");
    }

    #[test]
    fn a_scoped_endpoint_shows_its_zone() {
        let address = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 9, 77, 3);
        let scoped = PeerSnapshot { endpoint: Some(address.into()), ..peer() };
        let text = get(&Snapshot { peers: vec![scoped], ..Snapshot::default() });
        assert!(text.contains("endpoint=[fe80::1%3]:9\n"), "{text}");
    }

    #[test]
    fn errors_are_positive_on_get_and_negative_on_set() {
        let mut out = Vec::new();
        write_get(&mut out, Err(Errno::INVALID)).unwrap();
        write_set(&mut out, Err(Errno::INVALID)).unwrap();
        write_set(&mut out, Ok(())).unwrap();
        assert_eq!(out, b"errno=22\n\nerrno=-22\n\nerrno=0\n\n");
    }

    #[test]
    fn a_reply_larger_than_the_buffer_comes_out_whole() {
        let prefixes: Vec<_> = (0..20_000_u32)
            .map(|n| IpPrefix::new(core::net::Ipv4Addr::from(n).into(), 32).unwrap())
            .collect();
        let expected: String = prefixes.iter().map(|prefix| format!("allowed_ip={prefix}\n")).collect();
        let text = get(&Snapshot {
            peers: vec![PeerSnapshot { allowed_ips: prefixes, ..peer() }],
            ..Snapshot::default()
        });
        assert!(text.ends_with(&format!("{expected}errno=0\n\n")));
    }

    fn peer() -> PeerSnapshot {
        PeerSnapshot {
            public_key: PublicKey::from_bytes([0x0b; 32]),
            preshared_key: Some(Box::new(PresharedKey::from_bytes([0x0c; 32]))),
            endpoint: Some("192.0.2.1:7".parse().unwrap()),
            last_handshake: Some(UnixTime::new(1_700_000_000, 5)),
            tx_bytes: u64::MAX,
            rx_bytes: 2,
            persistent_keepalive: 25,
            allowed_ips: vec![
                IpPrefix::new("10.1.2.3".parse().unwrap(), 8).unwrap(),
                IpPrefix::new("fd00::1".parse().unwrap(), 64).unwrap(),
            ],
        }
    }

    fn get(snapshot: &Snapshot) -> String {
        let mut out = Vec::new();
        write_get(&mut out, Ok(snapshot)).unwrap();
        String::from_utf8(out).unwrap()
    }
}
