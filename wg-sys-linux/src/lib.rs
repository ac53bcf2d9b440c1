#![doc = include_str!("../README.md")]
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

pub mod clock;
pub mod daemon;
mod error;
mod ifname;
mod netlink;
pub mod poll;
#[cfg(feature = "test-util")]
pub mod probe;
mod signals;
mod sockopt;
mod tun;
mod uapi_socket;
mod udp;
mod waker;

pub use error::Error;
pub use ifname::interface_index;
pub use poll::{Event, Events, Interest, Poller, Token};
pub use signals::Signals;
pub use tun::{Link, Tun, TunEvent, TunEvents};
pub use uapi_socket::UapiSocket;
pub use udp::{RouteWatch, Udp};
pub use waker::Waker;
