//! The split of frames into packets, the merging of packets into frames, and that each undoes the other (defect 26).

#[path = "segment/example.rs"]
mod example;
#[path = "segment/merge.rs"]
mod merge;
#[path = "segment/round_trip.rs"]
mod round_trip;
#[path = "segment/split.rs"]
mod split;
