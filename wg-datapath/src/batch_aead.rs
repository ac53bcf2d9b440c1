//! The AEAD over the segments of batches: what is copied, summed and sealed is touched once.
//!
//! [`wg_proto::aead::Aead`] knows packets in one buffer. Here a packet to be sealed may have its headers and its payload in
//! two places, and a checksum to be completed on the way; and one that is opened is summed up, so that it can be merged with
//! its neighbours. The defaults do this one step behind the other, for any backend.

#[cfg(test)]
mod tests;

use wg_aead::{Checksum, Sum};
use wg_proto::aead::{Aead, AeadError};
use wg_proto::wire::TAG_LEN;

/// A packet to be sealed.
///
/// ```text
///   out:  | head | room for body | padding | room for the tag |
/// ```
#[derive(Debug)]
pub struct SealSegment<'a, A> {
    /// The key; jobs of one batch may have different ones.
    pub key: &'a A,
    /// The counter.
    pub counter: u64,
    /// Where the message goes; its first `head_len` bytes are the headers of the packet, and the room between `body` and the
    /// tag becomes zeros.
    pub out: &'a mut [u8],
    /// How many bytes of the packet stand in `out`.
    pub head_len: usize,
    /// The rest of it.
    pub body: &'a [u8],
    /// The transport checksum to complete, by offsets into the packet. One that lies outside, be it in the padding, is refused as
    /// a buffer that is too small.
    pub checksum: Option<Checksum>,
    /// What came of it. A job that is refused leaves `out` as it is.
    pub result: Result<(), AeadError>,
}

/// A packet to be opened in place.
#[derive(Debug)]
pub struct OpenSegment<'a, A> {
    /// The key; jobs of one batch may have different ones.
    pub key: &'a A,
    /// The counter.
    pub counter: u64,
    /// Ciphertext and tag.
    pub buffer: &'a mut [u8],
    /// The sum of the plaintext, padding included, once it was opened; that of nothing, if it was not.
    pub sum: Sum,
    /// What came of it.
    pub result: Result<(), AeadError>,
}

/// A transport AEAD that the datapath can use.
///
/// Any [`Aead`] can be one: `impl BatchAead for MyAead {}`.
pub trait BatchAead: Aead {
    /// Seals a batch of independent packets.
    fn seal_segments(jobs: &mut [SealSegment<'_, Self>]) {
        for job in jobs {
            job.result = seal(job);
        }
    }

    /// Opens a batch of independent packets in place; each job reports for itself.
    fn open_segments(jobs: &mut [OpenSegment<'_, Self>]) {
        for job in jobs {
            job.result = job.key.open_in_place(job.counter, job.buffer);
            let opened = job.buffer.split_last_chunk::<TAG_LEN>().filter(|_| job.result.is_ok());
            job.sum = opened.map_or_else(Sum::default, |(text, _)| Sum::of(text));
        }
    }
}

#[cfg(feature = "rustcrypto")]
impl BatchAead for wg_proto::aead::RustCryptoAead {}
#[cfg(feature = "ring")]
impl BatchAead for wg_proto::aead::RingAead {}

/// Whether a job can be done: its buffer holds the packet and a tag, and its checksum lies in the packet.
pub(crate) fn check<A>(job: &SealSegment<'_, A>) -> Result<(), AeadError> {
    let packet = job.head_len.saturating_add(job.body.len());
    let (need, have) = (packet.saturating_add(TAG_LEN), job.out.len());
    if have < need {
        return Err(AeadError::BufferTooSmall { need, have });
    }
    let end =
        job.checksum.map_or(0, |Checksum { start, offset }| start.saturating_add(offset).saturating_add(2));
    if packet < end { Err(AeadError::BufferTooSmall { need: end, have: packet }) } else { Ok(()) }
}

fn seal<A: Aead>(job: &mut SealSegment<'_, A>) -> Result<(), AeadError> {
    check(job)?;
    let text = job.out.len().saturating_sub(TAG_LEN);
    if let Some((body, padding)) =
        job.out.get_mut(job.head_len..text).and_then(|room| room.split_at_mut_checked(job.body.len()))
    {
        body.copy_from_slice(job.body);
        padding.fill(0);
    }
    if let Some(Checksum { start, offset }) = job.checksum
        // The padding is zeros, and counts for nothing.
        && let Some(covered) = job.out.get_mut(start..text)
    {
        let checksum = Sum::of(covered).checksum();
        if let Some(field) = covered.get_mut(offset..).and_then(<[u8]>::first_chunk_mut) {
            *field = checksum;
        }
    }
    job.key.seal_in_place(job.counter, job.out)
}
