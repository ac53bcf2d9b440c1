//! Socket options and requests that neither rustix nor socket2 offers, each kind through one wrapper.
#![expect(unsafe_code, reason = "setsockopt and ioctl through libc")]

use core::ffi::c_int;
use core::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::udp::Instruction;

/// `SO_ATTACH_REUSEPORT_CBPF`, not in libc for every architecture.
const SO_ATTACH_REUSEPORT_CBPF: c_int = 51;

/// Sets an option whose value is a C `int`. The caller names an option of that type.
pub(crate) fn set_int(fd: impl AsFd, level: c_int, option: c_int, value: c_int) -> Result<(), Errno> {
    #[expect(clippy::cast_possible_truncation, reason = "the size of an int")]
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `fd` is open for the length of the call, and the kernel reads at most `len` bytes from `value`, which is
    // that long and outlives the call. No option makes the kernel keep the pointer.
    let result =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Has a program of classic BPF choose between the sockets that share a port with this one.
pub(crate) fn attach_reuseport_program(fd: impl AsFd, program: &[Instruction]) -> Result<(), Errno> {
    // It has the layout of the kernel's own.
    const _: () = assert!(
        size_of::<Instruction>() == size_of::<libc::sock_filter>()
            && align_of::<Instruction>() >= align_of::<libc::sock_filter>()
    );
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "16 bytes")]
    let len = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: `fd` is open for the length of the call. The kernel reads a `sock_fprog` and the `len` instructions it points
    // to, all of which outlive the call, and copies them; it writes nothing.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            len,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Returns how many bytes a socket holds that have not left the machine (`SIOCOUTQ`): what the packets occupy in memory.
pub(crate) fn unsent(fd: impl AsFd) -> Result<usize, Errno> {
    let mut bytes: c_int = 0;
    // SAFETY: `fd` is open for the length of the call, and the kernel writes one C int to `bytes`, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(last_errno()) }
}

/// The error of the last libc call on this thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
