//! The split of a frame into packets, without a copy of its payload.
//!
//! ```text
//!   frame:     | headers | payload 0 | payload 1 | rest |
//!
//!   packet 0:  | headers, rewritten | payload 0 |
//!   packet 1:  | headers, rewritten | payload 1 |
//!   packet 2:  | headers, rewritten | rest |
//! ```
//!
//! Where the headers end is read from the headers themselves. What changes in them: lengths, the IPv4 identification (one
//! more for each packet) and header checksum, the TCP sequence number and flags. FIN and PSH stay on the last packet, CWR on
//! the first (RFC 3168, 6.1.2). The transport checksum is left to whoever touches the payload: its field gets the sum of the
//! pseudo header, which is that of the frame with another length. [`Coalescer`](crate::Coalescer) is the inverse.
//!
//! Every datagram of a UDP frame gets a checksum: the host asks for one, and a field of 0 is a sum here and not "none".
//! Frames beyond 65,535 bytes (BIG TCP), whose length field is 0, are refused; a TUN device has them only when its
//! `gso_max_size` was raised.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use core::fmt;
use core::ops::Range;

use wg_aead::Checksum;

use crate::header::{
    CWR, FIN, FRAGMENT_BITS, IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_ID, IPV4_LEN, IPV4_PROTOCOL, IPV4_TOTAL_LEN,
    IPV6_LEN, IPV6_NEXT, IPV6_PAYLOAD_LEN, PSH, TCP, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_FLAGS, TCP_LEN,
    TCP_SEQUENCE, Transport, UDP, UDP_CHECKSUM, UDP_LEN, UDP_LENGTH, field, fold, length, put, sum, word,
};
use crate::ip::IpVersion;
use crate::offload::{Offload, Segmentation, SegmentationKind};

/// The longest headers of a frame that is split: room for the longest of IPv4 and TCP (120 bytes), and for 156 bytes of IPv6
/// extension headers.
pub const MAX_HEADERS: usize = 256;

/// The longest frame that is split: what an IPv4 length field can say.
const MAX_FRAME: usize = 65_535;

/// Why a frame cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentError {
    /// The IP version or the protocol is not that of the kind.
    WrongKind,
    /// The frame ends before its headers do, or a header is shorter than it can be.
    Truncated,
    /// The IP length field does not say the length of the frame, or that is more than 65,535.
    BadLength,
    /// It is a fragment.
    Fragment,
    /// The headers are longer than [`MAX_HEADERS`].
    HeadersTooLong,
    /// The checksum lies outside of the frame, is not where the headers have it, or is missing.
    BadChecksum,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongKind => "not a frame of the kind that was said",
            Self::Truncated => "the headers are not all there",
            Self::BadLength => "the IP length field is not the length of the frame",
            Self::Fragment => "a fragment",
            Self::HeadersTooLong => "the headers are too long",
            Self::BadChecksum => "the checksum is not where the headers have it",
        })
    }
}

impl core::error::Error for SegmentError {}

/// How a frame becomes packets: offsets and sums, no bytes. The frame is given again where they are needed.
///
/// # Examples
///
/// ```
/// use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind};
/// use wg_datapath::{Segmenter, Sum};
///
/// // A UDP frame of 10 bytes of payload, to be split after every 4.
/// let mut frame = [&[0x45, 0, 0, 38, 0, 9, 0x40, 0, 64, 17][..], &[0; 28]].concat();
/// frame[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
/// let pseudo = Sum::of(&frame[12..20]) + Sum::of_word(17) + Sum::of_word(18);
/// frame[26..28].copy_from_slice(&pseudo.to_be_bytes());
/// let offload = Offload {
///     checksum: Some(Checksum { start: 20, offset: 6 }),
///     segmentation: Some(Segmentation {
///         kind: SegmentationKind::Udp,
///         segment_size: 4.try_into().unwrap(),
///         ecn: false,
///     }),
/// };
/// let split = Segmenter::new(&frame, &offload).unwrap();
/// assert_eq!((split.count(), split.header_len()), (3, 28));
/// assert_eq!((split.packet_len(2), split.payload(2)), (30, 36..38));
///
/// let mut packet = vec![0; split.header_len()];
/// assert!(split.write_header(&frame, 2, &mut packet));
/// packet.extend(&frame[split.payload(2)]);
/// assert_eq!(packet[2..6], [0, 30, 0, 11], "length and identification");
/// assert!(Sum::of(&packet[..20]).verifies());
/// // The checksum is completed where the payload is touched anyway.
/// assert_eq!(split.checksum(), offload.checksum);
/// let checksum = Sum::of(&packet[20..]).checksum();
/// packet[26..28].copy_from_slice(&checksum);
/// let pseudo = Sum::of(&packet[12..20]) + Sum::of_word(17) + Sum::of_word(10);
/// assert!((pseudo + Sum::of(&packet[20..])).verifies());
/// ```
// Small, as it is moved with each frame, and a packet that comes singly is hardly longer.
#[derive(Clone, Copy, Debug)]
pub struct Segmenter {
    frame_len: u32,
    /// What each packet but the last has of the payload.
    segment_size: u32,
    count: u32,
    /// 0 if nothing in the headers changes.
    header_len: u16,
    has_checksum: bool,
    /// Of the checksum.
    start: u32,
    offset: u32,
    version: IpVersion,
    transport: Transport,
    /// The sum of an IPv4 header without what changes: length, identification and checksum.
    ip_sum: u16,
    identification: u16,
    sequence: u32,
    flags: u8,
    /// The sum of the pseudo header without its length.
    pseudo_sum: u16,
}

impl Segmenter {
    /// Finds out how a frame is split. A packet is a frame of one segment, and is not looked at.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]: the headers and what was said of the frame disagree.
    #[inline]
    pub fn new(frame: &[u8], offload: &Offload) -> Result<Self, SegmentError> {
        match &offload.segmentation {
            Some(segmentation) => Self::split(frame, segmentation, offload.checksum),
            None => Self::whole(frame, offload.checksum),
        }
    }

    /// How many packets the frame makes: at least one, and as many as its payload has bytes at most.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// The length of a whole packet, headers and payload.
    #[inline]
    #[must_use]
    pub fn packet_len(&self, at: usize) -> usize {
        self.header_len().saturating_add(self.payload(at).len())
    }

    /// How many bytes [`Segmenter::write_header`] writes; 0 for a packet that needs no other headers.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// What of the frame is behind the headers of a packet; nothing if there are not as many packets.
    #[inline]
    #[must_use]
    pub fn payload(&self, at: usize) -> Range<usize> {
        let (frame_len, segment_size) = (self.frame_len as usize, self.segment_size as usize);
        let start = self.header_len().saturating_add(at.saturating_mul(segment_size)).min(frame_len);
        start..start.saturating_add(segment_size).min(frame_len)
    }

    /// The checksum of each packet that is to be completed where its payload is touched, by offsets in the packet.
    #[inline]
    #[must_use]
    pub const fn checksum(&self) -> Option<Checksum> {
        if self.has_checksum {
            Some(Checksum { start: self.start as usize, offset: self.offset as usize })
        } else {
            None
        }
    }

    /// Writes the headers of a packet to the start of `out`, from those of the same frame.
    ///
    /// False, and `out` is of no use, if there is no such packet, or no room.
    #[inline]
    #[must_use]
    pub fn write_header(&self, frame: &[u8], at: usize, out: &mut [u8]) -> bool {
        self.rewrite(frame, at, out).is_some()
    }

    /// Takes in that the ECN field of the frame was changed, and its IPv4 checksum with it.
    pub(crate) fn headers_changed(&mut self, frame: &[u8]) {
        let (Some(Checksum { start, .. }), 1.., IpVersion::V4) =
            (self.checksum(), self.header_len, self.version)
        else {
            return;
        };
        if let Some(sum) = frame.get(..start).and_then(unchanging_sum) {
            self.ip_sum = sum;
        }
    }

    #[inline]
    fn whole(frame: &[u8], checksum: Option<Checksum>) -> Result<Self, SegmentError> {
        let Ok(frame_len) = u32::try_from(frame.len()) else { return Err(SegmentError::BadLength) };
        if let Some(Checksum { start, offset }) = checksum {
            let end = start.checked_add(offset).and_then(|field| field.checked_add(2));
            if end.is_none_or(|end| end > frame.len()) {
                return Err(SegmentError::BadChecksum);
            }
        }
        Ok(Self {
            frame_len,
            segment_size: frame_len,
            count: 1,
            header_len: 0,
            has_checksum: checksum.is_some(),
            start: checksum.map_or(0, |checksum| offset_in_frame(checksum.start)),
            offset: checksum.map_or(0, |checksum| offset_in_frame(checksum.offset)),
            version: IpVersion::V4,
            transport: Transport::Udp,
            ip_sum: 0,
            identification: 0,
            sequence: 0,
            flags: 0,
            pseudo_sum: 0,
        })
    }

    fn split(
        frame: &[u8],
        segmentation: &Segmentation,
        checksum: Option<Checksum>,
    ) -> Result<Self, SegmentError> {
        let (version, protocol, start) = match frame.first().map(|first| first >> 4) {
            Some(4) => v4_headers(frame)?,
            Some(6) => v6_headers(frame)?,
            Some(_) => return Err(SegmentError::WrongKind),
            None => return Err(SegmentError::Truncated),
        };
        let transport = match (segmentation.kind, version, protocol) {
            (SegmentationKind::Tcp4, IpVersion::V4, TCP) | (SegmentationKind::Tcp6, IpVersion::V6, TCP) => {
                Transport::Tcp
            }
            (SegmentationKind::Udp, _, UDP) => Transport::Udp,
            _ => return Err(SegmentError::WrongKind),
        };
        let (len, offset) = match transport {
            Transport::Tcp => (tcp_header_len(frame, start)?, TCP_CHECKSUM),
            Transport::Udp => (UDP_LEN, UDP_CHECKSUM),
        };
        let header_len = start.saturating_add(len);
        let Some(payload) = frame.len().checked_sub(header_len) else { return Err(SegmentError::Truncated) };
        if header_len > MAX_HEADERS {
            return Err(SegmentError::HeadersTooLong);
        }
        let place = Checksum { start, offset };
        if checksum != Some(place) {
            return Err(SegmentError::BadChecksum);
        }
        let segment_size = usize::from(segmentation.segment_size.get());
        let truncated = SegmentError::Truncated;
        let pseudo_sum = word(frame, start.saturating_add(offset)).ok_or(truncated)?;
        let mut split = Self {
            frame_len: u32::try_from(frame.len()).map_err(|_| SegmentError::BadLength)?,
            segment_size: segmentation.segment_size.get().into(),
            count: offset_in_frame(payload.div_ceil(segment_size).max(1)),
            header_len: length(header_len),
            has_checksum: true,
            start: offset_in_frame(start),
            offset: offset_in_frame(offset),
            version,
            transport,
            ip_sum: 0,
            identification: 0,
            sequence: 0,
            flags: 0,
            pseudo_sum: plus(pseudo_sum, !length(frame.len().saturating_sub(start))),
        };
        if version == IpVersion::V4 {
            split.identification = word(frame, IPV4_ID).ok_or(truncated)?;
            split.ip_sum = frame.get(..start).and_then(unchanging_sum).ok_or(truncated)?;
        }
        if transport == Transport::Tcp {
            let sequence = start.saturating_add(TCP_SEQUENCE);
            split.sequence = field(frame, sequence).map(u32::from_be_bytes).ok_or(truncated)?;
            [split.flags] = field(frame, start.saturating_add(TCP_FLAGS)).ok_or(truncated)?;
        }
        Ok(split)
    }

    #[inline]
    fn rewrite(&self, frame: &[u8], at: usize, out: &mut [u8]) -> Option<()> {
        if at >= self.count() {
            return None;
        }
        let (Some(Checksum { start, offset }), header_len @ 1..) = (self.checksum(), self.header_len())
        else {
            return Some(());
        };
        let out = out.get_mut(..header_len)?;
        out.copy_from_slice(frame.get(..header_len)?);
        let payload = self.payload(at);
        let packet_len = header_len.saturating_add(payload.len());
        let (network, transport) = out.split_at_mut_checked(start)?;
        match self.version {
            IpVersion::V4 => {
                let total = length(packet_len);
                let identification = self.identification.wrapping_add(nth(at));
                put(network, IPV4_TOTAL_LEN, total.to_be_bytes())?;
                put(network, IPV4_ID, identification.to_be_bytes())?;
                let checksum = !plus(plus(self.ip_sum, total), identification);
                put(network, IPV4_CHECKSUM, checksum.to_be_bytes())?;
            }
            IpVersion::V6 => {
                put(network, IPV6_PAYLOAD_LEN, length(packet_len.saturating_sub(IPV6_LEN)).to_be_bytes())?;
            }
        }
        let transport_len = length(packet_len.saturating_sub(start));
        match self.transport {
            Transport::Tcp => {
                let passed = u32::try_from(payload.start.saturating_sub(header_len)).ok()?;
                put(transport, TCP_SEQUENCE, self.sequence.wrapping_add(passed).to_be_bytes())?;
                let only_last = if at.saturating_add(1) == self.count() { 0 } else { FIN | PSH };
                let only_first = if at == 0 { 0 } else { CWR };
                put(transport, TCP_FLAGS, [self.flags & !only_last & !only_first])?;
            }
            Transport::Udp => put(transport, UDP_LENGTH, transport_len.to_be_bytes())?,
        }
        put(transport, offset, plus(self.pseudo_sum, transport_len).to_be_bytes())
    }
}

/// The sum of an IPv4 header without what is another in each packet.
fn unchanging_sum(header: &[u8]) -> Option<u16> {
    [IPV4_TOTAL_LEN, IPV4_ID, IPV4_CHECKSUM]
        .iter()
        .try_fold(fold(sum(header)), |all, at| Some(plus(all, !word(header, *at)?)))
}

/// Version, protocol, and where the transport header starts.
type Network = (IpVersion, u8, usize);

fn v4_headers(frame: &[u8]) -> Result<Network, SegmentError> {
    let header: &[u8; IPV4_LEN] = frame.first_chunk().ok_or(SegmentError::Truncated)?;
    let &[first, ..] = header;
    let header_len = usize::from(first & 0xf).saturating_mul(4);
    if header_len < IPV4_LEN {
        return Err(SegmentError::Truncated);
    }
    if word(header, IPV4_TOTAL_LEN).map(usize::from) != Some(frame.len()) {
        return Err(SegmentError::BadLength);
    }
    if word(header, IPV4_FRAGMENT).is_none_or(|bits| bits & FRAGMENT_BITS != 0) {
        return Err(SegmentError::Fragment);
    }
    let [protocol] = field(header, IPV4_PROTOCOL).ok_or(SegmentError::Truncated)?;
    Ok((IpVersion::V4, protocol, header_len))
}

fn v6_headers(frame: &[u8]) -> Result<Network, SegmentError> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let header: &[u8; IPV6_LEN] = frame.first_chunk().ok_or(SegmentError::Truncated)?;
    let said = word(header, IPV6_PAYLOAD_LEN).map(|len| usize::from(len).saturating_add(IPV6_LEN));
    if said != Some(frame.len()) || frame.len() > MAX_FRAME {
        return Err(SegmentError::BadLength);
    }
    let [mut next] = field(header, IPV6_NEXT).ok_or(SegmentError::Truncated)?;
    let mut at = IPV6_LEN;
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
        let [then, units] = field(frame, at).ok_or(SegmentError::Truncated)?;
        at = usize::from(units).saturating_add(1).saturating_mul(8).saturating_add(at);
        if at > MAX_HEADERS {
            return Err(SegmentError::HeadersTooLong);
        }
        next = then;
    }
    if next == FRAGMENT { Err(SegmentError::Fragment) } else { Ok((IpVersion::V6, next, at)) }
}

fn tcp_header_len(frame: &[u8], start: usize) -> Result<usize, SegmentError> {
    let [offset] = field(frame, start.saturating_add(TCP_DATA_OFFSET)).ok_or(SegmentError::Truncated)?;
    let len = usize::from(offset >> 4).saturating_mul(4);
    if len < TCP_LEN { Err(SegmentError::Truncated) } else { Ok(len) }
}

/// The number of a packet, as what is added to a field of 16 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the field wraps around, too")]
const fn nth(at: usize) -> u16 {
    at as u16
}

/// An offset in a frame, or the number of a packet: less than the frame is long, which 32 bits hold.
#[inline]
fn offset_in_frame(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// One's complement addition.
#[inline]
const fn plus(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u16)
}
