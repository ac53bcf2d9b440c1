//! The kernel for every target, in safe Rust. RFC 8439.

#![expect(clippy::cast_possible_truncation, reason = "limbs are cut out of wider words")]

mod chacha20;
mod poly1305;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub(crate) use self::chacha20::SIGMA;
use self::chacha20::block;
use self::poly1305::tag;
use crate::checksum::Sum;
use crate::packet::{Group, Packet};

/// Seals a group.
pub(crate) fn seal(group: &mut Group<'_, '_>) {
    for packet in group.iter_mut() {
        packet.gather_source();
        if packet.summing {
            packet.sum = Sum::of(packet.text);
        }
        cipher(packet);
        packet.apply_patch();
        packet.tag = authenticate(packet, packet.text);
    }
}

/// Opens a group.
pub(crate) fn open(group: &mut Group<'_, '_>) {
    for packet in group.iter_mut() {
        packet.authentic = authenticate(packet, packet.ciphertext()).ct_eq(&packet.tag).into();
        if packet.authentic {
            packet.gather_source();
            cipher(packet);
            if packet.summing {
                packet.sum = Sum::of(packet.text);
            }
        }
    }
}

fn cipher(packet: &mut Packet<'_>) {
    for (at, bytes) in (1..).zip(packet.text.chunks_mut(64)) {
        let mut stream = block(packet.key.words(), packet.counter, at);
        for (byte, stream) in bytes.iter_mut().zip(stream) {
            *byte ^= stream;
        }
        stream.zeroize();
    }
}

fn authenticate(packet: &Packet<'_>, text: &[u8]) -> [u8; 16] {
    let mut stream = block(packet.key.words(), packet.counter, 0);
    let mut key = [0; 32];
    key.copy_from_slice(&stream[..32]);
    let tag = tag(&key, text);
    key.zeroize();
    stream.zeroize();
    tag
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
