//! Packets and handshakes at a given rate, and the account of what became of them: the load of `wg-load`.

pub mod handshakes;
mod payload;
mod receive;
mod send;

pub use payload::SMALLEST;
pub use receive::{Received, Receiver};
pub use send::{Mode, Plan, Sent, send};
