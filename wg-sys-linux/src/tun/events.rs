//! Up, down, MTU and removal of a TUN interface as a stream of events.
//!
//! rtnetlink broadcasts only say *when* to look: after each burst the state is read anew through the TUN descriptor and
//! compared with the last one told. So a lost broadcast costs nothing, and a move to another namespace is no special
//! case: the state is read where the interface is now.
//!
//! One socket hears all namespaces that have an id in the one where it was opened; reading the state gives the
//! interface's namespace such an id first. A namespace that is destroyed with the interface in it loses the id before
//! its last broadcast, but the TUN descriptor itself then reports an error (EPOLLERR, [`Event::closed`]).
//!
//! [`Event::closed`]: crate::Event::closed

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::link::{Link, LinkQuery};
use crate::netlink::Socket;
use crate::sockopt;

/// The mask of the group that hears of interfaces, `RTNLGRP_LINK`.
const LINK_GROUP: u32 = 1;

/// Something that happened to the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunEvent {
    /// It is up: it takes and gives packets.
    Up,
    /// It is down.
    Down,
    /// Its MTU is now this many bytes.
    Mtu(u32),
    /// It is gone; no more events follow.
    Removed,
}

/// Tells what happens to the interface of a [`Tun`](super::Tun).
///
/// The first events tell the state it is in: call [`next_event`](Self::next_event) until it returns `None` before the
/// first wait, and again whenever the descriptor is readable. The interface lives as long as this or the `Tun` does.
#[derive(Debug)]
pub struct TunEvents {
    tun: Arc<OwnedFd>,
    broadcasts: Socket,
    query: LinkQuery,
    /// What the caller has been told, less what is still pending.
    told: Option<Link>,
    pending: VecDeque<TunEvent>,
    removed: bool,
}

impl TunEvents {
    pub(super) fn open(tun: Arc<OwnedFd>) -> Result<Self, Errno> {
        let broadcasts = Socket::open(LINK_GROUP)?;
        // Refused without CAP_NET_BROADCAST: then an interface in another namespace is seen by `refresh` only.
        let _ = sockopt::set_int(&broadcasts, libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, 1);
        let query = LinkQuery::open()?;
        let mut events =
            Self { tun, broadcasts, query, told: None, pending: VecDeque::new(), removed: false };
        events.refresh();
        Ok(events)
    }

    /// Returns the next event, or `None` when the state is as told.
    pub fn next_event(&mut self) -> Option<TunEvent> {
        if self.pending.is_empty() && self.broadcasts.drain() {
            self.refresh();
        }
        self.pending.pop_front()
    }

    /// Reads the state now, whether or not a broadcast came; events may be waiting afterwards.
    ///
    /// For a process without `CAP_NET_BROADCAST` whose interface is in another namespace: worth a call when writing to
    /// the TUN fails.
    pub fn refresh(&mut self) {
        if self.removed {
            return;
        }
        match self.query.read(self.tun.as_fd()) {
            Ok(link) => {
                self.pending.extend(changes(self.told, link));
                self.told = Some(link);
            }
            Err(Errno::BADFD | Errno::BADF) => {
                self.removed = true;
                self.pending.push_back(TunEvent::Removed);
            }
            // Not to be had just now: the next broadcast tries again.
            Err(_) => {}
        }
    }

    /// Returns the state last read; `None` if it could never be.
    #[must_use]
    pub const fn link(&self) -> Option<Link> {
        self.told
    }
}

/// Readable when something happened to some interface.
impl AsFd for TunEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.broadcasts.as_fd()
    }
}

/// The events that lead from one state to another. The MTU comes first: it must be known when traffic starts.
fn changes(from: Option<Link>, to: Link) -> impl Iterator<Item = TunEvent> {
    let mtu = (from.map(|link| link.mtu) != Some(to.mtu)).then_some(TunEvent::Mtu(to.mtu));
    let up = (from.map(|link| link.up) != Some(to.up)).then_some(if to.up {
        TunEvent::Up
    } else {
        TunEvent::Down
    });
    mtu.into_iter().chain(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_state_is_told_whole_with_the_mtu_first() {
        let told: Vec<_> = changes(None, Link { up: true, mtu: 1420 }).collect();
        assert_eq!(told, [TunEvent::Mtu(1420), TunEvent::Up]);
        let told: Vec<_> = changes(None, Link { up: false, mtu: 1420 }).collect();
        assert_eq!(told, [TunEvent::Mtu(1420), TunEvent::Down]);
    }

    #[test]
    fn only_differences_are_told() {
        let link = Link { up: true, mtu: 1420 };
        assert_eq!(changes(Some(link), link).count(), 0);
        let told: Vec<_> = changes(Some(link), Link { mtu: 1300, ..link }).collect();
        assert_eq!(told, [TunEvent::Mtu(1300)]);
        let told: Vec<_> = changes(Some(link), Link { up: false, ..link }).collect();
        assert_eq!(told, [TunEvent::Down]);
    }
}
