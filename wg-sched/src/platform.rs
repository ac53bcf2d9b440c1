//! What the executor asks of an operating system.

use crate::topology::CoreId;

/// An operating system, as far as threads on cores need one.
///
/// All methods but [`Self::wake`] are called by the thread of the core.
pub trait Platform {
    /// Keeps the calling thread on a core. If that cannot be, it runs anywhere.
    fn pin(&self, core: CoreId);

    /// Has the memory that the calling thread touches first from now on come from the node of its core. Called after
    /// [`Self::pin`], before the first turn. What it does by itself suits a system that does so without being asked.
    fn prefer_local_memory(&self, _core: CoreId) {}

    /// The time, in nanoseconds of a clock that never goes back.
    fn now(&self) -> u64;

    /// Sleeps until somebody wakes the core, something of its I/O is ready, or the deadline has come. If the core was
    /// woken since it last returned, it returns at once. It may also return for no reason.
    fn park(&self, core: CoreId, deadline: Option<u64>);

    /// Wakes a core that sleeps, or else keeps it from its next sleep. Any thread may call it, also from the bell of a
    /// [`Doorbell`](crate::handoff::Doorbell).
    fn wake(&self, core: CoreId);
}
