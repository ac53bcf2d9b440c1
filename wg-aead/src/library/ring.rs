//! `ring`: assembly for x86-64 and aarch64.
//!
//! `ring` neither wipes its keys nor lets others do it: what it leaves on the stack, the next call overwrites.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::nonce;
use crate::checksum::Sum;
use crate::key::Key;
use crate::packet::Packet;

#[inline]
pub(crate) fn seal(packet: &mut Packet<'_>) {
    packet.gather_source();
    if packet.summing {
        packet.sum = Sum::of(packet.text);
        packet.apply_patch();
    }
    let nonce = Nonce::assume_unique_for_key(nonce(packet.counter));
    let Some(key) = key(packet.key) else { return };
    if let Ok(tag) = key.seal_in_place_separate_tag(nonce, Aad::empty(), packet.text) {
        packet.tag.copy_from_slice(tag.as_ref());
    }
}

#[inline]
pub(crate) fn open(packet: &mut Packet<'_>) {
    packet.gather_source();
    let nonce = Nonce::assume_unique_for_key(nonce(packet.counter));
    let Some(key) = key(packet.key) else { return };
    let opened = key.open_in_place_separate_tag(nonce, Aad::empty(), packet.tag.into(), packet.text, 0..);
    packet.authentic = opened.is_ok();
    if !packet.authentic {
        packet.text.fill(0);
    } else if packet.summing {
        packet.sum = Sum::of(packet.text);
    }
}

/// The key object. There is none for a key of another length than 32, which a [`Key`] does not have.
fn key(key: &Key) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).map(LessSafeKey::new).ok()
}
