//! Devices over an in-memory network and a virtual time: the rules that need a whole device, or several, to see.
//!
//! Everything is seeded: the same code gives the same run, to the byte.

#[path = "device/edges.rs"]
mod edges;
#[path = "segment/example.rs"]
#[expect(dead_code, reason = "the tests of split and merge need more of it")]
mod example;
#[path = "device/forge.rs"]
mod forge;
#[path = "device/insider.rs"]
mod insider;
#[path = "device/rig.rs"]
mod rig;
#[path = "device/traffic.rs"]
mod traffic;

#[path = "device/chaos.rs"]
mod chaos;
#[path = "device/config.rs"]
mod config;
#[path = "device/frames.rs"]
mod frames;
#[path = "device/handshake.rs"]
mod handshake;
#[path = "device/hostile.rs"]
mod hostile;
#[path = "device/icmp.rs"]
mod icmp;
#[path = "device/identity.rs"]
mod identity;
#[path = "device/load.rs"]
mod load;
#[path = "device/order.rs"]
mod order;
#[path = "device/pair.rs"]
mod pair;
#[path = "device/pressure.rs"]
mod pressure;
#[path = "device/queueing.rs"]
mod queueing;
#[path = "device/roaming.rs"]
mod roaming;
#[path = "device/timers.rs"]
mod timers;
