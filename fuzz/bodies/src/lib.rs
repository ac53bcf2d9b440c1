//! What the fuzz targets of the workspace do with their input, on the stable toolchain.
//!
//! Each target is a function over bytes that panics when the code under test does what it must not: mostly because it
//! disagrees with a second, simple reading of the specification that stands beside it here. libFuzzer drives them through
//! the few lines in `fuzz/fuzz_targets`; `tests/replay.rs` runs all inputs that are kept, and everything else here, with
//! the toolchain of the workspace. How to run, read and extend them is in `fuzz/README.md`.

#![forbid(unsafe_code)]

mod aead;
mod allowed_ips;
mod buckets;
mod cmsg;
mod conf_file;
mod configured;
mod cookie_reply;
mod device_datagrams;
mod frame_header;
mod icmp;
mod initiator;
mod input;
mod ip_header;
mod netlink;
mod padding_trim;
mod paper;
mod rehome;
mod replay_window;
mod responder;
mod rfc1071;
mod scheduler;
pub mod seeds;
mod segment;
mod side;
mod target;
mod two_peers;
mod uapi_stream;
mod wire_parse;

pub use aead::aead;
pub use allowed_ips::allowed_ips;
pub use cmsg::cmsg;
pub use conf_file::conf_file;
pub use cookie_reply::cookie_reply;
pub use device_datagrams::device_datagrams;
pub use frame_header::frame_header;
pub use icmp::icmp;
pub use initiator::initiator;
pub use ip_header::ip_header;
pub use netlink::netlink;
pub use padding_trim::padding_trim;
pub use rehome::rehome;
pub use replay_window::replay_window;
pub use responder::responder;
pub use scheduler::scheduler;
pub use segment::segment;
pub use target::{TARGETS, Target};
pub use two_peers::two_peers;
pub use uapi_stream::uapi_stream;
pub use wire_parse::wire_parse;
