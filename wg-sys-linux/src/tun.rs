//! The TUN device: opened by name or adopted, one IP packet per read and write, no header in front.
//!
//! Everything is learnt through the descriptor, so the interface may be renamed, or moved to another network namespace
//! while packets flow; see `link` for how its state is read there. A removed interface leaves a descriptor on which
//! every call says EBADFD: that is the only fatal end. While it is down, writes fail with EIO and pass again later.

mod events;
mod ioctl;
mod link;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wg_datapath::io::{IoError, TunIo};

use crate::{Error, ifname};
use ioctl::{IFF_NO_PI, IFF_TUN, IFF_VNET_HDR};
use link::LinkQuery;

pub use events::{TunEvent, TunEvents};
pub use link::Link;

const DEVICE: &str = "/dev/net/tun";

/// A TUN interface of this process. It is removed when this and all its [`TunEvents`] are dropped, unless it was made
/// persistent.
///
/// The descriptor never blocks. Poll it for reading through [`AsFd`].
#[derive(Debug)]
pub struct Tun {
    fd: Arc<OwnedFd>,
    query: LinkQuery,
}

impl Tun {
    /// Opens the interface `name`, which is made if there is none; the kernel replaces "%d" by a free number.
    ///
    /// # Errors
    ///
    /// `/dev/net/tun` is missing, the privilege (`CAP_NET_ADMIN`) is, or the interface is in use (EBUSY).
    pub fn open(name: &str) -> Result<Self, Error> {
        ifname::check(name)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd =
            rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(Error::during("open /dev/net/tun"))?;
        ioctl::attach(&fd, name, IFF_TUN | IFF_NO_PI).map_err(Error::during("make the TUN interface"))?;
        Self::with(fd)
    }

    /// Adopts an open TUN descriptor, such as one from `WG_TUN_FD`, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// It is not attached to a TUN interface, or expects a header in front of each packet (EINVAL).
    pub fn adopt(fd: OwnedFd) -> Result<Self, Error> {
        const OPERATION: &str = "adopt the TUN descriptor";
        let attached = ioctl::attached(&fd).map_err(Error::during(OPERATION))?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(Error::during(OPERATION))?;
        let mut tun = Self::with(fd)?;
        let information =
            tun.query.has_packet_information(tun.fd.as_fd()).map_err(Error::during(OPERATION))?;
        if information || !is_plain_tun(attached.flags) {
            return Err(Error::new(OPERATION, Errno::INVAL));
        }
        Ok(tun)
    }

    fn with(fd: OwnedFd) -> Result<Self, Error> {
        let query = LinkQuery::open().map_err(Error::during("open a routing socket"))?;
        Ok(Self { fd: Arc::new(fd), query })
    }

    /// Returns the name the interface has now.
    ///
    /// # Errors
    ///
    /// It has been removed (EBADFD).
    pub fn name(&self) -> Result<String, Error> {
        Ok(ioctl::attached(&*self.fd).map_err(Error::during("read the name of the TUN interface"))?.name)
    }

    /// Reads whether the interface is up, and its MTU.
    ///
    /// # Errors
    ///
    /// It has been removed (EBADFD), or is in a namespace this process has no rights in.
    pub fn link(&mut self) -> Result<Link, Error> {
        self.query.read(self.fd.as_fd()).map_err(Error::during("read the state of the TUN interface"))
    }

    /// Sets the MTU.
    ///
    /// # Errors
    ///
    /// The kernel takes 68 to 65,535. In another namespace `CAP_SYS_ADMIN` is needed.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<(), Error> {
        self.query.set_mtu(self.fd.as_fd(), mtu).map_err(Error::during("set the MTU of the TUN interface"))
    }

    /// Starts to tell what happens to the interface.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn events(&self) -> Result<TunEvents, Error> {
        TunEvents::open(Arc::clone(&self.fd)).map_err(Error::during("watch the TUN interface"))
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TunIo for Tun {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        loop {
            match rustix::io::read(&*self.fd, &mut *buf) {
                Ok(len) => return Ok(len),
                Err(Errno::INTR) => {}
                Err(error) => return Err(kind_of(error)),
            }
        }
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        loop {
            match rustix::io::write(&*self.fd, packet) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(kind_of(error)),
            }
        }
    }
}

/// Whether it is a TUN rather than a TAP, without the header of offloads.
const fn is_plain_tun(flags: u16) -> bool {
    flags & (IFF_TUN | IFF_VNET_HDR) == IFF_TUN
}

/// Sorts an error of the TUN by what to do about it. Whatever is not known to be the end is transient.
///
/// | error | meaning |
/// |---|---|
/// | EAGAIN | nothing to read; no room to write |
/// | EBADFD | the interface has been removed |
/// | EBADF, ENODEV, ENXIO | the descriptor is no (longer a) device |
/// | EIO | the interface is down |
/// | EINVAL | not an IP packet, or longer than the kernel takes |
/// | ENOMEM, ENOBUFS | the kernel is out of memory |
/// | EFAULT | the interface is being removed; the next call says EBADFD |
fn kind_of(error: Errno) -> IoError {
    let errno = error.raw_os_error();
    match error {
        Errno::AGAIN => IoError::WouldBlock,
        Errno::BADFD | Errno::BADF | Errno::NODEV | Errno::NXIO => IoError::Fatal(errno),
        _ => IoError::Transient(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_device_is_fatal() {
        let transient = [Errno::IO, Errno::INVAL, Errno::NOMEM, Errno::NOBUFS, Errno::FAULT, Errno::PERM];
        for error in transient {
            assert_eq!(kind_of(error), IoError::Transient(error.raw_os_error()));
        }
        for error in [Errno::BADFD, Errno::BADF, Errno::NODEV, Errno::NXIO] {
            assert_eq!(kind_of(error), IoError::Fatal(error.raw_os_error()));
        }
        assert_eq!(kind_of(Errno::AGAIN), IoError::WouldBlock);
    }

    #[test]
    fn taps_and_offload_headers_are_refused() {
        assert!(is_plain_tun(IFF_TUN) && is_plain_tun(IFF_TUN | IFF_NO_PI));
        for flags in [IFF_NO_PI, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 2 | IFF_NO_PI] {
            assert!(!is_plain_tun(flags), "{flags:#x}");
        }
    }

    #[test]
    fn descriptors_that_are_no_tun_are_not_adopted() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(Tun::adopt(null.into()).is_err());
        assert!(Tun::open("a/b").is_err());
    }
}
