//! Homes: which of several devices a peer belongs to.
//!
//! Each core that moves packets has a device and a lane of its own. A peer is at home in one of the devices, and everything
//! that changes with its packets is there alone: `Control`, `Sessions`, staged packets, deadlines, counters. The other devices
//! know no more of it than slot, key, allowed IPs and home.
//!
//! ```text
//!   device 0: peers 0, 2, 4 ..            device 1: peers 1, 3, 5 ..
//!     keys and allowed IPs of all           keys and allowed IPs of all
//! ```
//!
//! So no packet writes to what another core reads, and none needs a message to another core but the frame itself, where the
//! kernel gave it to the wrong TUN queue, see `exchange`. Timers are exact, as each device has those of its own peers. One
//! device alone is the same code with nothing foreign in it.
//!
//! All devices are configured alike, in the same order, so that a handle is the same in all of them and each can tell by
//! itself where a new peer will be: where there are the fewest. It stays there until [`rehome`](crate::rehome) moves it. Session
//! indices are drawn until their datagrams come to the sockets of the home. Initiations have none: they come to home 0, see `device::handover`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use wg_proto::SessionIndex;

/// The number of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HomeId(u8);

impl HomeId {
    /// The most homes there may be.
    pub const MOST: usize = 256;

    /// Makes the number of a home.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Returns the number, to be used as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn from_index(index: usize) -> Self {
        Self(u8::try_from(index).unwrap_or(u8::MAX))
    }
}

/// Which session indices belong to a home: those with which the sockets of the home are reached.
pub(crate) struct IndexFilter(Option<Box<dyn Fn(SessionIndex) -> bool + Send>>);

impl IndexFilter {
    /// All of them.
    pub(crate) const ALL: Self = Self(None);

    pub(crate) fn new(accepts: impl Fn(SessionIndex) -> bool + Send + 'static) -> Self {
        Self(Some(Box::new(accepts)))
    }

    pub(crate) fn accepts(&self, index: SessionIndex) -> bool {
        self.0.as_ref().is_none_or(|accepts| accepts(index))
    }
}

impl fmt::Debug for IndexFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "IndexFilter(some)" } else { "IndexFilter(all)" })
    }
}

/// Where the datagrams of a session index come to.
#[derive(Clone, Default)]
pub(crate) struct HomeOf(Option<Arc<dyn Fn(SessionIndex) -> HomeId + Send + Sync>>);

impl HomeOf {
    pub(crate) fn new(of: impl Fn(SessionIndex) -> HomeId + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(of)))
    }

    pub(crate) fn find(&self, index: SessionIndex) -> Option<HomeId> {
        self.0.as_ref().map(|of| of(index))
    }
}

impl fmt::Debug for HomeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HomeOf").finish_non_exhaustive()
    }
}
