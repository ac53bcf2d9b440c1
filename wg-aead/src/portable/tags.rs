//! The tags of a group, one behind the other, each as far as its ciphertext is ready.

use zeroize::Zeroize;

use super::pass::{Members, Stream};
use super::poly1305::{PAIR, Poly1305};
use crate::packet::GROUP;

/// How far the ciphertexts are ready: all of the members before this one, and so many bytes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) member: usize,
    pub(super) bytes: usize,
}

impl Ready {
    /// All members before this one.
    pub(super) const fn before(member: usize) -> Self {
        Self { member, bytes: 0 }
    }
}

/// One-time keys in, tags out.
pub(super) struct Tags<const SEALING: bool> {
    keys: [[u64; 4]; GROUP],
    made: [u128; GROUP],
    /// The member whose tag is in the making, and how much of it was absorbed.
    member: usize,
    absorbed: usize,
    /// `None` before anything of that member was.
    poly: Option<Poly1305>,
}

impl<const SEALING: bool> Tags<SEALING> {
    pub(super) fn new() -> Self {
        Self { keys: [[0; 4]; GROUP], made: [0; GROUP], member: 0, absorbed: 0, poly: None }
    }

    /// Takes the one-time key of a member: the first half of its block 0.
    #[inline]
    pub(super) fn set_key(&mut self, member: usize, stream: &Stream) {
        self.keys[member % GROUP].copy_from_slice(&stream[..4]);
    }

    /// The tag of a member, if it is made.
    pub(super) fn get(&self, member: usize) -> Option<[u8; 16]> {
        (member < self.member).then(|| self.made[member % GROUP].to_le_bytes())
    }

    /// Goes on by up to so many pairs of blocks, as far as the ciphertexts are ready.
    #[inline]
    pub(super) fn advance(&mut self, members: &Members<'_, '_>, ready: Ready, mut pairs: usize) {
        while pairs > 0 && self.member <= ready.member {
            let Some(Some(packet)) = members.get(self.member) else { return };
            let text = if SEALING { &*packet.text } else { packet.ciphertext() };
            let end = if self.member < ready.member { text.len() } else { ready.bytes };
            let left = text.get(self.absorbed..end).unwrap_or_default();
            let (whole, rest) = left.as_chunks::<PAIR>();
            if !whole.is_empty() {
                let key = self.keys[self.member % GROUP];
                let poly = self.poly.get_or_insert_with(|| Poly1305::new(key));
                let whole = whole.get(..pairs).unwrap_or(whole);
                poly.absorb(whole);
                self.absorbed += PAIR * whole.len();
                pairs -= whole.len();
            } else if self.member < ready.member {
                let key = self.keys[self.member % GROUP];
                let poly = self.poly.get_or_insert_with(|| Poly1305::new(key));
                self.made[self.member % GROUP] = poly.finish(rest, text.len());
                poly.zeroize();
                self.poly = None;
                self.absorbed = 0;
                self.member += 1;
                pairs -= 1;
            } else {
                return;
            }
        }
    }
}

impl<const SEALING: bool> Drop for Tags<SEALING> {
    fn drop(&mut self) {
        let used = self.member.min(GROUP);
        self.keys[..used].as_flattened_mut().zeroize();
        self.made[..used].zeroize();
    }
}
