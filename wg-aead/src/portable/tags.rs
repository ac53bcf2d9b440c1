//! The tags of a group, one behind the other, each as far as its ciphertext is ready.

use zeroize::Zeroize;

use super::pass::{Between, Members, Stream};
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
    /// The one-time key of each member, and its tag in the first two words once it is made.
    keys: [[u64; 4]; GROUP],
    /// The member whose tag is in the making, and how much of it was absorbed.
    member: usize,
    absorbed: usize,
    /// Has the key of that member once some of it was absorbed.
    poly: Poly1305,
}

impl<const SEALING: bool> Tags<SEALING> {
    pub(super) fn new() -> Self {
        Self { keys: [[0; 4]; GROUP], member: 0, absorbed: 0, poly: Poly1305::default() }
    }

    /// Takes the one-time key of a member: the first half of its block 0.
    #[inline]
    pub(super) fn set_key(&mut self, member: usize, stream: &Stream) {
        self.keys[member % GROUP].copy_from_slice(&stream[..4]);
    }

    /// The tag of a member, if it is made.
    pub(super) fn get(&self, member: usize) -> Option<[u8; 16]> {
        let [low, high, _, _] = self.keys[member % GROUP];
        (member < self.member).then(|| (u128::from(low) | u128::from(high) << 64).to_le_bytes())
    }

    /// Goes on as far as the ciphertexts are ready.
    pub(super) fn advance(&mut self, members: &Members<'_, '_>, ready: Ready) {
        loop {
            let pairs = self.next(members, ready);
            if pairs.is_empty() {
                return;
            }
            self.poly.absorb(pairs);
            self.absorbed += PAIR * pairs.len();
        }
    }

    /// Finishes what is complete and returns what is to be absorbed next; nothing, if nothing is ready.
    #[expect(clippy::cast_possible_truncation, reason = "the tag is cut into words")]
    fn next<'m>(&mut self, members: &'m Members<'_, '_>, ready: Ready) -> &'m [[u8; PAIR]] {
        while self.member <= ready.member
            && let Some(Some(packet)) = members.get(self.member)
        {
            let text = if SEALING { &*packet.text } else { packet.ciphertext() };
            let end = if self.member < ready.member { text.len() } else { ready.bytes };
            let (pairs, rest) = text.get(self.absorbed..end).unwrap_or_default().as_chunks();
            let is_complete = self.member < ready.member && pairs.is_empty();
            if !is_complete && pairs.is_empty() {
                break;
            }
            let key = &mut self.keys[self.member % GROUP];
            if self.absorbed == 0 {
                self.poly.start(*key);
            }
            if !is_complete {
                return pairs;
            }
            let tag = self.poly.finish(rest, text.len());
            *key = [tag as u64, (tag >> 64) as u64, 0, 0];
            self.absorbed = 0;
            self.member += 1;
        }
        &[]
    }
}

impl<const SEALING: bool> Zeroize for Tags<SEALING> {
    fn zeroize(&mut self) {
        self.keys[..self.member.min(GROUP)].as_flattened_mut().zeroize();
        self.poly.zeroize();
    }
}

/// Tags that go on between the rounds of a pass.
pub(super) struct Beside<'t, 'm, 'a, const SEALING: bool> {
    tags: &'t mut Tags<SEALING>,
    members: &'t Members<'m, 'a>,
    ready: Ready,
    /// What of the member is ready.
    pairs: &'t [[u8; PAIR]],
    /// Whether nothing more is.
    is_done: bool,
}

impl<'t, 'm, 'a, const SEALING: bool> Beside<'t, 'm, 'a, SEALING> {
    pub(super) fn new(tags: &'t mut Tags<SEALING>, members: &'t Members<'m, 'a>, ready: Ready) -> Self {
        let pairs = tags.next(members, ready);
        Self { tags, members, ready, is_done: pairs.is_empty(), pairs }
    }

    /// Not inlined: the call spills the vectors of the pass, and is seldom made.
    #[cold]
    #[inline(never)]
    fn turn(&mut self) {
        self.pairs = self.tags.next(self.members, self.ready);
        self.is_done = self.pairs.is_empty();
    }
}

impl<const SEALING: bool> Between for Beside<'_, '_, '_, SEALING> {
    #[inline(always)]
    fn step(&mut self) {
        if let [pair, rest @ ..] = self.pairs {
            self.tags.poly.absorb(core::slice::from_ref(pair));
            self.tags.absorbed += PAIR;
            self.pairs = rest;
        } else if !self.is_done {
            self.turn();
        }
    }
}
