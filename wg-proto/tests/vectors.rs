//! Known answers: the handshake vector byte for byte in both roles, and Wycheproof for the primitives underneath.
//!
//! `vectors/wg_handshake_vector.json` was computed by a program that shares no code with this crate. It holds every
//! message, every chaining key and hash, the cookie exchange and the first transport messages.

#[path = "vectors/handshake.rs"]
mod handshake;
#[path = "vectors/replayed_rng.rs"]
mod replayed_rng;
#[path = "vectors/vector.rs"]
mod vector;
#[path = "vectors/wycheproof.rs"]
mod wycheproof;
