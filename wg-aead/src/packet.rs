//! What a kernel works on: one packet, checked, and groups of them.

use crate::checksum::Sum;
use crate::key::Key;

/// The most packets a kernel takes at once: the lanes of the widest.
pub(crate) const GROUP: usize = 16;

/// One packet of either direction, whose lengths were checked.
///
/// ```text
///   source:  | text[..lead] | rest, then zeros |      sealing: plaintext; opening: ciphertext
///   result:  | text                            |
/// ```
///
/// In place, `lead` is all of `text`. Otherwise `lead` is a multiple of 64, so that no block of the cipher has two sources.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) key: &'a Key,
    pub(crate) counter: u64,
    /// Where the result goes, and where its first `lead` bytes come from.
    pub(crate) text: &'a mut [u8],
    /// How many bytes of the source stand in `text`.
    pub(crate) lead: usize,
    /// The source of `text[lead..]`. What it is short of that is zero (sealing only).
    pub(crate) rest: &'a [u8],
    /// Sealing: the tag, once the kernel has run. Opening: the tag that was received.
    pub(crate) tag: [u8; 16],
    /// Opening: whether the tag verified. The kernel writes no plaintext before that.
    pub(crate) authentic: bool,
    /// Whether the kernel is to sum up the plaintext.
    pub(crate) summing: bool,
    /// The sum of the plaintext, once the kernel has run.
    pub(crate) sum: Sum,
    /// Sealing: the checksum that belongs into the packet.
    pub(crate) patch: Option<Patch>,
}

/// A checksum that is known only once all of the packet has been read, and by then has been encrypted as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    /// Where the field stands in the packet.
    pub(crate) field: u32,
    /// Whether what the checksum covers starts at an odd offset.
    pub(crate) odd: bool,
    /// The sum of what stands before that, as [`Sum::to_be_bytes`] gives it.
    pub(crate) before: [u8; 2],
    /// What stood in the field.
    pub(crate) old: [u8; 2],
}

impl<'a> Packet<'a> {
    #[inline]
    pub(crate) fn new(
        key: &'a Key,
        counter: u64,
        text: &'a mut [u8],
        lead: usize,
        rest: &'a [u8],
        tag: [u8; 16],
    ) -> Self {
        Self {
            key,
            counter,
            text,
            lead,
            rest,
            tag,
            authentic: false,
            summing: false,
            sum: Sum::default(),
            patch: None,
        }
    }

    /// The byte of the source at an offset; `None` beyond its end.
    #[inline]
    pub(crate) fn source(&self, at: usize) -> Option<u8> {
        match at.checked_sub(self.lead) {
            Some(at) => self.rest.get(at).copied(),
            None => self.text.get(at).copied(),
        }
    }

    /// The sum of the first bytes of the source.
    #[inline]
    pub(crate) fn sum_before(&self, end: usize) -> Sum {
        let lead = self.text.get(..end.min(self.lead)).unwrap_or_default();
        // Where there are two sources, the first is a multiple of 64 long.
        match end.checked_sub(self.lead) {
            Some(end) => Sum::of(lead) + Sum::of(self.rest.get(..end).unwrap_or(self.rest)),
            None => Sum::of(lead),
        }
    }

    /// Blocks of the cipher that the text takes.
    pub(crate) const fn blocks(&self) -> usize {
        self.text.len().div_ceil(64)
    }

    /// Opening: the ciphertext, which has one source.
    pub(crate) fn ciphertext(&self) -> &[u8] {
        if self.lead == self.text.len() { self.text } else { self.rest }
    }

    /// Copies the rest of the source to where the result goes, for kernels that work in place.
    #[allow(dead_code, reason = "only libraries do")]
    #[inline]
    pub(crate) fn gather_source(&mut self) {
        if self.lead == self.text.len() {
            return;
        }
        if let Some(slots) = self.text.get_mut(self.lead..) {
            let (source, padding) = slots.split_at_mut(self.rest.len().min(slots.len()));
            source.copy_from_slice(self.rest);
            padding.fill(0);
        }
        self.lead = self.text.len();
        self.rest = &[];
    }

    /// Replaces the checksum in the ciphertext: what encrypts by exclusive or is changed by it, too. To be called between the
    /// cipher and the tag.
    pub(crate) fn apply_patch(&mut self) {
        let Some(patch) = self.patch else { return };
        let covered = self.sum - Sum::of(&patch.before);
        let covered = if patch.odd { covered.swapped() } else { covered };
        let new = covered.checksum();
        let field = patch.field as usize;
        if let Some(field) = self.text.get_mut(field..field + 2) {
            for ((byte, old), new) in field.iter_mut().zip(patch.old).zip(new) {
                *byte ^= old ^ new;
            }
        }
    }
}

/// Up to [`GROUP`] packets of similar lengths, the longest first.
#[derive(Debug)]
pub(crate) struct Group<'g, 'a> {
    members: [Option<&'g mut Packet<'a>>; GROUP],
    len: usize,
}

impl<'g, 'a> Group<'g, 'a> {
    pub(crate) fn new() -> Self {
        Self { members: [const { None }; GROUP], len: 0 }
    }

    /// Adds a packet; a full group refuses it.
    pub(crate) fn push(&mut self, packet: &'g mut Packet<'a>) -> bool {
        let Some(slot) = self.members.get_mut(self.len) else { return false };
        *slot = Some(packet);
        self.len += 1;
        true
    }

    #[allow(dead_code, reason = "only some kernels work group by group")]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[allow(dead_code, reason = "only some kernels look at a packet between their changes of it")]
    pub(crate) fn get(&self, at: usize) -> Option<&Packet<'a>> {
        self.members.get(at)?.as_deref()
    }

    #[allow(dead_code, reason = "only some kernels take packets by number")]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Packet<'a>> {
        self.members.get_mut(at)?.as_deref_mut()
    }

    /// The packets by number.
    pub(crate) fn members(&mut self) -> &mut [Option<&'g mut Packet<'a>>] {
        self.members.get_mut(..self.len).unwrap_or_default()
    }

    #[allow(dead_code, reason = "only some kernels take one packet after the other")]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Packet<'a>> {
        self.members.iter_mut().filter_map(Option::as_deref_mut)
    }
}
