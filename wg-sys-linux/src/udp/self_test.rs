//! What the UDP stack of this machine can do, tried over loopback before traffic depends on it.
//!
//! Two pairs of sockets of their own exchange one datagram, and then as many in one message as the kernel takes. What is
//! refused, or is lost while the one datagram arrives, does not work; whatever cannot be tried, because loopback is down or
//! filtered, stays on and is found out by traffic.

use core::fmt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wg_datapath::io::{RecvSlot, Segment, SendStatus, Transmit, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::Endpoint;

use super::{Udp, gso};
use crate::Offloads;

/// The length of a datagram, and what it is filled with.
const LEN: u32 = 32;
const FILL: u8 = 0xa5;

/// Waits for datagrams, at most; loopback delivers before a send returns.
const WAITS: u32 = 10;
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// What was found out about one offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It works.
    Works,
    /// It does not.
    Fails,
    /// It was not asked for, or could not be tried.
    Untried,
}

/// What [`Udp::self_test`] found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Several datagrams in one send.
    pub gso: Tried,
    /// How many, at most; 1 if none were seen to arrive.
    pub max_segments: usize,
    /// Several datagrams in one receive.
    pub gro: Tried,
}

impl SelfTest {
    const UNTRIED: Self = Self { gso: Tried::Untried, max_segments: 1, gro: Tried::Untried };

    /// Leaves out of `wanted` what does not work.
    #[must_use]
    pub fn allow(&self, wanted: Offloads) -> Offloads {
        Offloads {
            udp_gso: wanted.udp_gso && self.gso != Tried::Fails,
            udp_gro: wanted.udp_gro && self.gro != Tried::Fails,
            ..wanted
        }
    }
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gso {
            Tried::Works => write!(f, "UDP segmentation up to {}", self.max_segments)?,
            Tried::Fails => f.write_str("no UDP segmentation")?,
            Tried::Untried => f.write_str("UDP segmentation untried")?,
        }
        f.write_str(match self.gro {
            Tried::Works => ", UDP receive offload",
            Tried::Fails => ", no UDP receive offload",
            Tried::Untried => ", UDP receive offload untried",
        })
    }
}

impl Udp {
    /// Tries the offloads over loopback, in the network namespace of this thread. It takes a fraction of a millisecond if
    /// everything works, and a fifth of a second at most.
    #[must_use]
    pub fn self_test(wanted: Offloads) -> SelfTest {
        let (Ok(mut here), Ok(mut there)) = (Self::bind_with(0, 0, wanted), Self::bind_with(0, 0, wanted))
        else {
            return SelfTest::UNTRIED;
        };
        let refused_gro = wanted.udp_gro
            && there.take_downgrade().is_some_and(|told| told.feature == crate::Feature::UdpGro);
        let to = Endpoint::new((core::net::Ipv4Addr::LOCALHOST, there.port()).into());
        if exchange(&mut here, &mut there, &to, 1) != Some((1, 1)) {
            return SelfTest::UNTRIED;
        }
        let Some((arrived, longest)) = exchange(&mut here, &mut there, &to, gso::MOST) else {
            return SelfTest::UNTRIED;
        };
        let max_segments = here.max_segments().0;
        let tried = |works| if works { Tried::Works } else { Tried::Fails };
        let whole = arrived == gso::MOST;
        SelfTest {
            gso: if wanted.udp_gso { tried(max_segments > 1 && whole) } else { Tried::Untried },
            max_segments: if whole { max_segments } else { 1 },
            gro: match wanted.udp_gro {
                true if refused_gro || !whole => Tried::Fails,
                true if longest > 1 => Tried::Works,
                // Single datagrams are not joined on loopback.
                _ => Tried::Untried,
            },
        }
    }
}

/// Sends datagrams in as few messages as may be, and returns how many arrived and how many in one receive. `None` if they
/// cannot be sent.
fn exchange(here: &mut Udp, there: &mut Udp, to: &Endpoint, count: usize) -> Option<(usize, usize)> {
    let segments = core::array::from_fn::<_, { gso::MOST }, _>(|n| Segment {
        offset: u32::try_from(n).unwrap_or(0) * LEN,
        len: LEN,
    });
    let segments = segments.get(..count)?;
    let buffer = [FILL; LEN as usize * gso::MOST];
    let report = here.send(&Transmit { endpoint: to, tos: 0, buffer: &buffer, segments });
    if report.status != SendStatus::Done {
        return None;
    }
    let mut pool = SlabPool::new(0, 1);
    let mut slots = [RecvSlot::new(pool.take(SlabClass::Large)?)];
    let (mut arrived, mut longest, mut waits) = (0, 0, 0);
    while arrived < count && waits < WAITS {
        if there.recv(&mut slots) != Ok(1) {
            waits += 1;
            if let Some(socket) = there.socket_v4() {
                let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&WAIT));
            }
            continue;
        }
        let [slot] = &slots;
        let train = slot.slab.get(..slot.len).unwrap_or_default();
        let ours = slot
            .endpoint
            .is_some_and(|from| from.remote.ip() == to.remote.ip() && from.remote.port() == here.port());
        if ours && train.iter().all(|&byte| byte == FILL) {
            let size = if slot.segment_size == 0 { slot.len } else { slot.segment_size };
            if size == LEN as usize {
                arrived += slot.len / size;
                longest = longest.max(slot.len / size);
            }
        }
    }
    Some((arrived, longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Refusals, refuse};

    #[test]
    fn machine_is_tried_and_what_was_not_asked_for_is_not() {
        let test = Udp::self_test(Offloads::ALL);
        assert_eq!(test.allow(Offloads::ALL), Offloads::ALL, "{test}");
        assert!(test.max_segments >= 64, "{test}");
        let test = Udp::self_test(Offloads::NONE);
        assert_eq!(test, SelfTest::UNTRIED);
        assert_eq!(test.allow(Offloads::ALL), Offloads::ALL);
    }

    #[test]
    fn what_the_kernel_refuses_is_left_out() {
        let with = |refusals| {
            let _refusing = refuse(refusals);
            Udp::self_test(Offloads::ALL)
        };
        let no_gso = Offloads { udp_gso: false, ..Offloads::ALL };
        let test = with(Refusals { segments_above: Some((1, libc::EIO)), ..Refusals::default() });
        assert_eq!((test.gso, test.max_segments, test.allow(Offloads::ALL)), (Tried::Fails, 1, no_gso));
        let test = with(Refusals { udp_segment: Some(libc::ENOPROTOOPT), ..Refusals::default() });
        assert_eq!((test.gso, test.allow(Offloads::ALL)), (Tried::Fails, no_gso));
        let test = with(Refusals { segments_above: Some((64, libc::EINVAL)), ..Refusals::default() });
        assert_eq!((test.gso, test.max_segments), (Tried::Works, 64));
        assert_eq!(test.to_string(), "UDP segmentation up to 64, UDP receive offload");
        let test = with(Refusals { udp_gro: Some(libc::ENOPROTOOPT), ..Refusals::default() });
        assert_eq!((test.gro, test.allow(Offloads::ALL).udp_gro), (Tried::Fails, false));
    }

    #[test]
    fn loopback_that_does_not_carry_leaves_everything_on() {
        let refusals = Refusals { sends: Some((usize::MAX, libc::EPERM)), ..Refusals::default() };
        let _refusing = refuse(refusals);
        let test = Udp::self_test(Offloads::ALL);
        assert_eq!(test, SelfTest::UNTRIED);
        assert_eq!(test.to_string(), "UDP segmentation untried, UDP receive offload untried");
    }
}
