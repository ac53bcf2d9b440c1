#![doc = include_str!("../README.md")]
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

pub mod affinity;
mod alarm;
pub mod clock;
mod cores;
pub mod daemon;
mod downgrade;
mod error;
#[cfg(any(test, feature = "test-util"))]
pub mod fault;
pub mod heap;
mod ifname;
pub mod memory_policy;
#[cfg(test)]
#[path = "../tests/support/namespace.rs"]
#[expect(dead_code, reason = "shared with the tests against the kernel")]
mod namespace;
mod netlink;
mod offloads;
mod park;
pub mod poll;
#[cfg(feature = "test-util")]
pub mod probe;
pub mod real_time;
mod run_delay;
mod sched_attr;
mod signals;
pub mod slice;
mod sockopt;
pub mod topology;
mod tun;
mod uapi_socket;
mod udp;
mod waker;

pub use cores::{Cores, Pinning};
pub use downgrade::{Downgrade, Feature};
pub use error::Error;
pub use ifname::interface_index;
pub use offloads::{Offloads, ParseOffloadsError};
pub use park::{Parker, Woken};
pub use poll::{Event, Events, Interest, Poller, Token};
pub use real_time::{RealTime, Work};
pub use run_delay::RunDelay;
pub use signals::Signals;
pub use tun::{Link, Tun, TunEvent, TunEvents};
pub use uapi_socket::UapiSocket;
pub use udp::{Buffers, Egress, RouteWatch, SelfTest, Steering, Tried, Udp};
pub use waker::Waker;
