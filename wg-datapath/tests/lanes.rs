//! Several lanes with a device each, as on several cores: they take turns here, over edges in memory.

#[path = "memory/edges.rs"]
#[allow(dead_code, reason = "the edges of another test, of which this one has no host")]
mod edges;
#[path = "lanes/rig.rs"]
mod rig;

#[path = "lanes/handover.rs"]
mod handover;
#[path = "lanes/pressure.rs"]
mod pressure;
#[path = "lanes/rehome.rs"]
mod rehome;
#[path = "lanes/resteer.rs"]
mod resteer;
#[path = "lanes/split.rs"]
mod split;
#[path = "lanes/traffic.rs"]
mod traffic;
