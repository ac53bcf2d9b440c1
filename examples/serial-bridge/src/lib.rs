#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod frame;
mod slip;

pub use frame::{Frame, HEADER_LEN};
pub use slip::{Decoder, encode};
