#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod load;
pub mod micro;
pub mod report;
