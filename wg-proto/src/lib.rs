#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod endpoint;
mod index;
mod key;
mod time;

pub use endpoint::{Endpoint, Source};
pub use index::SessionIndex;
pub use key::{
    DhError, KEY_LEN, LowOrderPoint, PresharedKey, PrivateKey, PublicKey, SharedSecret, StaticIdentity,
};
pub use time::{Instant, Tai64n, UnixTime};
