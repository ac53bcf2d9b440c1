//! A TUN device by hand, to be handed to a program through `WG_TUN_FD`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;

use rustix::ioctl::{IntegerSetter, Setter, ioctl, opcode};

use crate::Namespace;

const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
/// `TUNSETIFF`, `_IOW('T', 202, int)`. The kernel reads a whole `ifreq` in spite of that size.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);

/// `TUNSETOFFLOAD`, `_IOW('T', 208, unsigned int)`. The flags are the argument itself.
const TUNSETOFFLOAD: rustix::ioctl::Opcode = opcode::write::<u32>(b'T', 208);
/// Checksums, and segmentation of TCP over IPv4 and IPv6.
const TUN_F_CSUM_AND_TSO: usize = 0x01 | 0x02 | 0x04;
/// Segmentation of UDP over IPv4 and IPv6.
const TUN_F_USO: usize = 0x20 | 0x40;

/// Whether a packet on the device is preceded by four bytes of flags and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketInformation {
    /// Four bytes before each packet, as the packaged `wireguard-go` uses its device.
    Present,
    /// The packet alone, as later programs use it.
    Absent,
}

/// `struct ifreq`, as far as `TUNSETIFF` reads it.
#[repr(C)]
#[derive(Debug)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Makes the interface `name` in `namespace` and returns its descriptor.
///
/// # Errors
///
/// When the name is too long or the kernel refuses.
pub fn open(namespace: &Namespace, name: &str, information: PacketInformation) -> io::Result<OwnedFd> {
    let absent = if information == PacketInformation::Absent { IFF_NO_PI } else { 0 };
    attach(namespace, name, IFF_TUN | absent)
}

/// Makes the interface `name` in `namespace` with a `virtio_net_hdr` of ten bytes in front of each packet, and lets the
/// kernel leave checksums and segmentation to us.
///
/// # Errors
///
/// When the name is too long or the kernel refuses.
pub fn open_with_offloads(namespace: &Namespace, name: &str) -> io::Result<OwnedFd> {
    let fd = attach(namespace, name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)?;
    let set = |flags| {
        // SAFETY: `TUNSETOFFLOAD` takes its flags as the argument and reads no memory.
        let setter = unsafe { IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags) };
        // SAFETY: there is no pointer that the kernel could follow.
        unsafe { ioctl(&fd, setter) }
    };
    // Before Linux 6.2 there is none for UDP.
    set(TUN_F_CSUM_AND_TSO | TUN_F_USO).or_else(|_| set(TUN_F_CSUM_AND_TSO))?;
    Ok(fd)
}

fn attach(namespace: &Namespace, name: &str, flags: u16) -> io::Result<OwnedFd> {
    let mut request = InterfaceRequest { name: [0; 16], flags, rest: [0; 22] };
    let room = request.name.get_mut(..name.len()).filter(|_| name.len() < 16);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name.as_bytes());
    namespace.enter(|| {
        let file: File = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: the opcode and the type belong together: `TUNSETIFF` reads an `ifreq` of 40 bytes, which
        // `InterfaceRequest` is in size and layout.
        let setter = unsafe { Setter::<TUNSETIFF, InterfaceRequest>::new(request) };
        // SAFETY: the kernel reads the request during the call and keeps no pointer to it.
        unsafe { ioctl(&file, setter) }?;
        Ok(file.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_has_the_size_of_an_ifreq() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(core::mem::offset_of!(InterfaceRequest, flags), 16);
    }

    #[test]
    fn opcodes_are_those_of_the_kernel() {
        assert_eq!((TUNSETIFF, TUNSETOFFLOAD), (0x4004_54ca, 0x4004_54d0));
    }
}
