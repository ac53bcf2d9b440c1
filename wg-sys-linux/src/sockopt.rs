//! Socket options and requests that neither rustix nor socket2 offers, each kind through one wrapper.
#![expect(unsafe_code, reason = "setsockopt and ioctl through libc")]

use core::ffi::c_int;
use core::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

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
