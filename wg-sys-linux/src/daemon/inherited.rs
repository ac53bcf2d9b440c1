//! Descriptors handed over by number in the environment: `WG_TUN_FD`, `WG_UAPI_FD` (U2).
#![expect(unsafe_code, reason = "an inherited descriptor is known only by its number")]

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::Error;
use crate::sockopt::last_errno;

/// Takes ownership of the descriptor whose number stands in the environment variable `variable`.
///
/// Returns `None` if the variable is not set. A descriptor can be taken once: it is made close-on-exec, and one that
/// is close-on-exec was not inherited.
///
/// # Errors
///
/// The value is not a number above 2, or names no inherited descriptor.
pub fn inherited_fd(variable: &str) -> Result<Option<OwnedFd>, Error> {
    let Some(value) = env::var_os(variable) else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|&fd: &RawFd| fd > 2);
    let Some(fd) = number else {
        return Err(Error::new("use the inherited descriptor's number", io::ErrorKind::InvalidInput));
    };
    adopt(fd).map(Some).map_err(Error::during("adopt the inherited descriptor"))
}

/// Takes ownership of an open descriptor that came through `exec`.
fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer and is harmless on any number.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 {
        return Err(last_errno().into());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: F_SETFD takes an integer, no pointer; the descriptor was just seen to be open.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(last_errno().into());
    }
    // SAFETY: `fd` is open and nobody in this process owns it. It was not close-on-exec a moment ago, whereas std, rustix
    // and this crate open everything close-on-exec: so it came through `exec`, from whoever set the environment variable
    // to hand it over. Marking it close-on-exec is what keeps a second call from taking it again.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    #[test]
    fn descriptor_of_this_process_is_not_taken() {
        let own = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(adopt(own.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn inherited_descriptor_is_taken_once() {
        // Without the close-on-exec flag it looks as if it had come through exec.
        let own = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&own, rustix::io::FdFlags::empty()).unwrap();
        let number = own.into_raw_fd();
        let adopted = adopt(number).unwrap();
        assert_eq!(adopted.as_raw_fd(), number);
        assert!(adopt(number).is_err(), "it is owned now");
    }

    #[test]
    fn closed_number_is_an_error() {
        assert_eq!(adopt(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn unset_variable_is_no_descriptor() {
        assert!(inherited_fd("WG_SYS_LINUX_NO_SUCH_VARIABLE").unwrap().is_none());
    }
}
