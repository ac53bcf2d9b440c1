#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

mod arch;
mod backend;
mod batch;
mod checksum;
mod error;
mod job;
mod key;
#[cfg(any(feature = "ring", feature = "rustcrypto"))]
mod library;
mod packet;
mod portable;

pub use self::backend::Backend;
pub use self::batch::{open_batch, seal_batch};
pub use self::checksum::Sum;
pub use self::error::AeadError;
pub use self::job::{Checksum, OpenJob, SealJob};
pub use self::key::Key;

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// The longest text: what a UDP datagram and an IP packet can hold.
pub const MAX_LEN: usize = 65_535;
