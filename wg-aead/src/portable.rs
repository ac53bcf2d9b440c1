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
    poly1305::Poly1305,
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
    for ((key, text), tag) in keys.iter().zip(texts).zip(tags) {
        let mut poly = Poly1305::default();
        poly.start(core::array::from_fn(|word| u64::from_le_bytes(key.as_chunks().0[word])));
        let (pairs, rest) = text.as_chunks();
        poly.absorb(pairs);
        *tag = poly.finish(rest, text.len()).to_le_bytes();
    }
}

/// The one-time key of a packet: for the tests of the edges.
#[cfg(test)]
pub(crate) fn one_time_key(key: &crate::Key, counter: u64) -> [u8; 32] {
    let mut stream = [0; 8];
    scalar(&Block { key: key.words(), counter, at: 0 }, &mut stream);
    let mut one_time = [0; 32];
    for (bytes, word) in one_time.as_chunks_mut().0.iter_mut().zip(stream) {
        *bytes = word.to_le_bytes();
    }
    one_time
}
