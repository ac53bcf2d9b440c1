#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod any;
mod inline;
mod io;
mod strategy;
mod topology;

pub use any::AnyStrategy;
pub use inline::Inline;
pub use io::{CoreIo, Direction, Stage, Ticket};
pub use strategy::{Budget, Outcome, Strategy, StrategyKind, UnknownStrategy};
pub use topology::{Core, CoreId, Helper, Lane, LaneId, Limits, NodeId, Plan, Topology};
