//! Which datagrams leave in one message (`UDP_SEGMENT`), and what is done without after the kernel refused one.
//!
//! A message is a run of datagrams that stand one behind the other and are equally long, but for a shorter last one:
//!
//! ```text
//! | 1452 | 1452 | 1452 | 1452 | 700 | 96 | 96 | 96 |
//! `--------- one message ----------' `- another --'
//! ```
//!
//! | error of a message | after its datagrams passed one by one |
//! |---|---|
//! | EIO | no egress device can, or the path is one of IPsec: off for the socket |
//! | EINVAL, of more than 64 datagrams | a kernel before 6.9: at most 64 from now on |
//! | EINVAL, EMSGSIZE, of datagrams no link is too narrow for | off for the socket |
//! | EINVAL, EMSGSIZE | the link to this address is too narrow for the datagrams, which were fragmented: off for ones as long as these to this address, for a while |
//!
//! If they do not pass one by one either, the message was not at fault.

use core::net::IpAddr;

use wg_datapath::io::Segment;

use super::pair::Family;
use crate::Feature;

/// Datagrams in one message, by the newest kernels and by those before Linux 6.9.
pub(super) const MOST: usize = 128;
const FEWER: usize = 64;

/// Every link carries a packet with this much payload.
const SHORT: usize = 512;

/// Addresses with a narrow link that are remembered.
const NARROW: usize = 8;
/// Runs of datagrams to such an address until it is tried again.
const FORGET_AFTER: u32 = 4096;

/// Bytes in one message, at most: what is left of 64 KiB by the headers that count towards it.
pub(super) const fn max_bytes(family: Family) -> usize {
    match family {
        Family::V4 => 65_507,
        Family::V6 => 65_527,
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The datagrams.
    pub(super) payload: &'a [u8],
    /// How many there are.
    pub(super) segments: usize,
    /// The length of each but the last.
    pub(super) segment_size: u16,
}

/// What may go into one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Datagrams.
    pub(super) segments: usize,
    /// Bytes of each.
    pub(super) segment_size: usize,
    /// Bytes of all.
    pub(super) bytes: usize,
}

/// Cuts a run into messages: the first `singly` datagrams one by one, the others by the limits. It ends at a segment that
/// is not in the buffer.
pub(super) fn messages<'a>(
    buffer: &'a [u8],
    mut rest: &'a [Segment],
    mut singly: usize,
    limits: Limits,
) -> impl Iterator<Item = Message<'a>> {
    core::iter::from_fn(move || {
        let first = rest.first()?;
        let start = first.offset as usize;
        let size = first.len as usize;
        let mut end = start.checked_add(size)?;
        let mut segments = 1;
        // A message of no bytes would be no datagram, or one of many.
        if singly == 0 && size > 0 && size <= limits.segment_size {
            for next in rest.get(1..limits.segments.min(rest.len())).unwrap_or_default() {
                let len = next.len as usize;
                let fits = next.offset as usize == end
                    && (1..=size).contains(&len)
                    && end - start + len <= limits.bytes
                    && end + len <= buffer.len();
                if !fits {
                    break;
                }
                end += len;
                segments += 1;
                if len < size {
                    break;
                }
            }
        }
        singly = singly.saturating_sub(1);
        rest = rest.get(segments..)?;
        let payload = buffer.get(start..end)?;
        Some(Message { payload, segments, segment_size: u16::try_from(size).unwrap_or(0) })
    })
}

/// A message that the kernel refused, while its datagrams are sent one by one to see whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) segments: usize,
    pub(super) segment_size: usize,
    pub(super) errno: i32,
}

/// Whether a message of several datagrams may be refused with this error because it is one.
pub(super) const fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::EINVAL | libc::EMSGSIZE)
}

/// An address that datagrams from some length on are sent to one by one.
#[derive(Clone, Copy, Debug)]
struct Narrow {
    to: IpAddr,
    /// That length.
    size: usize,
    /// Runs until it is forgotten.
    left: u32,
}

/// What one socket may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gso {
    /// Datagrams in a message; 1 if there is no segmentation.
    segments: usize,
    narrow: [Option<Narrow>; NARROW],
    /// The entry to be replaced next.
    next: usize,
}

impl Gso {
    pub(super) const OFF: Self = Self { segments: 1, narrow: [None; NARROW], next: 0 };

    /// At most `segments` datagrams in one message.
    pub(super) const fn up_to(segments: usize) -> Self {
        Self { segments, ..Self::OFF }
    }

    /// The most datagrams in one message.
    pub(super) const fn segments(&self) -> usize {
        self.segments
    }

    /// What may go into one message to this address. Called once a run.
    pub(super) fn limits(&mut self, to: IpAddr, family: Family) -> Limits {
        let mut segment_size = usize::MAX;
        if let Some(entry) = self.narrow.iter_mut().find(|entry| entry.is_some_and(|entry| entry.to == to))
            && let Some(narrow) = entry
        {
            segment_size = narrow.size - 1;
            narrow.left -= 1;
            if narrow.left == 0 {
                *entry = None;
            }
        }
        Limits { segments: self.segments, segment_size, bytes: max_bytes(family) }
    }

    /// Learns from a message that was refused and whose datagrams then passed one by one. Returns what is now off.
    pub(super) fn learn(&mut self, refused: Refused, to: IpAddr) -> Option<Feature> {
        let Refused { segments, segment_size, errno } = refused;
        if errno == libc::EINVAL && segments > FEWER {
            self.segments = FEWER;
            return Some(Feature::UdpLongTrains);
        }
        if errno == libc::EIO || segment_size <= SHORT {
            self.segments = 1;
            return Some(Feature::UdpGso);
        }
        let narrow = Some(Narrow { to, size: segment_size, left: FORGET_AFTER });
        if let Some(known) = self.narrow.iter_mut().find(|entry| entry.is_some_and(|entry| entry.to == to)) {
            *known = narrow;
        } else if let Some(entry) = self.narrow.get_mut(self.next) {
            *entry = narrow;
            self.next = (self.next + 1) % NARROW;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { segments: 64, segment_size: usize::MAX, bytes: 65_507 };

    /// Segments of these lengths, one behind the other.
    fn contiguous(lengths: &[u32]) -> Vec<Segment> {
        let mut offset = 0;
        let mut segments = Vec::new();
        for &len in lengths {
            segments.push(Segment { offset, len });
            offset += len;
        }
        segments
    }

    fn counts(segments: &[Segment], singly: usize, limits: Limits) -> Vec<(usize, u16)> {
        let end = segments.iter().map(|segment| segment.offset + segment.len).max().unwrap_or(0);
        messages(&vec![0; end as usize], segments, singly, limits)
            .map(|message| (message.segments, message.segment_size))
            .collect()
    }

    #[test]
    fn equal_lengths_and_a_shorter_last_one_go_together() {
        let lengths = [1452, 1452, 1452, 1452, 700, 96, 96, 96, 97, 96];
        assert_eq!(counts(&contiguous(&lengths), 0, LIMITS), [(5, 1452), (3, 96), (2, 97)]);
        assert_eq!(
            counts(&contiguous(&lengths), 3, LIMITS),
            [(1, 1452), (1, 1452), (1, 1452), (2, 1452), (3, 96), (2, 97)]
        );
    }

    #[test]
    fn limits_end_a_message() {
        assert_eq!(counts(&contiguous(&[10; 150]), 0, LIMITS), [(64, 10), (64, 10), (22, 10)]);
        assert_eq!(counts(&contiguous(&[1452; 50]), 0, LIMITS), [(45, 1452), (5, 1452)]);
        assert_eq!(counts(&contiguous(&[10, 10]), 0, Limits { segments: 1, ..LIMITS }), [(1, 10), (1, 10)]);
        let narrow = Limits { segment_size: 99, ..LIMITS };
        assert_eq!(counts(&contiguous(&[100, 100, 99, 99]), 0, narrow), [(1, 100), (1, 100), (2, 99)]);
    }

    #[test]
    fn empty_and_scattered_datagrams_go_alone() {
        assert_eq!(
            counts(&contiguous(&[0, 0, 5, 0, 5]), 0, LIMITS),
            [(1, 0), (1, 0), (1, 5), (1, 0), (1, 5)]
        );
        let gap =
            [Segment { offset: 0, len: 4 }, Segment { offset: 5, len: 4 }, Segment { offset: 0, len: 4 }];
        assert_eq!(counts(&gap, 0, LIMITS), [(1, 4), (1, 4), (1, 4)]);
        let same = [Segment { offset: 0, len: 4 }; 3];
        assert_eq!(counts(&same, 0, LIMITS), [(1, 4), (1, 4), (1, 4)]);
    }

    proptest! {
        #[test]
        fn messages_hold_every_datagram_once_up_to_the_first_outside(
            segments in proptest::collection::vec((0_u32..40, 0_u32..12), 0..60),
            room in 0_usize..50,
            singly in 0_usize..4,
            most in 1_usize..6,
        ) {
            let segments: Vec<_> = segments.into_iter().map(|(offset, len)| Segment { offset, len }).collect();
            let buffer: Vec<u8> = (0..).take(room).collect();
            let limits = Limits { segments: most, segment_size: 9, bytes: 30 };
            let of = |segment: &Segment| buffer.get(segment.offset as usize..(segment.offset + segment.len) as usize);
            let expected: Vec<&[u8]> = segments.iter().map_while(of).collect();
            let mut got = Vec::new();
            for message in messages(&buffer, &segments, singly, limits) {
                prop_assert!(message.segments <= most);
                if message.segments == 1 {
                    got.push(message.payload);
                } else {
                    prop_assert!(got.len() >= singly && message.payload.len() <= 30);
                    let datagrams: Vec<_> = message.payload.chunks(message.segment_size.into()).collect();
                    prop_assert_eq!(datagrams.len(), message.segments);
                    got.extend(datagrams);
                }
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_is_learnt_depends_on_what_was_refused() {
        let to = "192.0.2.1".parse().unwrap();
        let refused = |segments, segment_size, errno| Refused { segments, segment_size, errno };
        let mut gso = Gso::up_to(128);
        assert_eq!(gso.learn(refused(65, 96, libc::EINVAL), to), Some(Feature::UdpLongTrains));
        assert_eq!(gso.segments(), 64);
        assert_eq!(gso.learn(refused(64, 96, libc::EINVAL), to), Some(Feature::UdpGso));
        assert_eq!(gso.segments(), 1);
        let mut gso = Gso::up_to(128);
        assert_eq!(gso.learn(refused(100, 600, libc::EIO), to), Some(Feature::UdpGso));
        assert_eq!(gso.segments(), 1);
    }

    #[test]
    fn narrow_link_is_remembered_for_its_address_and_a_while() {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut gso = Gso::up_to(64);
        for errno in [libc::EINVAL, libc::EMSGSIZE] {
            assert_eq!(gso.learn(Refused { segments: 2, segment_size: 1452, errno }, address(1)), None);
        }
        assert_eq!(gso.segments(), 64);
        for _ in 0..FORGET_AFTER {
            assert_eq!(gso.limits(address(1), Family::V4).segment_size, 1451);
        }
        assert_eq!(gso.limits(address(1), Family::V4).segment_size, usize::MAX, "it is tried again");
        let learn = |gso: &mut Gso, last| {
            gso.learn(Refused { segments: 2, segment_size: 1452, errno: libc::EMSGSIZE }, address(last))
        };
        for last in 0..=8 {
            learn(&mut gso, last);
        }
        assert_eq!(gso.limits(address(0), Family::V4).segment_size, usize::MAX, "the oldest made room");
        for last in 1..=8 {
            assert_eq!(gso.limits(address(last), Family::V4).segment_size, 1451, "{last}");
        }
    }
}
