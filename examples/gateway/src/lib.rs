#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cli;
pub mod conf;
pub mod log;
pub mod run;
pub mod setup;
mod sockets;
mod tunnel;
pub mod uapi;
