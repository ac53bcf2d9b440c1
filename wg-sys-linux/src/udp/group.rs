//! Several pairs of sockets on one port, one for each core (`SO_REUSEPORT`), with the kernel choosing between them.
//!
//! The first pair is opened without `SO_REUSEPORT`: a port that is taken says EADDRINUSE, also if those who have it would share
//! it (C92). Then it shares, and the others join. Another program of the same user could join, too, if it asked for it; one
//! that opens its first socket as we do is refused.

use std::sync::Arc;

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::sockopt;

use super::pair::Pair;
use super::{Steering, Udp};
use crate::sockopt::attach_reuseport_program;
use crate::{Error, Offloads};

impl Udp {
    /// Opens as many pairs of sockets on one port as `steering` has members, each as [`bind_with`](Self::bind_with) does. The
    /// order is that of the members.
    ///
    /// # Errors
    ///
    /// The port is taken (EADDRINUSE), or the mark needs a privilege.
    pub fn bind_group(
        port: u16,
        fwmark: u32,
        offloads: Offloads,
        steering: &Steering,
    ) -> Result<Vec<Self>, Error> {
        let pairs: Arc<[_]> = open(port, fwmark, steering)?.into_iter().map(Arc::new).collect();
        let member = |pair: &Arc<Pair>| {
            let mut udp = Self::with(Arc::clone(pair), fwmark, offloads);
            if steering.members() > 1 {
                udp.group = Some(Arc::clone(&pairs));
            }
            udp
        };
        Ok(pairs.iter().map(member).collect())
    }

    /// Has the kernel choose between the members of the group in another way from the next datagram on; those that wait stay where
    /// they are. Any member says it for all.
    ///
    /// # Errors
    ///
    /// The kernel refused, and all is as before; or `steering` is not for as many members (EINVAL).
    pub fn steer(&self, steering: &Steering, before: &Steering) -> Result<(), Error> {
        let members = self.group.as_ref().map_or(1, |group| group.len());
        if [steering, before].iter().any(|steering| steering.members() != members) {
            return Err(Error::new("steer a group of other members", Errno::INVAL));
        }
        if members == 1 {
            return Ok(());
        }
        let attach = |steering: &Steering| {
            let program = steering.program();
            self.pair.sockets().try_for_each(|socket| attach_reuseport_program(socket, &program))
        };
        attach(steering).map_err(|error| {
            // One family may have taken it.
            let _ = attach(before);
            Error::new("steer the datagrams of a port", error)
        })
    }

    /// Tells whether datagrams wait in the sockets of a member of the group, by its number.
    pub(super) fn waits(&self, member: usize) -> bool {
        let pair = self.group.as_ref().and_then(|group| group.get(member));
        let has = |socket| ioctl_fionread(socket).is_ok_and(|len| len > 0);
        pair.is_some_and(|pair| pair.sockets().any(has))
    }

    /// Moves all members of a group to another port and returns it. The old sockets are closed after the new ones are open
    /// (C93).
    ///
    /// Where the members are not in one place, as when each belongs to a thread of its own, [`bind_group`](Self::bind_group)
    /// on the new port and the exchange of each for its successor does the same.
    ///
    /// # Errors
    ///
    /// As [`bind_group`](Self::bind_group); the old sockets then go on working. Also these are not all members (EINVAL).
    pub fn rebind_group(members: &mut [Self], port: u16, steering: &Steering) -> Result<u16, Error> {
        let Some(first) = members.first().filter(|_| members.len() == steering.members()) else {
            return Err(Error::new("move the group to another port", Errno::INVAL));
        };
        if port != 0 && port == first.port() {
            return Ok(port);
        }
        let pairs: Arc<[_]> = open(port, first.fwmark(), steering)?.into_iter().map(Arc::new).collect();
        let mut port = port;
        for (member, pair) in members.iter_mut().zip(pairs.iter()) {
            port = pair.port;
            member.pair = Arc::clone(pair);
            member.group = member.group.is_some().then(|| Arc::clone(&pairs));
            member.prepare_sockets();
        }
        Ok(port)
    }

    /// Sets the mark of outgoing packets of all members, 0 for none.
    ///
    /// # Errors
    ///
    /// The privilege (`CAP_NET_ADMIN`) is missing; all keep the old mark.
    pub fn set_group_fwmark(members: &mut [Self], fwmark: u32) -> Result<(), Error> {
        let old = members.first().map_or(0, Self::fwmark);
        let refused = members.iter_mut().map(|member| member.set_fwmark(fwmark)).find_map(Result::err);
        let Some(error) = refused else { return Ok(()) };
        for member in members {
            let _ = member.set_fwmark(old);
        }
        Err(error)
    }
}

/// Opens the pairs of a group.
fn open(port: u16, fwmark: u32, steering: &Steering) -> Result<Vec<Pair>, Error> {
    let first = Pair::open(port, fwmark)?;
    if steering.members() == 1 {
        return Ok(vec![first]);
    }
    let error = Error::during("share the port");
    for socket in first.sockets() {
        sockopt::set_socket_reuseport(socket, true).map_err(&error)?;
    }
    let others: Vec<_> =
        (1..steering.members()).map(|_| Pair::join(&first, fwmark)).collect::<Result<_, _>>()?;
    // There is a group to steer only now.
    for socket in first.sockets() {
        attach_reuseport_program(socket, &steering.program()).map_err(&error)?;
    }
    Ok([first].into_iter().chain(others).collect())
}
