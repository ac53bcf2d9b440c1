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

/// Tags under one-time keys that come from elsewhere: for the tests of the edges.
#[cfg(test)]
pub(crate) fn one_time_tags(keys: &[[u8; 32]], texts: &[&[u8]], tags: &mut [[u8; 16]]) {
    for ((key, text), out) in keys.iter().zip(texts).zip(tags) {
        *out = tag(key, text);
    }
}

/// The one-time key of a packet: for the tests of the edges.
#[cfg(test)]
pub(crate) fn one_time_key(key: &crate::Key, counter: u64) -> [u8; 32] {
    let mut one_time = [0; 32];
    one_time.copy_from_slice(&block(key.words(), counter, 0)[..32]);
    one_time
}
