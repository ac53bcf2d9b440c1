//! Any bytes as control messages, beside a reader that walks one header after the other (C90, C103; S10, 12).

use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wg_proto::Source;
use wg_sys_linux::probe::{control_messages, pin_source};

use crate::input::Input;

const WORD: usize = size_of::<usize>();
const INT: usize = size_of::<c_int>();

/// The local side that a message tells.
fn local_side(level: c_int, kind: c_int, data: &[u8]) -> Option<(IpAddr, u32)> {
    let number = |at: usize| u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    if (level, kind) == (libc::SOL_IP, libc::IP_PKTINFO) && data.len() >= 12 {
        return Some((IpAddr::from([data[4], data[5], data[6], data[7]]), number(0)));
    }
    if (level, kind) == (libc::SOL_IPV6, libc::IPV6_PKTINFO) && data.len() >= 20 {
        let octets: [u8; 16] = data[..16].try_into().expect("16 bytes");
        return Some((Ipv6Addr::from(octets).to_canonical(), number(16)));
    }
    None
}

/// Reads a buffer both ways, then writes what it holds and reads that.
///
/// # Panics
///
/// If the readers disagree, or what was written does not read back.
pub fn cmsg(data: &[u8]) {
    let read = control_messages(data);
    let (mut at, mut seen) = (0, 0);
    while data.len() - at >= WORD + 2 * INT {
        let len = usize::from_ne_bytes(data[at..at + WORD].try_into().expect("a word"));
        if len < WORD + 2 * INT || len > data.len() - at {
            break;
        }
        let int = |from: usize| c_int::from_ne_bytes(data[from..from + INT].try_into().expect("an int"));
        let message = &read[seen];
        assert_eq!((message.level, message.kind), (int(at + WORD), int(at + WORD + INT)));
        assert_eq!(message.data, &data[at + WORD + 2 * INT..at + len]);
        let local = local_side(message.level, message.kind, message.data);
        assert_eq!(message.source.map(|source| (source.addr, source.interface)), local);
        seen += 1;
        at = (at + len.div_ceil(WORD) * WORD).min(data.len());
    }
    assert_eq!(read.len(), seen);

    let mut input = Input::new(data);
    let v4 = Ipv4Addr::from(input.array::<4>());
    let v6 = Ipv6Addr::from(input.array::<16>());
    let interface = input.u32();
    for (addr, remote) in [
        (IpAddr::from(v4), SocketAddr::from(([192, 0, 2, 1], 1))),
        (IpAddr::from(v6), SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1))),
        (IpAddr::from(v6), SocketAddr::from(([192, 0, 2, 1], 1))),
    ] {
        let Some(written) = pin_source(&Source { addr, interface }, &remote) else { continue };
        let read = control_messages(&written);
        assert_eq!(read.len(), 1);
        let source = read[0].source.expect("a source was written");
        assert_eq!(source.addr, addr.to_canonical());
        // The interface goes along only where the address means nothing without it (C96).
        let local = matches!(source.addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
        assert_eq!(source.interface, if local { interface } else { 0 });
    }
}
