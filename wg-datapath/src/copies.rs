//! One more copy of each packet in each direction, for a bench to tell what it is worth that there is none.
//!
//! A datapath of the usual kind takes a packet out of the frame that the TUN device gave and encrypts it where it put it, and takes
//! what it has decrypted out of the buffer of the datagram before it hands it on. Here the cipher reads the frame and writes the
//! message, and what was opened stays where it came until it is written. With the feature `measure-copies` both copies are
//! made, and the same leaves and is delivered. Without it nothing of this is in the program.
//!
//! ```text
//!   out:  frame --copy--> slab, sealed in place --> socket
//!   in:   slab, opened in place --copy--> room --> merged, written
//! ```

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use core::marker::PhantomData;

/// Whether packets to be sealed are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    /// No packet is moved for its own sake.
    Spared,
    /// For measurement only.
    Made,
}

impl Copies {
    /// As the crate was built. What is not done is known to the compiler.
    pub(crate) const BUILT: Self = if cfg!(feature = "measure-copies") { Self::Made } else { Self::Spared };

    /// Of a packet to be sealed, the length of what stands in `out`, and the rest, which the cipher fetches. Where copies are made all
    /// of it stands there afterwards.
    #[inline]
    pub(crate) fn gather<'a>(self, out: &mut [u8], head_len: usize, body: &'a [u8]) -> (usize, &'a [u8]) {
        if self == Self::Spared {
            return (head_len, body);
        }
        let room = out.get_mut(head_len..).and_then(|rest| rest.get_mut(..body.len()));
        // What has no room is refused by the cipher, here as there.
        let Some(room) = room else { return (head_len, body) };
        room.copy_from_slice(body);
        (head_len.saturating_add(body.len()), &[])
    }
}

/// What a lane has to copy the opened packets of a batch to.
#[derive(Debug, Default)]
pub(crate) struct CopyOut {
    #[cfg(feature = "measure-copies")]
    bytes: alloc::boxed::Box<[u8]>,
}

impl CopyOut {
    /// Of as many packets as a batch has, 2 KiB each on average.
    #[cfg(feature = "measure-copies")]
    const BYTES: usize = crate::batch::BATCH_SEGMENTS << 11;

    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "measure-copies")]
            bytes: alloc::vec![0; Self::BYTES].into_boxed_slice(),
        }
    }

    /// The memory it takes, besides itself.
    pub(crate) const fn memory_bytes(&self) -> usize {
        #[cfg(feature = "measure-copies")]
        return self.bytes.len();
        #[cfg(not(feature = "measure-copies"))]
        0
    }

    /// The room for the next batch.
    pub(crate) fn room(&mut self) -> CopyRoom<'_> {
        CopyRoom {
            #[cfg(feature = "measure-copies")]
            free: Some(&mut self.bytes),
            #[cfg(all(test, not(feature = "measure-copies")))]
            free: None,
            packets: PhantomData,
        }
    }
}

/// Room for the opened packets of a batch, one behind the other.
#[derive(Debug)]
pub(crate) struct CopyRoom<'a> {
    /// Nothing where no copies are made.
    #[cfg(any(test, feature = "measure-copies"))]
    free: Option<&'a mut [u8]>,
    packets: PhantomData<&'a [u8]>,
}

impl<'a> CopyRoom<'a> {
    /// Copies a packet, where copies are made. One that has no room, and all behind it, stay where they are.
    #[inline]
    pub(crate) fn take<'p: 'a>(&mut self, packet: &'p [u8]) -> &'a [u8] {
        #[cfg(any(test, feature = "measure-copies"))]
        if let Some((copy, free)) = self.free.take().and_then(|free| free.split_at_mut_checked(packet.len()))
        {
            copy.copy_from_slice(packet);
            self.free = Some(free);
            return copy;
        }
        packet
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow and fail")]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use wg_aead::Checksum;

    use super::*;
    use crate::batch_aead::{BatchAead, SealSegment};

    /// A message that is sealed of a head and a body.
    fn sealed<A: BatchAead>(copies: Copies, head: &[u8], body: &[u8], checksum: Option<Checksum>) -> Vec<u8> {
        // 5 bytes of padding and the tag.
        let mut out = vec![0xee; head.len() + body.len() + 5 + 16];
        out[..head.len()].copy_from_slice(head);
        let (head_len, body) = copies.gather(&mut out, head.len(), body);
        let key = &A::new(&[7; 32]);
        let mut jobs =
            [SealSegment { key, counter: 9, out: &mut out, head_len, body, checksum, result: Ok(()) }];
        A::seal_segments(&mut jobs);
        assert_eq!(jobs[0].result, Ok(()));
        out
    }

    fn the_same_is_sealed<A: BatchAead>() {
        let bytes: Vec<u8> = (0..1400_u32).map(|at| at.to_le_bytes()[0]).collect();
        for head_len in [0, 1, 40, 64, 100] {
            for body_len in [0, 1, 63, 1300] {
                let (head, body) = (&bytes[..head_len], &bytes[head_len..head_len + body_len]);
                let fits = head_len + body_len >= 48;
                for checksum in [None, fits.then_some(Checksum { start: 20, offset: 16 })] {
                    let [spared, made] = [Copies::Spared, Copies::Made]
                        .map(|copies| sealed::<A>(copies, head, body, checksum));
                    assert_eq!(spared, made, "{head_len}, {body_len}, {checksum:?}");
                }
            }
        }
    }

    #[test]
    fn the_same_is_sealed_with_and_without_a_copy() {
        #[cfg(feature = "multi-buffer")]
        the_same_is_sealed::<crate::MultiBufferAead>();
        #[cfg(feature = "ring")]
        the_same_is_sealed::<wg_proto::aead::RingAead>();
    }

    #[test]
    fn a_packet_is_gathered_behind_its_head_and_nothing_is_left_to_fetch() {
        let mut out = *b"head...........tag";
        assert_eq!(Copies::Spared.gather(&mut out, 4, b"body"), (4, &b"body"[..]));
        assert_eq!(out, *b"head...........tag");
        assert_eq!(Copies::Made.gather(&mut out, 4, b"body"), (8, &b""[..]));
        assert_eq!(out, *b"headbody.......tag");
    }

    #[test]
    fn what_has_no_room_is_left_to_the_cipher_to_refuse() {
        for head_len in [2, 7, 8, 9, usize::MAX] {
            let mut out = [0_u8; 8];
            let gathered = Copies::Made.gather(&mut out, head_len, b"long body");
            assert_eq!((gathered, out), ((head_len, &b"long body"[..]), [0; 8]));
        }
    }

    #[test]
    fn packets_are_copied_in_order_until_there_is_no_room() {
        let packets: Vec<Vec<u8>> = (1..=4).map(|number| (10 * number..11 * number).collect()).collect();
        let mut bytes = [0; 7];
        let mut room = CopyRoom { free: Some(&mut bytes), packets: PhantomData };
        let taken: Vec<&[u8]> = packets.iter().map(|packet| room.take(packet)).collect();
        assert_eq!(taken, packets);
        let is_copied = |at: usize| taken[at].as_ptr() != packets[at].as_ptr();
        assert_eq!([0, 1, 2, 3].map(is_copied), [true, true, true, false]);
        assert_eq!(bytes, [10, 20, 21, 30, 31, 32, 0]);

        let mut room = CopyRoom { free: None, packets: PhantomData };
        assert_eq!(room.take(&packets[0]).as_ptr(), packets[0].as_ptr());
    }
}
