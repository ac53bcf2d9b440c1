//! RustCrypto's `chacha20poly1305`: an oracle for tests and a candidate for benches.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};

use super::nonce;
use crate::checksum::Sum;
use crate::packet::Group;

pub(crate) fn seal(group: &mut Group<'_, '_>) {
    for packet in group.iter_mut() {
        packet.gather_source();
        if packet.summing {
            packet.sum = Sum::of(packet.text);
            packet.apply_patch();
        }
        let cipher = ChaCha20Poly1305::new(packet.key.as_bytes().into());
        let nonce = Nonce::from(nonce(packet.counter));
        if let Ok(tag) = cipher.encrypt_inout_detached(&nonce, &[], (&mut *packet.text).into()) {
            packet.tag = tag.into();
        }
    }
}

pub(crate) fn open(group: &mut Group<'_, '_>) {
    for packet in group.iter_mut() {
        packet.gather_source();
        let cipher = ChaCha20Poly1305::new(packet.key.as_bytes().into());
        let nonce = Nonce::from(nonce(packet.counter));
        let tag = Tag::from(packet.tag);
        packet.authentic =
            cipher.decrypt_inout_detached(&nonce, &[], (&mut *packet.text).into(), &tag).is_ok();
        if !packet.authentic {
            packet.text.fill(0);
        } else if packet.summing {
            packet.sum = Sum::of(packet.text);
        }
    }
}
