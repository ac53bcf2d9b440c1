//! Two sockets on one port, one for each family (C92), with everything set that holds for their whole life.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};

use super::gso::{self, Gso};
use crate::downgrade::{Downgrades, Feature};
use crate::sockopt::set_int;
use crate::{Error, Offloads};

/// Wished for in bytes: a few milliseconds at ten gigabits per second.
const BUFFER: usize = 4 << 20;

/// How often a free port of one family may turn out to be taken in the other.
const MAX_TRIES: u32 = 100;

/// `IPV6_AUTOFLOWLABEL`, in no header of libc.
const IPV6_AUTOFLOWLABEL: i32 = 70;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// The open sockets. At least one is there.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) v4: Option<Socket>,
    pub(super) v6: Option<Socket>,
    pub(super) port: u16,
}

impl Pair {
    /// Opens both families on `port`; 0 picks a port that is free in both.
    pub(super) fn open(port: u16, fwmark: u32) -> Result<Self, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::open_once(port, fwmark) {
                Err(error) if port == 0 && tries < MAX_TRIES && error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
    }

    fn open_once(port: u16, fwmark: u32) -> Result<Self, Error> {
        let v4 = unless_missing(open_v4(port, fwmark)).map_err(Error::during("open the IPv4 socket"))?;
        let picked = match &v4 {
            Some(socket) => local_port(socket)?,
            None => port,
        };
        let v6 = unless_missing(open_v6(picked, fwmark)).map_err(Error::during("open the IPv6 socket"))?;
        let port = match (&v4, &v6) {
            (Some(_), _) => picked,
            (None, Some(socket)) => local_port(socket)?,
            (None, None) => return Err(Error::new("open a UDP socket", Errno::AFNOSUPPORT)),
        };
        Ok(Self { v4, v6, port })
    }

    pub(super) const fn get(&self, family: Family) -> Option<&Socket> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// Sets the mark of both sockets; if one refuses, both keep `old`.
    pub(super) fn set_fwmark(&self, mark: u32, old: u32) -> Result<(), Error> {
        for socket in self.v4.iter().chain(&self.v6) {
            if let Err(error) = socket.set_mark(mark) {
                for socket in self.v4.iter().chain(&self.v6) {
                    let _ = socket.set_mark(old);
                }
                return Err(Error::new("set the fwmark", error));
            }
        }
        Ok(())
    }
}

/// Switches the offloads of a socket on, and returns what it may send.
pub(super) fn switch_on(socket: impl AsFd, offloads: Offloads, downgrades: &mut Downgrades) -> Gso {
    if offloads.udp_gro
        && let Err(error) = set_gro(&socket)
    {
        downgrades.push(Feature::UdpGro, error.raw_os_error());
    }
    if !offloads.udp_gso {
        return Gso::OFF;
    }
    match set_gso(&socket) {
        Ok(()) => Gso::up_to(gso::MOST),
        Err(error) => {
            downgrades.push(Feature::UdpGso, error.raw_os_error());
            Gso::OFF
        }
    }
}

fn set_gro(socket: impl AsFd) -> Result<(), Errno> {
    #[cfg(any(test, feature = "test-util"))]
    crate::fault::option(|refusals| refusals.udp_gro)?;
    set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Sets the length of segments to none, which is what it is: a kernel without segmentation does not know the option.
fn set_gso(socket: impl AsFd) -> Result<(), Errno> {
    #[cfg(any(test, feature = "test-util"))]
    crate::fault::option(|refusals| refusals.udp_segment)?;
    set_int(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0)
}

fn local_port(socket: &Socket) -> Result<u16, Error> {
    let address = socket.local_addr().map_err(Error::during("read the port of a socket"))?;
    Ok(address.as_socket().map_or(0, |address| address.port()))
}

/// A family that the kernel was built or booted without is no error.
fn unless_missing(opened: io::Result<Socket>) -> io::Result<Option<Socket>> {
    match opened {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn open_v4(port: u16, fwmark: u32) -> io::Result<Socket> {
    let socket = open(Domain::IPV4, fwmark)?;
    set_int(&socket, libc::SOL_IP, libc::IP_PKTINFO, 1)?;
    sockopt::set_ip_recvtos(&socket, true)?;
    // The outer packet may be fragmented on the way, here and elsewhere (C97).
    sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

fn open_v6(port: u16, fwmark: u32) -> io::Result<Socket> {
    let socket = open(Domain::IPV6, fwmark)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    set_int(&socket, libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    sockopt::set_ipv6_recvtclass(&socket, true)?;
    sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
    // Linux would derive a label from the flow; kernels before 4.2 do not know the option and send zero anyway.
    let _ = set_int(&socket, libc::SOL_IPV6, IPV6_AUTOFLOWLABEL, 0);
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

/// What both families share. No SO_REUSEADDR: with it a second process could bind the same port unnoticed.
fn open(domain: Domain, fwmark: u32) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if fwmark != 0 {
        socket.set_mark(fwmark)?;
    }
    grow_buffers(&socket);
    Ok(socket)
}

/// Asks for large buffers, beyond the system's limit if privileged. Small ones work too.
fn grow_buffers(socket: impl AsFd) {
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(&socket, BUFFER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_family_is_no_error_and_a_taken_port_is_one() {
        let error = |errno| Err(io::Error::from_raw_os_error(errno));
        assert!(unless_missing(error(libc::EAFNOSUPPORT)).unwrap().is_none());
        assert!(unless_missing(error(libc::EADDRNOTAVAIL)).unwrap().is_none());
        assert!(unless_missing(error(libc::EADDRINUSE)).is_err());
        assert!(unless_missing(error(libc::EMFILE)).is_err());
    }

    #[test]
    fn options_are_those_of_the_conformance_list() {
        // C92, C97
        let pair = Pair::open(0, 0).unwrap();
        let v4 = pair.v4.as_ref().unwrap();
        assert_eq!(sockopt::ip_mtu_discover(v4).unwrap(), Ipv4PathMtuDiscovery::DONT);
        assert!(!sockopt::socket_reuseaddr(v4).unwrap());
        assert!(!sockopt::socket_reuseport(v4).unwrap());
        assert!(v4.nonblocking().unwrap());
        assert!(rustix::io::fcntl_getfd(v4).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let Some(v6) = pair.v6.as_ref() else { return println!("no IPv6 here: its half was skipped") };
        assert_eq!(sockopt::ipv6_mtu_discover(v6).unwrap(), Ipv6PathMtuDiscovery::DONT);
        assert!(sockopt::ipv6_v6only(v6).unwrap());
        assert!(!sockopt::socket_reuseaddr(v6).unwrap());
        assert_eq!(local_port(v6).unwrap(), pair.port);
        assert_ne!(pair.port, 0);
    }
}
