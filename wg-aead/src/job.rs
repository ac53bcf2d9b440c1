//! The packets of a batch: each with a key, a counter, a source and a destination of its own.

use crate::checksum::Sum;
use crate::error::{AeadError, Outcome};
use crate::key::Key;
use crate::packet::{Packet, Patch};
use crate::{MAX_LEN, TAG_LEN};

/// Where a transport checksum belongs that is computed while a packet is sealed.
///
/// As in a `virtio_net_hdr`: the field holds the sum of the pseudo header already, and is replaced by the checksum of all
/// from `start` on, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where what it covers starts: the offset of the transport header.
    pub start: usize,
    /// Where the field stands, from `start` on: 16 for TCP, 6 for UDP.
    pub offset: usize,
}

/// One packet to be sealed.
#[derive(Debug)]
pub struct SealJob<'a> {
    pub(crate) packet: Packet<'a>,
    /// Room for the tag, if there is.
    tag: Option<&'a mut [u8; TAG_LEN]>,
    /// How long the packet is without what it is padded by. It has a word of its own: a job that is moved is read by whole words, and
    /// one of two halves just written is waited for, which is a fifth of the cost of a small packet.
    given: usize,
    pub(crate) outcome: Outcome,
}

impl<'a> SealJob<'a> {
    /// Seals in place: `buffer` holds the plaintext and, behind it, [`TAG_LEN`] bytes of room for the tag.
    #[inline]
    #[must_use]
    pub fn in_place(key: &'a Key, counter: u64, buffer: &'a mut [u8]) -> Self {
        let lead = buffer.len().saturating_sub(TAG_LEN);
        Self::new(key, counter, buffer, lead, &[])
    }

    /// Seals `plaintext` into `out`, all of it: what the plaintext is short of `out` without the tag is filled with zeros, as
    /// WireGuard's padding is.
    #[inline]
    #[must_use]
    pub fn copy(key: &'a Key, counter: u64, plaintext: &'a [u8], out: &'a mut [u8]) -> Self {
        Self::new(key, counter, out, 0, plaintext)
    }

    /// Seals `head` and `body`, one behind the other, into `out`: a packet whose headers were built apart from its payload.
    ///
    /// `head` is copied at once, with what of `body` shares its last block of 64 bytes.
    #[inline]
    #[must_use]
    pub fn gather(key: &'a Key, counter: u64, head: &[u8], body: &'a [u8], out: &'a mut [u8]) -> Self {
        let need = head.len().saturating_add(body.len()).saturating_add(TAG_LEN);
        let have = out.len();
        if have < need || have - TAG_LEN > MAX_LEN {
            // Refused, and nothing is written.
            return Self::append(key, counter, out, head.len(), body);
        }
        out[..head.len()].copy_from_slice(head);
        Self::append(key, counter, out, head.len(), body)
    }

    /// Seals a packet whose first `head_len` bytes stand in `out` already, and whose rest is `body`: headers that were built
    /// where they belong, before a payload that is elsewhere.
    #[inline]
    #[must_use]
    pub fn append(key: &'a Key, counter: u64, out: &'a mut [u8], head_len: usize, body: &'a [u8]) -> Self {
        let need = head_len.saturating_add(body.len()).saturating_add(TAG_LEN);
        let have = out.len();
        let (mut lead, mut rest, mut outcome) = (0, &[][..], Outcome::Pending);
        if have < need {
            outcome = Outcome::too_small(need, have);
        } else if have - TAG_LEN > MAX_LEN {
            outcome = Outcome::too_long(have - TAG_LEN);
        } else {
            // No block of the cipher has two sources.
            lead = head_len.next_multiple_of(64).min(have - TAG_LEN);
            let (beside, behind) = body.split_at((lead - head_len).min(body.len()));
            let (copied, zeros) = out[head_len..lead].split_at_mut(beside.len());
            copied.copy_from_slice(beside);
            zeros.fill(0);
            rest = behind;
        }
        let given = head_len.saturating_add(body.len());
        Self::assemble(key, counter, out, lead, rest, given, outcome)
    }

    #[inline]
    fn new(key: &'a Key, counter: u64, out: &'a mut [u8], lead: usize, rest: &'a [u8]) -> Self {
        let have = out.len();
        let need = lead.saturating_add(rest.len()).saturating_add(TAG_LEN);
        let mut outcome = Outcome::Pending;
        if have < need {
            outcome = Outcome::too_small(need, have);
        } else if have - TAG_LEN > MAX_LEN {
            outcome = Outcome::too_long(have - TAG_LEN);
        }
        let given = lead.saturating_add(rest.len());
        Self::assemble(key, counter, out, lead, rest, given, outcome)
    }

    /// The one place that makes a job, which is then made where it stays: to move it costs more than to fill it in.
    #[inline(always)]
    fn assemble(
        key: &'a Key,
        counter: u64,
        out: &'a mut [u8],
        lead: usize,
        rest: &'a [u8],
        given: usize,
        outcome: Outcome,
    ) -> Self {
        let (text, tag) = match out.split_last_chunk_mut() {
            Some((text, tag)) => (text, Some(tag)),
            None => (&mut [][..], None),
        };
        Self { packet: Packet::new(key, counter, text, lead, rest, [0; TAG_LEN]), tag, given, outcome }
    }

    /// Computes the transport checksum of the packet while it is sealed and puts it where it belongs: into the packet, not into
    /// the zeros behind it.
    #[inline]
    #[must_use]
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        match self.patch(checksum) {
            Some(patch) => {
                self.packet.summing = true;
                self.packet.patch = Some(patch);
            }
            None if self.is_pending() => self.outcome = Outcome::ChecksumOutside,
            None => {}
        }
        self
    }

    /// What is to be done for a checksum; nothing if its field is not in the packet.
    #[inline]
    fn patch(&self, Checksum { start, offset }: Checksum) -> Option<Patch> {
        let field = start.checked_add(offset)?;
        if field.checked_add(2)? > self.given {
            return None;
        }
        let old = [self.packet.source(field)?, self.packet.source(field + 1)?];
        let before = self.packet.sum_before(start).to_be_bytes();
        // What has a byte in the packet is below 2^16.
        Some(Patch { field: u32::try_from(field).ok()?, odd: start % 2 == 1, before, old })
    }

    /// What came of it.
    ///
    /// # Errors
    ///
    /// [`AeadError::Pending`] before the batch was run, [`AeadError::BufferTooSmall`], [`AeadError::TooLong`],
    /// [`AeadError::ChecksumOutside`].
    #[inline]
    pub const fn result(&self) -> Result<(), AeadError> {
        self.outcome.result()
    }

    /// Whether the job is to be run.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.outcome == Outcome::Pending
    }

    /// Writes the tag that the kernel made.
    pub(crate) fn finish(&mut self) {
        if let Some(tag) = &mut self.tag {
            **tag = self.packet.tag;
        }
        self.outcome = Outcome::Done;
    }
}

/// One packet to be opened.
#[derive(Debug)]
pub struct OpenJob<'a> {
    pub(crate) packet: Packet<'a>,
    pub(crate) outcome: Outcome,
}

impl<'a> OpenJob<'a> {
    /// Opens in place: `buffer` holds ciphertext and tag.
    #[inline]
    #[must_use]
    pub fn in_place(key: &'a Key, counter: u64, buffer: &'a mut [u8]) -> Self {
        let have = buffer.len();
        let (text, tag, outcome) = match buffer.split_last_chunk_mut::<TAG_LEN>() {
            Some((text, tag)) => (text, *tag, Outcome::Pending),
            None => (&mut [][..], [0; TAG_LEN], Outcome::too_small(TAG_LEN, have)),
        };
        let outcome = if text.len() > MAX_LEN { Outcome::too_long(text.len()) } else { outcome };
        let lead = text.len();
        Self { packet: Packet::new(key, counter, text, lead, &[], tag), outcome }
    }

    /// Opens `ciphertext`, tag included, into the first bytes of `out`.
    #[inline]
    #[must_use]
    pub fn copy(key: &'a Key, counter: u64, ciphertext: &'a [u8], out: &'a mut [u8]) -> Self {
        let Some((body, tag)) = ciphertext.split_last_chunk::<TAG_LEN>() else {
            let have = ciphertext.len();
            return Self::refused(key, counter, Outcome::too_small(TAG_LEN, have));
        };
        let (need, have) = (body.len(), out.len());
        match out.get_mut(..need) {
            Some(text) => Self::new(key, counter, text, 0, body, *tag),
            None => Self::refused(key, counter, Outcome::too_small(need, have)),
        }
    }

    #[inline]
    fn new(
        key: &'a Key,
        counter: u64,
        text: &'a mut [u8],
        lead: usize,
        rest: &'a [u8],
        tag: [u8; TAG_LEN],
    ) -> Self {
        let have = text.len();
        let outcome = if have > MAX_LEN { Outcome::too_long(have) } else { Outcome::Pending };
        Self { packet: Packet::new(key, counter, text, lead, rest, tag), outcome }
    }

    fn refused(key: &'a Key, counter: u64, outcome: Outcome) -> Self {
        Self { packet: Packet::new(key, counter, &mut [], 0, &[], [0; TAG_LEN]), outcome }
    }

    /// Sums up the plaintext while it is written; see [`OpenJob::sum`].
    #[inline]
    #[must_use]
    pub const fn summing(mut self) -> Self {
        self.packet.summing = true;
        self
    }

    /// What came of it.
    ///
    /// # Errors
    ///
    /// [`AeadError::Pending`] before the batch was run, [`AeadError::BufferTooSmall`], [`AeadError::TooLong`],
    /// [`AeadError::TagMismatch`] for a forgery.
    #[inline]
    pub const fn result(&self) -> Result<(), AeadError> {
        self.outcome.result()
    }

    /// The one's complement sum of all of the plaintext, padding included; `None` if it was not asked for or the packet was not
    /// opened.
    #[inline]
    #[must_use]
    pub fn sum(&self) -> Option<Sum> {
        (self.packet.summing && self.outcome == Outcome::Done).then_some(self.packet.sum)
    }

    /// Whether the job is to be run.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.outcome == Outcome::Pending
    }

    /// Takes over what the kernel found.
    pub(crate) const fn finish(&mut self) {
        self.outcome = if self.packet.authentic { Outcome::Done } else { Outcome::TagMismatch };
    }
}
