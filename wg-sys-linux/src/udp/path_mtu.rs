//! News of paths that are narrower than what was sent, from the error queue of the IPv6 socket (`IPV6_RECVERR`).
//!
//! Only IPv6 has such news. Outer IPv4 packets leave with DF clear and are fragmented on their way by whoever needs to
//! (C97), so that no router complains, and the kernel would not queue a complaint for such a socket. An IPv6 router cannot
//! fragment: it drops and says "packet too big". The kernel believes it and fragments here from then on; whoever sends
//! smaller packets instead spares the other end the work of putting them together.
//!
//! What is in the queue is not authenticated. It is news for a policy, which must not go below what every link carries
//! (1280); the kernel itself already acts on it.
//!
//! Each entry also makes one call on the socket fail, with an error that is about something sent earlier. That is how it is
//! known that there is one: the queue is read after such an error, and never otherwise.

use core::net::SocketAddr;

use super::{cmsg, sockaddr};

/// Entries read in one call.
pub(super) const MAX_ENTRIES: usize = 16;

/// News kept until it is asked for; then the oldest goes.
const KEPT: usize = 8;

/// Origins of an entry: this host, or an ICMPv6 message.
const SO_EE_ORIGIN_LOCAL: u8 = 1;
const SO_EE_ORIGIN_ICMP6: u8 = 3;

/// News to be told, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct PathMtuNews {
    kept: [Option<(SocketAddr, u16)>; KEPT],
}

impl PathMtuNews {
    /// Adds what an entry of the error queue says, if it says this.
    pub(super) fn add(&mut self, name: &[u8], control: &[u8]) {
        let Some(news) = decode(name, control) else { return };
        let same = |kept: &&mut Option<_>| kept.is_none_or(|(to, _)| to == news.0);
        if let Some(place) = self.kept.iter_mut().find(same) {
            *place = Some(news);
        } else {
            self.kept.rotate_left(1);
            if let Some(last) = self.kept.last_mut() {
                *last = Some(news);
            }
        }
    }

    /// Takes the oldest.
    pub(super) fn take(&mut self) -> Option<(SocketAddr, u16)> {
        let first = self.kept.first_mut()?.take();
        self.kept.rotate_left(1);
        first
    }
}

/// Reads where to a packet was too big and what would pass: `struct sock_extended_err` is error number, origin, type, code,
/// padding, and the MTU.
fn decode(name: &[u8], control: &[u8]) -> Option<(SocketAddr, u16)> {
    let is_error =
        |message: &cmsg::Cmsg<'_>| (message.level, message.kind) == (libc::SOL_IPV6, libc::IPV6_RECVERR);
    let entry = cmsg::iter(control).find(is_error)?.data;
    let errno = i32::from_ne_bytes(*entry.first_chunk()?);
    let origin = *entry.get(4)?;
    let mtu = u32::from_ne_bytes(*entry.get(8..)?.first_chunk()?);
    if errno != libc::EMSGSIZE || !matches!(origin, SO_EE_ORIGIN_LOCAL | SO_EE_ORIGIN_ICMP6) {
        return None;
    }
    // More is no news: nothing longer can be sent.
    Some((sockaddr::decode(name)?, u16::try_from(mtu).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cmsg::ControlBuffer;
    use super::super::sockaddr::RawAddress;
    use super::*;

    fn address(last: u16) -> SocketAddr {
        format!("[2001:db8::{last:x}]:9").parse().unwrap()
    }

    fn entry(errno: i32, origin: u8, mtu: u32) -> ControlBuffer {
        let mut data = [0; 44];
        data[..4].copy_from_slice(&errno.to_ne_bytes());
        data[4] = origin;
        data[8..12].copy_from_slice(&mtu.to_ne_bytes());
        let mut control = ControlBuffer::new();
        control.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &0_i32.to_ne_bytes());
        control.push(libc::SOL_IPV6, libc::IPV6_RECVERR, &data);
        control
    }

    fn add(news: &mut PathMtuNews, last: u16, mtu: u32) {
        let entry = entry(libc::EMSGSIZE, SO_EE_ORIGIN_ICMP6, mtu);
        news.add(RawAddress::new(&address(last)).as_bytes(), entry.as_bytes());
    }

    #[test]
    fn news_is_told_once_and_the_latest_of_an_address() {
        let mut news = PathMtuNews::default();
        add(&mut news, 1, 1400);
        add(&mut news, 2, 1300);
        add(&mut news, 1, 1280);
        assert_eq!(news.take(), Some((address(1), 1280)));
        assert_eq!(news.take(), Some((address(2), 1300)));
        assert_eq!(news.take(), None);
        for last in 0..10 {
            add(&mut news, last, 1280);
        }
        for last in 2..10 {
            assert_eq!(news.take(), Some((address(last), 1280)));
        }
        assert_eq!(news.take(), None);
    }

    #[test]
    fn other_errors_are_no_news() {
        let name = RawAddress::new(&address(1));
        for (errno, origin, mtu) in [
            (libc::ECONNREFUSED, SO_EE_ORIGIN_ICMP6, 1280),
            (libc::EMSGSIZE, 5, 1280),
            (libc::EMSGSIZE, SO_EE_ORIGIN_ICMP6, 65_536),
        ] {
            assert_eq!(decode(name.as_bytes(), entry(errno, origin, mtu).as_bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_harm(
            name in proptest::collection::vec(any::<u8>(), 0..28),
            data in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut control = ControlBuffer::new();
            control.push(libc::SOL_IPV6, libc::IPV6_RECVERR, &data);
            PathMtuNews::default().add(&name, control.as_bytes());
        }
    }
}
