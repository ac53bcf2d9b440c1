//! Which queue a lane has: the choice, and one type for both.

use core::fmt;
use core::str::FromStr;

use wg_proto::Instant;

use super::fifo::Fifo;
use super::{IngressQueue, Loss, Popped, QueueConfig, Queued};
use crate::allowed_ips::PeerSlot;

/// In which order frames that wait in a lane leave it.
///
/// # Examples
///
/// ```
/// use wg_datapath::Discipline;
///
/// assert_eq!("fifo".parse(), Ok(Discipline::Fifo));
/// assert_eq!(Discipline::default().to_string(), "fq-codel");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discipline {
    /// Peers and flows take turns, those first that have little to say; who waits for long is told: [`IngressQueue`].
    #[default]
    FqCodel,
    /// As they came, within the same bounds: to see what the other is worth.
    Fifo,
}

impl Discipline {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::FqCodel, Self::Fifo];

    /// Its name, as on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FqCodel => "fq-codel",
            Self::Fifo => "fifo",
        }
    }
}

impl fmt::Display for Discipline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Discipline {
    type Err = UnknownDiscipline;

    fn from_str(name: &str) -> Result<Self, UnknownDiscipline> {
        Self::ALL.into_iter().find(|discipline| discipline.name() == name).ok_or(UnknownDiscipline)
    }
}

/// No [`Discipline`] has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDiscipline;

impl fmt::Display for UnknownDiscipline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a queue is fq-codel or fifo")
    }
}

impl core::error::Error for UnknownDiscipline {}

/// The queue of a lane.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a lane")]
pub(crate) enum LaneQueue<T> {
    FqCodel(IngressQueue<T>),
    Fifo(Fifo<T>),
}

impl<T: Queued> LaneQueue<T> {
    pub(crate) fn new(discipline: Discipline, config: QueueConfig) -> Self {
        match discipline {
            Discipline::FqCodel => Self::FqCodel(IngressQueue::new(config)),
            Discipline::Fifo => Self::Fifo(Fifo::new(config)),
        }
    }

    #[inline]
    pub(crate) fn push(
        &mut self,
        frame: T,
        peer: PeerSlot,
        flow: u32,
        now: Instant,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) {
        match self {
            Self::FqCodel(queue) => queue.push(frame, peer, flow, now, lost),
            Self::Fifo(queue) => queue.push(frame, peer, flow, now, lost),
        }
    }

    pub(crate) fn push_front(&mut self, popped: Popped<T>) -> Result<(), Popped<T>> {
        match self {
            Self::FqCodel(queue) => queue.push_front(popped),
            Self::Fifo(queue) => queue.push_front(popped),
        }
    }

    #[inline]
    pub(crate) fn pop(
        &mut self,
        now: Instant,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) -> Option<Popped<T>> {
        match self {
            Self::FqCodel(queue) => queue.pop(now, lost),
            Self::Fifo(queue) => queue.pop(),
        }
    }

    #[inline]
    pub(crate) fn pop_of(
        &mut self,
        peer: PeerSlot,
        now: Instant,
        fits: impl FnOnce(&T) -> bool,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) -> Option<Popped<T>> {
        match self {
            Self::FqCodel(queue) => queue.pop_of(peer, now, fits, lost),
            Self::Fifo(queue) => queue.pop_of(peer, fits),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::FqCodel(queue) => queue.is_full(),
            Self::Fifo(queue) => queue.is_full(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::FqCodel(queue) => queue.is_empty(),
            Self::Fifo(queue) => queue.is_empty(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::FqCodel(queue) => queue.len(),
            Self::Fifo(queue) => queue.len(),
        }
    }

    pub(crate) fn len_of(&self, peer: PeerSlot) -> usize {
        match self {
            Self::FqCodel(queue) => queue.len_of(peer),
            Self::Fifo(queue) => queue.len_of(peer),
        }
    }

    pub(crate) fn drop_peer(&mut self, peer: PeerSlot, dropped: impl FnMut(T)) {
        match self {
            Self::FqCodel(queue) => queue.drop_peer(peer, dropped),
            Self::Fifo(queue) => queue.drop_peer(peer, dropped),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::FqCodel(queue) => queue.memory_bytes(),
            Self::Fifo(queue) => queue.memory_bytes(),
        }
    }
}
