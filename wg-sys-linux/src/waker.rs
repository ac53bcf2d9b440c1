//! A bell that any thread may ring to wake a poll loop: an eventfd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::Error;

/// Wakes the loop that polls it, from any thread. Clones ring the same bell.
///
/// Rings before the loop looks are merged into one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Makes a bell that has not been rung.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn new() -> Result<Self, Error> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::during("make an eventfd"))?;
        Ok(Self(Arc::new(fd)))
    }

    /// Rings: the descriptor is readable until [`clear`](Self::clear).
    pub fn wake(&self) {
        // The only possible failure is a counter at its maximum, and then the bell is ringing already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Silences the bell and tells whether it had been rung. Look for work after this call, not before it.
    pub fn clear(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&*self.0, &mut count).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_merge_and_clear_once() {
        let bell = Waker::new().unwrap();
        assert!(!bell.clear());
        let other = bell.clone();
        std::thread::spawn(move || {
            other.wake();
            other.wake();
        })
        .join()
        .unwrap();
        assert!(bell.clear());
        assert!(!bell.clear());
    }
}
