//! The configuration protocol that `wg` speaks to a user-space WireGuard: a stream socket, text lines, two requests.
//!
//! A request walks through these files in order:
//!
//! ```text
//! client thread   server    bytes from the socket, deadlines, bounds
//!                 parse     bytes -> Get | Set(ops)          pure, line by line
//!                    |      bounded channel + wake-up
//! data lane       apply     ops -> calls of `Configure`      a few at a time, between packets
//!                 snapshot  `Configure` -> Snapshot          one copy, no waiting
//!                    |      one answer per request
//! client thread   reply     Snapshot -> text
//! ```
//!
//! All waiting on a client happens on that client's own thread, and all changes happen on the data lane in the order
//! the requests came: a get never sees half of a set, and a client that stops talking or reading holds up nobody.
//!
//! A set is not transactional: the lines before a bad one stay in force, as in the other implementations.

mod apply;
mod configure;
mod errno;
mod hex;
mod op;
mod parse;
mod reply;
mod server;
mod trouble;

pub use apply::Transaction;
pub use configure::{Configure, PeerSnapshot, Snapshot};
pub use errno::Errno;
pub use op::{EndpointSpec, Op};
pub use parse::{Parsed, Parser, Request, Step};
pub use reply::{write_get, write_set};
pub use server::{Limits, Progress, Server};
