//! Machinery that proves the protocol.
#![forbid(unsafe_code)]

pub mod model;
