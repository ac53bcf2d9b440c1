//! Whether the device that datagrams leave by splits messages itself (`tx-udp-segmentation`), which spares this processor the
//! work. To be reported only: where it does not, the kernel splits them, late and still cheaply.

use core::net::{IpAddr, SocketAddr};

use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{Udp, sockaddr};
use crate::netlink::{Request, Socket, TYPE_MASK, attributes, u16_at, u32_at};

const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_MARK: u16 = 16;
/// Length of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;

/// What asks for the number of a family of generic netlink: the type of the message, its command and its attributes.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Length of `struct genlmsghdr`: command, version, padding.
const GENERIC_HEADER: usize = 4;

const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

const FEATURE: &[u8] = b"tx-udp-segmentation\0";

/// The device that datagrams to some address leave by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Its name.
    pub interface: String,
    /// Whether it splits messages into datagrams; `None` if the kernel does not tell.
    pub udp_segmentation: Option<bool>,
}

impl Egress {
    /// Finds the device that datagrams to `remote` with this mark, 0 for none, leave by now, in the network namespace of this
    /// thread; `None` if there is no route. It allocates and is not for every packet.
    #[must_use]
    pub fn find(remote: IpAddr, fwmark: u32) -> Option<Self> {
        let index = interface_to(remote.to_canonical(), fwmark)?;
        let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
        let interface = index_to_name(&any, index).ok()?;
        Some(Self { interface, udp_segmentation: splits_udp(index) })
    }
}

impl Udp {
    /// Finds the device that datagrams of these sockets to `remote` leave by now, see [`Egress::find`].
    #[must_use]
    pub fn egress(&self, remote: SocketAddr) -> Option<Egress> {
        Egress::find(sockaddr::normalise(remote).ip(), self.fwmark)
    }
}

/// The index of the interface by which packets to this address leave.
fn interface_to(to: IpAddr, fwmark: u32) -> Option<u32> {
    let mut header = [0; ROUTE_HEADER];
    let (family, bits, octets) = match to {
        IpAddr::V4(to) => (libc::AF_INET, 32, to.octets().to_vec()),
        IpAddr::V6(to) => (libc::AF_INET6, 128, to.octets().to_vec()),
    };
    header[0] = u8::try_from(family).ok()?;
    header[1] = bits;
    let mut request = Request::query(RTM_GETROUTE, &header).attribute(RTA_DST, &octets);
    if fwmark != 0 {
        request = request.attribute(RTA_MARK, &fwmark.to_ne_bytes());
    }
    let answer = Socket::open(0).ok()?.ask(request).ok()?;
    u32_at(find(answer.get(ROUTE_HEADER..)?, RTA_OIF)?, 0)
}

/// Whether the device splits UDP.
fn splits_udp(index: u32) -> Option<bool> {
    let mut socket = Socket::open_generic().ok()?;
    let ask_family = Request::query(GENL_ID_CTRL, &[CTRL_CMD_GETFAMILY, 1, 0, 0])
        .attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0");
    let answer = socket.ask(ask_family).ok()?;
    let family = u16_at(find(answer.get(GENERIC_HEADER..)?, CTRL_ATTR_FAMILY_ID)?, 0)?;
    // The index is the one attribute inside another.
    let device = [&8_u16.to_ne_bytes()[..], &ETHTOOL_A_HEADER_DEV_INDEX.to_ne_bytes(), &index.to_ne_bytes()];
    let ask_features = Request::query(family, &[ETHTOOL_MSG_FEATURES_GET, 1, 0, 0])
        .attribute(ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, &device.concat());
    has_feature(&socket.ask(ask_features).ok()?)
}

/// Whether the answer names the feature among those that are active.
fn has_feature(answer: &[u8]) -> Option<bool> {
    let active = find(answer.get(GENERIC_HEADER..)?, ETHTOOL_A_FEATURES_ACTIVE)?;
    let bits = find(active, ETHTOOL_A_BITSET_BITS)?;
    let is_it = |(_, bit)| find(bit, ETHTOOL_A_BITSET_BIT_NAME) == Some(FEATURE);
    Some(attributes(bits).any(is_it))
}

fn find(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find(|&(kind, _)| kind & TYPE_MASK == number).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_way_to_itself() {
        let udp = Udp::bind(0, 0).unwrap();
        for to in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9"] {
            let egress = udp.egress(to.parse().unwrap()).unwrap();
            assert_eq!(egress.interface, "lo");
            // It has been able to since Linux 4.18; some kernels do not tell.
            assert_ne!(egress.udp_segmentation, Some(false));
        }
    }

    #[test]
    fn feature_is_found_among_the_active_ones_only() {
        fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
            let len = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }
        let set = |kind, names: &[&[u8]]| {
            let bit = |name: &&[u8]| attribute(1, &attribute(ETHTOOL_A_BITSET_BIT_NAME, name));
            let bits: Vec<u8> = names.iter().flat_map(bit).collect();
            attribute(kind | NLA_F_NESTED, &attribute(ETHTOOL_A_BITSET_BITS | NLA_F_NESTED, &bits))
        };
        let other: &[u8] = b"tx-gso-list\0";
        let answer = |active: &[&[u8]]| [vec![11, 1, 0, 0], set(2, &[FEATURE]), set(4, active)].concat();
        assert_eq!(has_feature(&answer(&[other, FEATURE])), Some(true));
        assert_eq!(has_feature(&answer(&[other])), Some(false));
        assert_eq!(has_feature(&[11, 1, 0, 0]), None);
        assert_eq!(has_feature(&[]), None);
    }
}
