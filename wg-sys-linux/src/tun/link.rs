//! Reads an interface's state through its TUN descriptor, in whatever network namespace it is.
//!
//! The descriptor tells the interface's name and namespace. An rtnetlink socket asks about interfaces of its own
//! namespace, or, given a namespace id, of another one: so nothing needs to move there, neither the process nor a
//! thread, and `CAP_NET_ADMIN` is enough. The socket lives in the namespace of the thread that opened it.
//!
//! ```text
//! TUNGETIFF -> name        TUNGETDEVNETNS -> namespace -- ours? ----------------> RTM_GETLINK name
//!                                                      `- other: its id here ---> RTM_GETLINK id, name
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{Stat, fstat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ioctl;
use crate::netlink::{Request, Socket, TYPE_MASK, attributes, u32_at};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_PI: u16 = 4;
const IFLA_TUN_NUM_QUEUES: u16 = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES: u16 = 9;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
const IFLA_TARGET_NETNSID: u16 = 46;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// What RTM_GETNSID says of a namespace without an id, and what asks RTM_NEWNSID to pick one.
const NO_ID: u32 = u32::MAX;

const IFF_UP: u32 = 1;

/// The state of a TUN interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is administratively up.
    pub up: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// Answers questions about the interface of a TUN descriptor.
#[derive(Debug)]
pub(super) struct LinkQuery {
    socket: Socket,
}

impl LinkQuery {
    pub(super) fn open() -> Result<Self, Errno> {
        Ok(Self { socket: Socket::open(0)? })
    }

    /// Reads the state; EBADFD means that the interface has been removed.
    ///
    /// A namespace that was foreign until now has an id here afterwards, so that its broadcasts are heard from then on.
    pub(super) fn read(&mut self, tun: BorrowedFd<'_>) -> Result<Link, Errno> {
        self.read_with(tun, parse_link)
    }

    /// Reads whether each packet has a protocol number in front. TUNGETIFF does not tell: it says `IFF_NOFILTER`, of any
    /// descriptor without a filter, by the very bit that is `IFF_NO_PI`.
    pub(super) fn has_packet_information(&mut self, tun: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.read_with(tun, parse_packet_information)
    }

    fn read_with<T>(&mut self, tun: BorrowedFd<'_>, parse: impl Fn(&[u8]) -> Option<T>) -> Result<T, Errno> {
        // The interface may be renamed or moved between the questions; then it is not found, and asked for anew.
        for _ in 0..8 {
            let name = ioctl::attached(tun)?.name;
            let id = match self.foreign_namespace(tun) {
                Some(namespace) => Some(self.namespace_id(namespace.as_fd())?),
                None => None,
            };
            match self.get_link(&name, id) {
                Err(Errno::NODEV) => {}
                answer => return parse(&answer?).ok_or(Errno::PROTO),
            }
        }
        Err(Errno::NODEV)
    }

    /// Tells how many descriptors are attached to the TUN interface `name` of the socket's namespace; `None` if there is
    /// none that takes several.
    pub(super) fn queues(&mut self, name: &str) -> Option<u32> {
        parse_queues(&self.get_link(name, None).ok()?)
    }

    /// Sets the MTU.
    pub(super) fn set_mtu(&mut self, tun: BorrowedFd<'_>, mtu: u32) -> Result<(), Errno> {
        self.change(tun, &[(IFLA_MTU, mtu)])
    }

    /// Sets the length of the longest frame in IPv4 and in IPv6. Before Linux 6.3 one holds for both: that of IPv6.
    pub(super) fn set_frame_limits(&mut self, tun: BorrowedFd<'_>, v4: u32, v6: u32) -> Result<(), Errno> {
        // The one for IPv6 sets the other, too, and comes first. An attribute the kernel does not know is passed over.
        self.change(tun, &[(IFLA_GSO_MAX_SIZE, v6)])?;
        self.change(tun, &[(IFLA_GSO_IPV4_MAX_SIZE, v4)])
    }

    /// Sets attributes of the interface.
    fn change(&mut self, tun: BorrowedFd<'_>, values: &[(u16, u32)]) -> Result<(), Errno> {
        let name = ioctl::attached(tun)?.name;
        match self.foreign_namespace(tun) {
            None => change_link(&mut self.socket, &name, values),
            // Changing takes no namespace id. A thread of its own may be elsewhere without moving the process.
            Some(namespace) => thread::scope(|scope| {
                let there = scope.spawn(|| {
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                    change_link(&mut Socket::open(0)?, &name, values)
                });
                there.join().unwrap_or(Err(Errno::IO))
            }),
        }
    }

    /// The namespace of the interface, if it is not that of the socket. Without the privilege to ask it is taken to
    /// be the same.
    fn foreign_namespace(&self, tun: BorrowedFd<'_>) -> Option<OwnedFd> {
        let theirs = ioctl::device_namespace(tun).ok()?;
        let ours = ioctl::socket_namespace(&self.socket).ok()?;
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        (identity(fstat(&theirs).ok()?) != identity(fstat(&ours).ok()?)).then_some(theirs)
    }

    /// The id of another namespace as seen from ours; it is given one if it has none.
    fn namespace_id(&mut self, namespace: BorrowedFd<'_>) -> Result<u32, Errno> {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&namespace).to_ne_bytes();
        // `struct rtgenmsg` is one byte, padded.
        let ask = || Request::query(RTM_GETNSID, &[0; 4]).attribute(NETNSA_FD, &fd);
        for _ in 0..2 {
            let answer = self.socket.ask(ask())?;
            let id = attributes(answer.get(4..).unwrap_or_default())
                .find(|&(kind, _)| kind == NETNSA_NSID)
                .and_then(|(_, value)| u32_at(value, 0));
            if let Some(id) = id.filter(|&id| id != NO_ID) {
                return Ok(id);
            }
            let give = Request::command(RTM_NEWNSID, &[0; 4])
                .attribute(NETNSA_NSID, &NO_ID.to_ne_bytes())
                .attribute(NETNSA_FD, &fd);
            match self.socket.ask(give) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::SRCH)
    }

    fn get_link(&mut self, name: &str, namespace: Option<u32>) -> Result<Vec<u8>, Errno> {
        let mut request = Request::query(RTM_GETLINK, &interface_header())
            .attribute(IFLA_IFNAME, &name_bytes(name))
            .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        if let Some(id) = namespace {
            request = request.attribute(IFLA_TARGET_NETNSID, &id.to_ne_bytes());
        }
        self.socket.ask(request)
    }
}

fn change_link(socket: &mut Socket, name: &str, values: &[(u16, u32)]) -> Result<(), Errno> {
    let request =
        Request::command(RTM_NEWLINK, &interface_header()).attribute(IFLA_IFNAME, &name_bytes(name));
    let attribute =
        |request: Request, &(kind, value): &(u16, u32)| request.attribute(kind, &value.to_ne_bytes());
    socket.ask(values.iter().fold(request, attribute)).map(|_| ())
}

/// A `struct ifinfomsg` that names no interface: the attribute does.
const fn interface_header() -> [u8; 16] {
    [0; 16]
}

fn name_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Reads flags and MTU from an RTM_NEWLINK: a 16-byte `struct ifinfomsg` with the flags at offset 8, then attributes.
fn parse_link(message: &[u8]) -> Option<Link> {
    let flags = u32_at(message, 8)?;
    let (_, mtu) = attributes(message.get(16..)?).find(|&(kind, _)| kind == IFLA_MTU)?;
    Some(Link { up: flags & IFF_UP != 0, mtu: u32_at(mtu, 0)? })
}

/// Reads from an RTM_NEWLINK whether the TUN puts a protocol number in front of each packet.
fn parse_packet_information(message: &[u8]) -> Option<bool> {
    attribute_of_tun(message, IFLA_TUN_PI)?.first().map(|&present| present != 0)
}

/// Reads from an RTM_NEWLINK how many descriptors are attached to a TUN that takes several.
fn parse_queues(message: &[u8]) -> Option<u32> {
    let number = |kind| u32_at(attribute_of_tun(message, kind)?, 0);
    Some(number(IFLA_TUN_NUM_QUEUES)?.saturating_add(number(IFLA_TUN_NUM_DISABLED_QUEUES)?))
}

/// The value of one of the attributes that only a TUN has.
fn attribute_of_tun(message: &[u8], number: u16) -> Option<&[u8]> {
    let nested = |outer, number| {
        attributes(outer).find(|&(kind, _)| kind & TYPE_MASK == number).map(|(_, value)| value)
    };
    nested(nested(nested(message.get(16..)?, IFLA_LINKINFO)?, IFLA_INFO_DATA)?, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_read_by_name() {
        let mut query = LinkQuery::open().unwrap();
        let link = parse_link(&query.get_link("lo", None).unwrap()).unwrap();
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(link.mtu.to_string(), mtu.trim());
        assert_eq!(query.get_link("nosuchdevice", None), Err(Errno::NODEV));
        assert!(query.get_link("lo", None).is_ok(), "an error answer leaves the socket in step");
    }

    #[test]
    fn message_without_an_mtu_is_no_link() {
        let mut message = vec![0; 16];
        assert_eq!(parse_link(&message), None);
        message[8] = 1;
        message.extend([8, 0, 4, 0, 0x8c, 5, 0, 0].map(|byte: u8| byte));
        let expected = if cfg!(target_endian = "little") { Some(Link { up: true, mtu: 1420 }) } else { None };
        assert_eq!(parse_link(&message), expected);
        assert_eq!(parse_link(&message[..12]), None);
    }
}
