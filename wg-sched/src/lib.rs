#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod any;
mod crew;
mod executor;
pub mod handoff;
mod inline;
#[cfg(test)]
mod interleavings;
mod io;
mod platform;
mod strategy;
mod sync;
mod topology;

pub use any::AnyStrategy;
pub use crew::{Capacity, Crew, Homes, Member};
pub use executor::{Ended, Executor, Idle, WorkerIo};
pub use inline::Inline;
pub use io::{CoreIo, Direction, Stage, Ticket};
pub use platform::Platform;
pub use strategy::{Budget, Outcome, Strategy, StrategyKind, UnknownStrategy};
pub use topology::{Core, CoreId, Helper, Lane, LaneId, Limits, NodeId, Plan, Topology};
