#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod adaptive;
mod any;
mod auto_split;
#[cfg(feature = "test-util")]
pub mod conformance;
mod costs;
mod counter_split;
mod crew;
mod executor;
pub mod handoff;
mod inline;
#[cfg(test)]
mod interleavings;
mod io;
mod locked;
mod merge;
mod pipelined;
mod placement;
mod platform;
mod rebalance;
mod round;
mod strategy;
mod sync;
mod topology;

pub use adaptive::Adaptive;
pub use any::AnyStrategy;
pub use auto_split::{AutoSplit, Change, PeerFlow, Reason, Signs};
pub use costs::Costs;
pub use counter_split::CounterSplit;
pub use crew::{Capacity, Crew, Homes, Member};
pub use executor::{Ended, Executor, Idle, WorkerIo};
pub use inline::Inline;
pub use io::{CoreIo, Direction, Stage, Ticket};
pub use locked::Locked;
pub use merge::{CounterMerge, SharedMerge, Span};
pub use pipelined::Pipelined;
pub use platform::Platform;
pub use rebalance::{LaneLoad, Move, PeerLoad, is_uneven, rebalance};
pub use round::settle;
pub use strategy::{Budget, Outcome, Strategy, StrategyKind, UnknownStrategy};
pub use topology::{Core, CoreId, Helper, Lane, LaneId, Limits, NodeId, Plan, Topology};
