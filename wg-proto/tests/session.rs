//! Two peers over a virtual network and a virtual time: every rule of the protocol that needs two sides to see.
//!
//! Everything is seeded: the same seed gives the same run, to the byte.

#[path = "session/host.rs"]
mod host;
#[path = "session/netem.rs"]
mod netem;
#[path = "session/pair.rs"]
mod pair;

#[path = "session/clocks.rs"]
mod clocks;
#[path = "session/cookies.rs"]
mod cookies;
#[path = "session/entropy.rs"]
mod entropy;
#[path = "session/exchange.rs"]
mod exchange;
#[path = "session/fingerprint.rs"]
mod fingerprint;
#[path = "session/keepalive.rs"]
mod keepalive;
#[path = "session/rekey.rs"]
mod rekey;
#[path = "session/replay.rs"]
mod replay;
#[path = "session/retransmission.rs"]
mod retransmission;
#[path = "session/schedule.rs"]
mod schedule;
#[path = "session/simultaneous.rs"]
mod simultaneous;
#[path = "session/soak.rs"]
mod soak;
