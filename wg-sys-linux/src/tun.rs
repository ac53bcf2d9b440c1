//! The TUN device: opened by name or adopted; one IP packet, or one frame of many, per read and write.
//!
//! With offloads a header goes before each frame, see `virtio_net_hdr`, and the host leaves the checksum and the split of
//! long frames to whoever is last on the way. Without, there is no header and each read gives a finished packet.
//!
//! Everything is learnt through the descriptor, so the interface may be renamed, or moved to another network namespace
//! while packets flow; see `link` for how its state is read there. A removed interface leaves a descriptor on which
//! every call says EBADFD: that is the only fatal end. While it is down, writes fail with EIO and pass again later.

mod events;
mod frame_limits;
mod ioctl;
mod link;
#[cfg(feature = "test-util")]
pub(crate) mod probe;
mod virtio_net_hdr;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wg_datapath::io::{Frame, IoError, TunIo};
use wg_datapath::offload::{Offload, SegmentationKind, TunOffloads};

use crate::downgrade::{Downgrade, Downgrades, Feature};
use crate::{Error, Offloads, ifname};
use ioctl::{IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TUN, IFF_VNET_HDR, TUN_F_CSUM, TUN_F_TSO, TUN_F_USO};
use link::LinkQuery;

pub use events::{TunEvent, TunEvents};
pub use link::Link;

const DEVICE: &str = "/dev/net/tun";
const MAKE: &str = "make the TUN interface";

/// A TUN interface of this process, or one queue of it. It is removed when all its queues and [`TunEvents`] are dropped,
/// unless it was made persistent.
///
/// The descriptor never blocks. Poll it for reading through [`AsFd`].
#[derive(Debug)]
pub struct Tun {
    fd: Arc<OwnedFd>,
    query: LinkQuery,
    /// Whether a `virtio_net_hdr` goes before each frame.
    header: bool,
    offloads: TunOffloads,
    downgrades: Downgrades,
    /// The interface was down at the last refused write, and no write has passed since.
    seen_down: bool,
}

impl Tun {
    /// Opens the interface `name`, which is made if there is none; the kernel replaces "%d" by a free number.
    ///
    /// There are no offloads: each [`read`](TunIo::read) gives one finished packet.
    ///
    /// # Errors
    ///
    /// `/dev/net/tun` is missing, the privilege (`CAP_NET_ADMIN`) is, or the interface is in use (EBUSY).
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::open_with(name, Offloads::NONE)
    }

    /// Opens the interface `name` with those of the offloads that the kernel has. It is then read by
    /// [`read_frame`](TunIo::read_frame).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(name: &str, offloads: Offloads) -> Result<Self, Error> {
        ifname::check(name)?;
        let mut tun = Self::attach(name, 0, offloads)?;
        tun.set_offloads(offloads);
        Ok(tun)
    }

    /// Opens the interface `name` with `count` queues, at least one. The kernel spreads the flows over them, and sends a flow
    /// to the queue that last wrote a packet of its other direction.
    ///
    /// An interface of several queues lets further descriptors join where others would say EBUSY. So one that has any is
    /// refused with EBUSY here; a program that does not want several queues itself is refused by the kernel, with EINVAL.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with); also an interface of that name exists that was made without several queues (EINVAL).
    pub fn open_queues(name: &str, count: usize, offloads: Offloads) -> Result<Vec<Self>, Error> {
        if count <= 1 {
            return Self::open_with(name, offloads).map(|tun| vec![tun]);
        }
        ifname::check(name)?;
        let error = Error::during(MAKE);
        // To join, be it for a moment, would take packets from those who have it.
        if LinkQuery::open().map_err(&error)?.queues(name).is_some_and(|queues| queues > 0) {
            return Err(error(Errno::BUSY));
        }
        let mut first = Self::attach(name, IFF_MULTI_QUEUE, offloads)?;
        let name = ioctl::attached(&first).map_err(&error)?.name;
        // Of two programs that come at the same time at most one finds itself alone.
        if first.query.queues(&name) != Some(1) {
            return Err(error(Errno::BUSY));
        }
        let mut queues = vec![first];
        while queues.len() < count {
            queues.push(Self::attach(&name, IFF_MULTI_QUEUE, offloads)?);
        }
        for queue in &mut queues {
            queue.set_offloads(offloads);
        }
        Ok(queues)
    }

    /// Adopts an open TUN descriptor, such as one from `WG_TUN_FD`, and makes it non-blocking. There are no offloads.
    ///
    /// # Errors
    ///
    /// It is not attached to a TUN interface, or expects a protocol number in front of each packet (EINVAL).
    pub fn adopt(fd: OwnedFd) -> Result<Self, Error> {
        Self::adopt_with(fd, Offloads::NONE)
    }

    /// Adopts an open TUN descriptor as [`adopt`](Self::adopt) does, with those of the offloads that the kernel has. There
    /// are none if it was not opened for them, with `IFF_VNET_HDR`.
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_with(fd: OwnedFd, offloads: Offloads) -> Result<Self, Error> {
        let error = Error::during("adopt the TUN descriptor");
        let attached = ioctl::attached(&fd).map_err(&error)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(&error)?;
        let mut tun = Self::with(fd, attached.flags & IFF_VNET_HDR != 0).map_err(&error)?;
        let information = tun.query.has_packet_information(tun.fd.as_fd()).map_err(&error)?;
        if information || attached.flags & IFF_TUN == 0 {
            return Err(error(Errno::INVAL));
        }
        tun.set_offloads(offloads);
        Ok(tun)
    }

    fn attach(name: &str, flags: u16, offloads: Offloads) -> Result<Self, Error> {
        let open = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(DEVICE, open, Mode::empty()).map_err(Error::during("open /dev/net/tun"))?;
        let header = offloads.tun_checksum;
        let flags = flags | IFF_TUN | IFF_NO_PI | if header { IFF_VNET_HDR } else { 0 };
        ioctl::attach(&fd, name, flags).map_err(Error::during(MAKE))?;
        Self::with(fd, header).map_err(Error::during(MAKE))
    }

    fn with(fd: OwnedFd, header: bool) -> Result<Self, Errno> {
        if header {
            ioctl::set_header(&fd, virtio_net_hdr::LEN)?;
        }
        Ok(Self {
            fd: Arc::new(fd),
            query: LinkQuery::open()?,
            header,
            offloads: TunOffloads::default(),
            downgrades: Downgrades::default(),
            seen_down: false,
        })
    }

    /// Asks for offloads, and for fewer where the kernel does not have all.
    fn set_offloads(&mut self, wanted: Offloads) {
        if !self.header {
            return;
        }
        let tso = if wanted.tun_tso { TUN_F_TSO } else { 0 };
        let uso = if wanted.tun_uso { TUN_F_USO } else { 0 };
        let levels: &[u32] =
            if wanted.tun_checksum { &[TUN_F_CSUM | tso | uso, TUN_F_CSUM | tso, 0] } else { &[0] };
        let taken = levels.iter().find(|&&flags| set_offload(&self.fd, flags).is_ok()).copied().unwrap_or(0);
        let has = |flags| taken & flags != 0;
        self.offloads = TunOffloads {
            checksum: has(TUN_F_CSUM),
            tcp4: has(TUN_F_TSO),
            tcp6: has(TUN_F_TSO),
            udp4: has(TUN_F_USO),
            udp6: has(TUN_F_USO),
        };
    }

    /// Takes the next news of an offload that was switched off because the kernel refused a frame; [`TunIo::offloads`]
    /// knows of it already.
    pub fn take_downgrade(&mut self) -> Option<Downgrade> {
        self.downgrades.take()
    }

    /// Limits the frames that come from the interface so that those of TCP at an MTU of `mtu`, each packet in a datagram of
    /// `overhead` bytes more, fit into one UDP send.
    ///
    /// A longer frame, such as a forwarded one of 64 KiB or a UDP send into many long datagrams, is then split by the kernel
    /// before it is read, which costs far more than a second send. So this is for hosts where TCP ends, not for routers.
    ///
    /// # Errors
    ///
    /// The kernel does not let the limits be set. In another namespace `CAP_SYS_ADMIN` is needed.
    pub fn limit_frames(&mut self, mtu: u32, overhead: u32) -> Result<(), Error> {
        let limits = frame_limits::FrameLimits::new(mtu, overhead);
        self.query
            .set_frame_limits(self.fd.as_fd(), limits.v4, limits.v6)
            .map_err(Error::during("limit the frames of the TUN interface"))
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

    /// Reads header and frame and returns the length of the frame.
    fn read_behind_header(&self, buffers: [&mut [u8]; 2]) -> Result<Frame, IoError> {
        let mut header = [0; virtio_net_hdr::LEN];
        let [first, second] = buffers;
        let mut vectors = [IoSliceMut::new(&mut header), IoSliceMut::new(first), IoSliceMut::new(second)];
        let len = again(|| rustix::io::readv(&*self.fd, &mut vectors))?;
        let invalid = IoError::Transient(libc::EINVAL);
        let len = len.checked_sub(virtio_net_hdr::LEN).ok_or(invalid)?;
        let offload = virtio_net_hdr::decode(&header).ok_or(invalid)?;
        Ok(Frame { len, offload })
    }

    fn write_behind_header(
        &self,
        frame: &[u8],
        offload: Offload,
        needs: Option<Feature>,
    ) -> Result<(), Errno> {
        let header = virtio_net_hdr::encode(frame, offload).ok_or(Errno::INVAL)?;
        #[cfg(any(test, feature = "test-util"))]
        crate::fault::frame(needs)?;
        let _ = needs;
        loop {
            match rustix::io::writev(&*self.fd, &[IoSlice::new(&header), IoSlice::new(frame)]) {
                Err(Errno::INTR) => {}
                written => return written.map(|_| ()),
            }
        }
    }

    /// Switches off what a frame needs that was refused, if that is why it was.
    fn after_refused(&mut self, needs: Feature, error: Errno) {
        let at_fault = match error {
            Errno::INVAL => true,
            // What a write says while the interface is down. Asking is not cheap: once until a write passes again.
            Errno::IO if !self.seen_down => {
                let up = self.query.read(self.fd.as_fd()).is_ok_and(|link| link.up);
                self.seen_down = !up;
                up
            }
            _ => false,
        };
        if at_fault {
            switch_off(&mut self.offloads, needs);
            self.downgrades.push(needs, error.raw_os_error());
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TunIo for Tun {
    /// A frame that is no finished packet is lost, with EINVAL: with offloads, use [`read_frame`](TunIo::read_frame).
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        if !self.header {
            return again(|| rustix::io::read(&*self.fd, &mut *buf));
        }
        let frame = self.read_behind_header([buf, &mut []])?;
        if frame.offload == Offload::default() {
            Ok(frame.len)
        } else {
            Err(IoError::Transient(libc::EINVAL))
        }
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        if self.header {
            return self.write_frame(packet, Offload::default());
        }
        #[cfg(any(test, feature = "test-util"))]
        crate::fault::frame(None).map_err(kind_of)?;
        again(|| rustix::io::write(&*self.fd, packet)).map(|_| ())
    }

    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<Frame, IoError> {
        let cut = small.len().min(large.len());
        let (start, tail) = large.split_at_mut(cut);
        let frame = if self.header {
            self.read_behind_header([&mut *small, tail])?
        } else {
            let mut vectors = [IoSliceMut::new(&mut *small), IoSliceMut::new(tail)];
            let len = again(|| rustix::io::readv(&*self.fd, &mut vectors))?;
            Frame { len, offload: Offload::default() }
        };
        // One that fills `small` may have been longer, as far as that buffer can tell: it stands in both.
        if frame.len >= small.len() {
            start.copy_from_slice(small.get(..cut).unwrap_or_default());
        }
        Ok(frame)
    }

    fn write_frame(&mut self, frame: &[u8], offload: Offload) -> Result<(), IoError> {
        let needs = needs(frame, offload);
        if !needs.is_none_or(|feature| is_on(&self.offloads, feature)) {
            return Err(IoError::Transient(libc::EINVAL));
        }
        if !self.header {
            return self.write(frame);
        }
        match self.write_behind_header(frame, offload, needs) {
            Ok(()) => {
                self.seen_down = false;
                Ok(())
            }
            Err(error) => {
                if let Some(feature) = needs {
                    self.after_refused(feature, error);
                }
                Err(kind_of(error))
            }
        }
    }

    /// As a [`Poller`](crate::Poller) does.
    fn is_told_by_level(&self) -> bool {
        true
    }

    fn offloads(&self) -> TunOffloads {
        self.offloads
    }
}

/// Calls until the call is not interrupted.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, IoError> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result.map_err(kind_of),
        }
    }
}

fn set_offload(fd: &OwnedFd, flags: u32) -> Result<(), Errno> {
    #[cfg(any(test, feature = "test-util"))]
    if flags & TUN_F_USO != 0 {
        crate::fault::option(|refusals| refusals.tun_uso)?;
    }
    ioctl::set_offload(fd, flags)
}

/// What a frame needs of the kernel; `None` for a packet.
fn needs(frame: &[u8], offload: Offload) -> Option<Feature> {
    let Some(segmentation) = offload.segmentation else {
        return offload.checksum.map(|_| Feature::TunChecksum);
    };
    let is_v4 = frame.first().is_some_and(|byte| byte >> 4 == 4);
    Some(match segmentation.kind {
        SegmentationKind::Tcp4 => Feature::TunTcp4,
        SegmentationKind::Tcp6 => Feature::TunTcp6,
        SegmentationKind::Udp if is_v4 => Feature::TunUdp4,
        SegmentationKind::Udp => Feature::TunUdp6,
    })
}

const fn is_on(offloads: &TunOffloads, feature: Feature) -> bool {
    match feature {
        Feature::TunChecksum => offloads.checksum,
        Feature::TunTcp4 => offloads.tcp4,
        Feature::TunTcp6 => offloads.tcp6,
        Feature::TunUdp4 => offloads.udp4,
        Feature::TunUdp6 => offloads.udp6,
        _ => false,
    }
}

fn switch_off(offloads: &mut TunOffloads, feature: Feature) {
    match feature {
        Feature::TunTcp4 => offloads.tcp4 = false,
        Feature::TunTcp6 => offloads.tcp6 = false,
        Feature::TunUdp4 => offloads.udp4 = false,
        Feature::TunUdp6 => offloads.udp6 = false,
        // The others need it.
        _ => *offloads = TunOffloads::default(),
    }
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
mod tests;
