//! The ioctls of a TUN: attach, read name and flags, set what goes before a frame and what is left to whoever reads it,
//! and find the namespace of a device or of a socket.
#![expect(unsafe_code, reason = "ioctl: the kernel writes through pointers")]

use core::ffi::c_void;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, Updater, ioctl, opcode};

/// Attaches the descriptor to an interface and fills in its name.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
/// Reads name and flags of the interface.
const TUNGETIFF: Opcode = opcode::read::<u32>(b'T', 210);
/// Sets what may be left to be done with frames that are read: a number, no pointer.
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
/// Sets the length of the `virtio_net_hdr`.
const TUNSETVNETHDRSZ: Opcode = opcode::write::<i32>(b'T', 216);
/// Sets whether its numbers are little-endian.
const TUNSETVNETLE: Opcode = opcode::write::<i32>(b'T', 220);
/// Opens the network namespace the interface is in now (Linux 4.20).
const TUNGETDEVNETNS: Opcode = opcode::none(b'T', 227);
/// Opens the network namespace of a socket.
const SIOCGSKNS: Opcode = 0x894c;

/// A TUN rather than a TAP.
pub(super) const IFF_TUN: u16 = 0x0001;
/// Several descriptors may be attached, each a queue.
pub(super) const IFF_MULTI_QUEUE: u16 = 0x0100;
/// No four-byte header before each packet.
pub(super) const IFF_NO_PI: u16 = 0x1000;
/// A `virtio_net_hdr` before each packet.
pub(super) const IFF_VNET_HDR: u16 = 0x4000;

/// Checksums may be left to be completed. The others need it.
pub(super) const TUN_F_CSUM: u32 = 0x01;
/// TCP may come unsplit, also with the bit that stands for ECN.
pub(super) const TUN_F_TSO: u32 = 0x02 | 0x04 | 0x08;
/// UDP may come unsplit (Linux 6.2).
pub(super) const TUN_F_USO: u32 = 0x20 | 0x40;

/// `struct ifreq` as far as a TUN needs it: a zero-padded name, flags, and the rest of the union.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

// The kernel copies `sizeof(struct ifreq)` bytes, 40 or 32; never more than stand here.
const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());

/// The name and flags of an attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) flags: u16,
}

impl From<InterfaceRequest> for Attached {
    fn from(request: InterfaceRequest) -> Self {
        let name = request.name.split(|&byte| byte == 0).next().unwrap_or_default();
        Self { name: String::from_utf8_lossy(name).into_owned(), flags: request.flags }
    }
}

/// Attaches a descriptor of `/dev/net/tun` to the interface `name`, at most 15 bytes, which is made if there is none.
pub(super) fn attach(fd: impl AsFd, name: &str, flags: u16) -> Result<(), Errno> {
    let mut request = InterfaceRequest { flags, ..InterfaceRequest::default() };
    let room = request.name.len() - 1;
    request
        .name
        .get_mut(..room)
        .and_then(|room| room.get_mut(..name.len()))
        .ok_or(Errno::NAMETOOLONG)?
        .copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, which it reads and writes; `InterfaceRequest` has its layout
    // and at least its size, and any bytes are a valid value of it.
    let call = unsafe { Updater::<TUNSETIFF, _>::new(&mut request) };
    // SAFETY: the pointer inside `call` is valid and exclusive for the length of the call; on a descriptor that is no TUN
    // this number is refused.
    unsafe { ioctl(fd, call) }
}

/// Reads the name and flags of the interface; EBADFD if it has been removed.
pub(super) fn attached(fd: impl AsFd) -> Result<Attached, Errno> {
    let mut request = InterfaceRequest::default();
    // SAFETY: TUNGETIFF writes a `struct ifreq` (whatever the size in its number says), as in `attach`.
    let call = unsafe { Updater::<TUNGETIFF, _>::new(&mut request) };
    // SAFETY: the pointer inside `call` is valid and exclusive for the length of the call.
    unsafe { ioctl(fd, call) }?;
    Ok(Attached::from(request))
}

/// Sets the length of the header before each frame to `len`, and its numbers to little-endian.
pub(super) fn set_header(fd: impl AsFd, len: usize) -> Result<(), Errno> {
    let len = i32::try_from(len).map_err(|_| Errno::INVAL)?;
    // SAFETY: TUNSETVNETHDRSZ reads a C int.
    let size = unsafe { Setter::<TUNSETVNETHDRSZ, i32>::new(len) };
    // SAFETY: the pointer inside `size` is valid for the length of the call.
    unsafe { ioctl(&fd, size) }?;
    // SAFETY: TUNSETVNETLE reads a C int.
    let little = unsafe { Setter::<TUNSETVNETLE, i32>::new(1) };
    // SAFETY: the pointer inside `little` is valid for the length of the call.
    unsafe { ioctl(&fd, little) }
}

/// Sets what may be left to be done with frames that are read; EINVAL if the kernel does not know all of it.
pub(super) fn set_offload(fd: impl AsFd, flags: u32) -> Result<(), Errno> {
    let flags = usize::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: TUNSETOFFLOAD takes its argument as a number and follows no pointer.
    let call = unsafe { IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags) };
    // SAFETY: the call reads and writes no memory of this process.
    unsafe { ioctl(fd, call) }
}

/// An ioctl without argument that returns a new descriptor.
struct OpenNamespace(Opcode);

// SAFETY: both numbers this is made with take no argument (the null pointer is not read), change no memory, and return a
// new descriptor that belongs to the caller.
unsafe impl Ioctl for OpenNamespace {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        core::ptr::null_mut()
    }

    // SAFETY: the caller promises that `output` is what the kernel returned for `opcode`: a new descriptor.
    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<OwnedFd, Errno> {
        let fd: RawFd = output;
        // SAFETY: the kernel has just opened this descriptor for us; nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Opens the network namespace the interface is in now. Needs `CAP_NET_ADMIN` there.
pub(super) fn device_namespace(tun: impl AsFd) -> Result<OwnedFd, Errno> {
    // SAFETY: see `OpenNamespace`; TUNGETDEVNETNS returns a descriptor.
    unsafe { ioctl(tun, OpenNamespace(TUNGETDEVNETNS)) }
}

/// Opens the network namespace of a socket. Needs `CAP_NET_ADMIN` there.
pub(super) fn socket_namespace(socket: impl AsFd) -> Result<OwnedFd, Errno> {
    // SAFETY: see `OpenNamespace`; SIOCGSKNS returns a descriptor.
    unsafe { ioctl(socket, OpenNamespace(SIOCGSKNS)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel_headers() {
        assert_eq!(TUNSETIFF, 0x4004_54ca);
        assert_eq!(TUNGETIFF, 0x8004_54d2);
        assert_eq!(TUNGETDEVNETNS, 0x54e3);
        assert_eq!(TUNSETOFFLOAD, 0x4004_54d0);
        assert_eq!(TUNSETVNETHDRSZ, 0x4004_54d8);
        assert_eq!(TUNSETVNETLE, 0x4004_54dc);
    }

    #[test]
    fn other_descriptors_are_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(attached(&null), Err(Errno::NOTTY));
        assert_eq!(attach(&null, "wg0", IFF_TUN), Err(Errno::NOTTY));
        assert_eq!(set_header(&null, 10), Err(Errno::NOTTY));
        assert_eq!(set_offload(&null, TUN_F_CSUM), Err(Errno::NOTTY));
        assert!(device_namespace(&null).is_err());
        assert!(socket_namespace(&null).is_err());
    }

    #[test]
    fn name_that_leaves_no_room_for_its_end_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(attach(&null, "sixteen_bytes_xx", IFF_TUN), Err(Errno::NAMETOOLONG));
    }
}
