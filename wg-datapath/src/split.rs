//! Counter split: the datagrams of one tunnel come in over several lanes, which open them for its home.
//!
//! ```text
//!   lane 1: sockets --> its key --> crypt --batches--> ring \
//!   lane 2: sockets --> its key --> crypt --batches--> ring --> lane 0: merge by counter --> commit --> TUN
//!           pool <------------------ empty batches and slabs -----------------------'
//!           keys <------------------ who opens with what now ------ device 0
//! ```
//!
//! The steering is that of `wg-sys-linux`, the merge and what a home may know of other cores' hands are of `wg-sched`. What is here:
//!
//! * [`Ways`], the rings between each two lanes. A batch has its place in the ring before it is opened; what has none is dropped and
//!   counted. The box of a batch, with its slabs, comes back to the lane it is of.
//! * [`ForeignKeys`], what a lane opens for other homes with: handles to keys that belong to the sessions at home. The home tells of a
//!   new session before anything leaves that the peer could answer, and of an old one when it is gone. A lane that has no room to hear it, as
//!   it did not listen for long, is told later, and takes home what it finds no key for until then: nothing is lost, but it may be late.
//!   Replay windows are at home alone, and so is everything else that a datagram changes.
//!
//! Forged datagrams end where they are opened. So they move nothing at home, not even what the merge takes to come next.

mod keys;
mod ways;

pub(crate) use keys::{ForeignKeys, PeerKeys, SplitKey};
pub use ways::Ways;
pub(crate) use ways::{WAY_BATCHES, WAY_LARGE, WAY_SMALL};
