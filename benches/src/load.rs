//! The work that is measured, made once so that every harness measures the same.

mod batch;
mod packets;
mod pair;
mod routes;

pub use batch::{BATCH, Batch, SIZES};
pub use packets::{BATCHES, Mix, Packets, Subject};
pub use pair::Pair;
pub use routes::{AddressFamily, PREFIXES, Routes};
