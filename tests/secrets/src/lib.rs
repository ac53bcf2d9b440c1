#![doc = include_str!("../README.md")]

pub mod masked;
pub mod scan;
pub mod scenario;
pub mod transcript;
pub mod worker;
