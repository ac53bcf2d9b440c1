#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod batches;
pub mod learn;
pub mod masked;
pub mod scan;
pub mod scenario;
pub mod transcript;
#[cfg(target_arch = "x86_64")]
pub mod valgrind;
pub mod verdicts;
pub mod welch;
pub mod worker;
