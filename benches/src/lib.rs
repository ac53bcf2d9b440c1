#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cost;
pub mod handoff;
pub mod load;
pub mod micro;
pub mod report;
pub mod stages;
pub mod strategies;
pub mod traffic;
pub mod wake;
