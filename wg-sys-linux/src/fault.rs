//! The kernel made to refuse what it takes, for tests of what happens then. No part of the interface.
//!
//! What is refused is set for one thread, and asked about at the system call itself.

use core::cell::Cell;
use core::marker::PhantomData;

use rustix::io::Errno;

use crate::Feature;

/// What to refuse, each with an error number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// UDP sends into more than this many datagrams.
    pub segments_above: Option<(usize, i32)>,
    /// UDP sends into several datagrams that are longer than this.
    pub segment_size_above: Option<(usize, i32)>,
    /// All UDP sends while this many are still to be refused.
    pub sends: Option<(usize, i32)>,
    /// UDP sends after this many datagrams of one call, as if the rest of it came later.
    pub take_messages: Option<usize>,
    /// All writes to a TUN while this many are still to be refused.
    pub writes: Option<(usize, i32)>,
    /// Frames written to a TUN that need this.
    pub frames: Option<(Feature, i32)>,
    /// The socket option for UDP segmentation.
    pub udp_segment: Option<i32>,
    /// The socket option for UDP receive offload.
    pub udp_gro: Option<i32>,
    /// Segmentation of UDP by a TUN that is opened.
    pub tun_uso: Option<i32>,
}

thread_local! {
    static REFUSALS: Cell<Refusals> = const { Cell::new(Refusals {
        segments_above: None,
        segment_size_above: None,
        sends: None,
        take_messages: None,
        writes: None,
        frames: None,
        udp_segment: None,
        udp_gro: None,
        tun_uso: None,
    }) };
}

/// Ends the refusals when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Refusing {
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Refusing {
    fn drop(&mut self) {
        REFUSALS.set(Refusals::default());
    }
}

/// Has the kernel refuse things on this thread, until the returned value is dropped.
pub fn refuse(refusals: Refusals) -> Refusing {
    REFUSALS.set(refusals);
    Refusing { thread: PhantomData }
}

/// How many messages of one send call the kernel gets to see, or the error it gives. Each is the number of its datagrams
/// and the length of the first.
pub(crate) fn messages_taken(messages: impl Iterator<Item = (usize, usize)>) -> Result<usize, Errno> {
    let mut refusals = REFUSALS.get();
    if let Some((left @ 1.., errno)) = refusals.sends {
        refusals.sends = Some((left - 1, errno));
        REFUSALS.set(refusals);
        return Err(Errno::from_raw_os_error(errno));
    }
    let mut taken = 0;
    for (segments, size) in messages.take(refusals.take_messages.unwrap_or(usize::MAX)) {
        let above = |limit: Option<(usize, i32)>, value| limit.filter(|&(limit, _)| value > limit);
        let refused = above(refusals.segments_above, segments)
            .or_else(|| above(refusals.segment_size_above, size).filter(|_| segments > 1));
        match refused {
            Some((_, errno)) if taken == 0 => return Err(Errno::from_raw_os_error(errno)),
            Some(_) => break,
            None => taken += 1,
        }
    }
    Ok(taken)
}

/// Whether a frame that needs `feature`, or a packet, which needs nothing, is refused.
pub(crate) fn frame(feature: Option<Feature>) -> Result<(), Errno> {
    let mut refusals = REFUSALS.get();
    if let Some((left @ 1.., errno)) = refusals.writes {
        refusals.writes = Some((left - 1, errno));
        REFUSALS.set(refusals);
        return Err(Errno::from_raw_os_error(errno));
    }
    match refusals.frames {
        Some((refused, errno)) if feature == Some(refused) => Err(Errno::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// Whether one of the options is refused.
pub(crate) fn option(which: impl Fn(&Refusals) -> Option<i32>) -> Result<(), Errno> {
    which(&REFUSALS.get()).map_or(Ok(()), |errno| Err(Errno::from_raw_os_error(errno)))
}

#[cfg(test)]
mod tests;
