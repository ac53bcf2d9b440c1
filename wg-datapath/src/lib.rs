#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod allowed_ips;
mod batch;
mod batch_aead;
mod burst;
mod coalesce;
mod copies;
mod deadlines;
mod decap;
mod device;
mod drop;
mod encap;
mod exchange;
mod frame;
mod header;
mod helper;
mod home;
pub mod icmp;
mod index_table;
pub mod io;
pub mod ip;
mod lane;
#[cfg(any(test, feature = "test-util"))]
pub mod memory;
#[cfg(feature = "multi-buffer")]
mod multi_buffer;
pub mod offload;
mod padding;
mod path_mtu;
mod peer_table;
mod queue;
mod segment;
mod shared;
pub mod slab;
mod split;
mod staged;
mod stats;

pub use allowed_ips::{AllowedIps, InvalidPrefix, IpPrefix, PeerSlot, TooManyPrefixes};
pub use batch::{BATCH_SEGMENTS, Batch, InBatch, OutBatch};
pub use batch_aead::{BatchAead, OpenSegment, SealSegment};
pub use coalesce::{Coalescer, Group, MAX_MERGED, Packets};
pub use deadlines::Deadlines;
pub use device::{Config, ConfigError, Device, Now, PeerStatus};
pub use drop::{DropReason, Exposure};
pub use exchange::Exchange;
pub use helper::HelperIo;
pub use home::HomeId;
pub use index_table::{IndexTable, NoIndex};
pub use lane::{Lane, LaneIo, RehomeError, Traffic, begin_split, end_split, rehome};
#[cfg(feature = "multi-buffer")]
pub use multi_buffer::MultiBufferAead;
pub use padding::padded_len;
pub use path_mtu::PathMtu;
pub use peer_table::PeerId;
pub use queue::{
    Cause, Discipline, FlowHash, HighWater, IngressQueue, Loss, Popped, QueueConfig, Queued, Signal,
    UnknownDiscipline,
};
pub use segment::{MAX_HEADERS, SegmentError, Segmenter};
pub use shared::{HomeState, SharedHome, SharedIo, Worker};
pub use split::Ways;
pub use staged::{Pushed, StagedPool};
pub use stats::{DropCounters, PeerStats};
pub use wg_aead::Sum;
pub use wg_proto as proto;
pub use wg_sched as sched;
