//! The kernel for every target, in safe Rust, and what kernels of few lanes have in common with it. RFC 8439.

mod chacha20;
mod open;
mod pass;
mod poly1305;
mod seal;
mod tags;

#[allow(unused_imports, reason = "only kernels of few lanes use them")]
pub(crate) use self::{
    chacha20::{SIGMA, scalar},
    open::open as open_by,
    pass::{Between, Block, Cipher, Stream},
    seal::seal as seal_by,
};

use crate::packet::Group;

/// Seals a group.
pub(crate) fn seal(group: &mut Group<'_, '_>) {
    seal_by::<chacha20::Scalar>(group);
}

/// Opens a group.
pub(crate) fn open(group: &mut Group<'_, '_>) {
    open_by::<chacha20::Scalar>(group);
}
