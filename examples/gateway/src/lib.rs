#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod balance;
pub mod cli;
pub mod conf;
pub mod ctl;
mod drops;
mod home;
mod homes;
#[cfg(feature = "key-log")]
pub mod key_log;
mod lanes;
mod link;
pub mod log;
mod offloads;
pub mod run;
pub mod setup;
mod sockets;
pub mod topology;
mod tunnel;
pub mod uapi;
mod wiped;
