//! A virtual machine of many cores, on which the strategies of `wg-sched` run as they are shipped, in virtual time.
//!
//! ```text
//!   sources --> link --> NIC ring of a lane --> Strategy::step on a core, over a CoreIo that charges its clock --> delivered
//! ```
//!
//! Time is integer nanoseconds. Events are in one binary heap, ordered by time and then by the order they were made in; one
//! seeded generator draws all there is of chance; one thread runs it all. The same setup gives the same trace.
//!
//! A step is one event: its effects carry the time its core's clock had come to, and other cores see them from then on. What
//! it takes from what is shared it takes when the step begins, so two cores may be out of step by the length of a step.
//!
//! It knows nothing of the network simulator beside it.

mod calibration;
mod cost;
mod engine;
mod home;
mod io;
mod kernel;
mod lock;
mod setup;
mod source;
mod split;
mod state_lock;

pub use calibration::Calibration;
pub use cost::{Costs, Locality, StageCost};
pub use engine::Machine;
pub use setup::{Contender, Egress, Load, Measured, Setup, Wait, threads, topology};
