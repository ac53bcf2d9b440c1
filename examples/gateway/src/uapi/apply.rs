//! A set request at work on a device: which line means what, in which section.
//!
//! The lines of a set are applied one after the other, a few at a time, so that a set of a hundred thousand lines does
//! not hold up packets. The owner runs no other request in between (U12).
//!
//! A peer's section is in one of four states; the `public_key` line chooses the first:
//!
//! ```text
//! public_key = our own        -> Dummy      all lines are accepted and do nothing (C134)
//! public_key of a known peer  -> Known      lines act on it
//! any other public_key        -> Named      nothing is created yet
//!
//! Named + update_only, remove -> Dummy      (C139)
//! Named + anything else       -> Known      the peer is created
//! Known + remove              -> Dummy      the peer is removed; the rest of its lines do nothing
//! Known + update_only         -> Dummy      if this section created the peer: it is removed again
//! ```
//!
//! A section ends at the next `public_key`, at the end of the set and at the line that fails; on each of these ways
//! out a named peer is created and a known one is started (U14).

use tracing::{debug, error, trace};
use wg_proto::PublicKey;

use super::{Configure, EndpointSpec, Errno, Op};
use crate::log::PeerName;

/// A set request under way.
#[derive(Debug)]
pub struct Transaction<P> {
    ops: std::vec::IntoIter<Op>,
    /// The answer if every line can be applied.
    outcome: Result<(), Errno>,
    section: Section<P>,
}

#[derive(Debug)]
enum Section<P> {
    /// Before the first `public_key`.
    Device,
    /// A peer that the device does not have.
    Named(PublicKey),
    /// A peer of the device.
    Known {
        peer: P,
        key: PublicKey,
        created: bool,
        /// The interval to set when the section ends.
        keepalive: Option<u16>,
    },
    /// A peer whose lines are ignored.
    Dummy,
}

impl<P: Copy> Transaction<P> {
    /// Takes the lines of a set, with the answer that the parser found for it.
    #[must_use]
    pub fn new(ops: Vec<Op>, outcome: Result<(), Errno>) -> Self {
        Self { ops: ops.into_iter(), outcome, section: Section::Device }
    }

    /// Applies at most `budget` lines; gives the answer when the set is at its end.
    ///
    /// After an answer there is nothing left to run.
    pub fn run<C: Configure<Peer = P>>(
        &mut self,
        device: &mut C,
        budget: usize,
    ) -> Option<Result<(), Errno>> {
        for _ in 0..budget {
            let applied = match self.ops.next() {
                Some(op) => self.apply(device, op),
                None => return Some(self.end(device, self.outcome)),
            };
            if applied.is_err() {
                self.ops = Vec::new().into_iter();
                return Some(self.end(device, applied));
            }
        }
        None
    }

    /// Ends the last section. The first error is the answer: a peer that cannot be created was named in an earlier line
    /// than the one that failed.
    fn end<C: Configure<Peer = P>>(
        &mut self,
        device: &mut C,
        outcome: Result<(), Errno>,
    ) -> Result<(), Errno> {
        let ended = self.end_section(device);
        let answer = ended.and(outcome);
        if let Err(errno) = answer {
            error!("UAPI: set failed: {errno}");
        }
        answer
    }

    fn apply<C: Configure<Peer = P>>(&mut self, device: &mut C, op: Op) -> Result<(), Errno> {
        match op {
            Op::Peer(key) => {
                self.end_section(device)?;
                self.section = Self::begin_section(device, key);
                Ok(())
            }
            Op::PrivateKey(_)
            | Op::ListenPort(_)
            | Op::FirewallMark(_)
            | Op::Strategy(_)
            | Op::ReplacePeers => {
                if !matches!(self.section, Section::Device) {
                    return Err(Errno::INVALID);
                }
                apply_to_device(device, op)
            }
            Op::UpdateOnly => self.update_only(device),
            Op::Remove => self.remove(device),
            op => self.apply_to_peer(device, op),
        }
    }

    fn begin_section<C: Configure<Peer = P>>(device: &C, key: PublicKey) -> Section<P> {
        if device.public_key() == Some(key) {
            debug!("UAPI: {} is this device, ignored", PeerName(&key));
            return Section::Dummy;
        }
        match device.peer(&key) {
            Some(peer) => Section::Known { peer, key, created: false, keepalive: None },
            None => Section::Named(key),
        }
    }

    fn update_only<C: Configure<Peer = P>>(&mut self, device: &mut C) -> Result<(), Errno> {
        match self.section {
            Section::Device => return Err(Errno::INVALID),
            Section::Known { peer, created: true, .. } => {
                device.remove_peer(peer);
                self.section = Section::Dummy;
            }
            Section::Named(_) => self.section = Section::Dummy,
            Section::Known { created: false, .. } | Section::Dummy => {}
        }
        Ok(())
    }

    fn remove<C: Configure<Peer = P>>(&mut self, device: &mut C) -> Result<(), Errno> {
        match self.section {
            Section::Device => return Err(Errno::INVALID),
            Section::Known { peer, key, .. } => {
                debug!("{} - UAPI: Removing", PeerName(&key));
                device.remove_peer(peer);
            }
            Section::Named(_) | Section::Dummy => {}
        }
        self.section = Section::Dummy;
        Ok(())
    }

    fn apply_to_peer<C: Configure<Peer = P>>(&mut self, device: &mut C, op: Op) -> Result<(), Errno> {
        self.create_named(device)?;
        let (peer, key, keepalive) = match &mut self.section {
            Section::Device | Section::Named(_) => return Err(Errno::INVALID),
            Section::Known { peer, key, keepalive, .. } => (*peer, *key, keepalive),
            // A bad value is an error even where a good one would do nothing; only the zone is still unjudged.
            Section::Dummy => {
                if let Op::Endpoint(spec) = op {
                    resolve(device, &spec)?;
                }
                return Ok(());
            }
        };
        let name = PeerName(&key);
        match op {
            Op::PresharedKey(psk) => {
                debug!("{name} - UAPI: Updating preshared key");
                device.set_preshared_key(peer, psk.duplicate());
            }
            Op::Endpoint(spec) => {
                debug!("{name} - UAPI: Updating endpoint");
                device.set_endpoint(peer, resolve(device, &spec)?);
            }
            Op::PersistentKeepalive(seconds) => {
                debug!("{name} - UAPI: Updating persistent keepalive interval");
                *keepalive = Some(seconds);
            }
            Op::ReplaceAllowedIps => {
                debug!("{name} - UAPI: Removing all allowed IPs");
                device.clear_allowed_ips(peer);
            }
            Op::AddAllowedIp(prefix) => {
                trace!("{name} - UAPI: Adding allowed IP {prefix}");
                device.add_allowed_ip(peer, prefix)?;
            }
            Op::RemoveAllowedIp(prefix) => {
                trace!("{name} - UAPI: Removing allowed IP {prefix}");
                device.remove_allowed_ip(peer, prefix);
            }
            Op::PrivateKey(_)
            | Op::ListenPort(_)
            | Op::FirewallMark(_)
            | Op::Strategy(_)
            | Op::ReplacePeers
            | Op::Peer(_)
            | Op::UpdateOnly
            | Op::Remove => return Err(Errno::INVALID),
        }
        Ok(())
    }

    fn create_named<C: Configure<Peer = P>>(&mut self, device: &mut C) -> Result<(), Errno> {
        let Section::Named(key) = self.section else { return Ok(()) };
        // Not tried again at the end of the section, should it fail.
        self.section = Section::Dummy;
        let peer = device.add_peer(key)?;
        debug!("{} - UAPI: Created", PeerName(&key));
        self.section = Section::Known { peer, key, created: true, keepalive: None };
        Ok(())
    }

    fn end_section<C: Configure<Peer = P>>(&mut self, device: &mut C) -> Result<(), Errno> {
        self.create_named(device)?;
        if let Section::Known { peer, keepalive, .. } = core::mem::replace(&mut self.section, Section::Dummy)
        {
            if let Some(seconds) = keepalive {
                device.set_persistent_keepalive(peer, seconds);
            }
            device.peer_configured(peer);
        }
        Ok(())
    }
}

fn apply_to_device<C: Configure>(device: &mut C, op: Op) -> Result<(), Errno> {
    match op {
        Op::PrivateKey(key) => {
            debug!("UAPI: Updating private key");
            // A copy that the callee owns and wipes; the box is wiped here.
            device.set_private_key(key.as_ref().map(|key| key.duplicate()));
        }
        Op::ListenPort(port) => {
            debug!("UAPI: Updating listen port");
            device.set_listen_port(port)?;
        }
        Op::FirewallMark(mark) => {
            debug!("UAPI: Updating fwmark");
            device.set_firewall_mark(mark)?;
        }
        Op::Strategy(kind) => {
            debug!("UAPI: Updating strategy");
            device.set_strategy(kind)?;
        }
        Op::ReplacePeers => {
            debug!("UAPI: Removing all peers");
            device.remove_all_peers();
        }
        _ => return Err(Errno::INVALID),
    }
    Ok(())
}

/// Turns the name of a zone into the index that a socket address carries.
fn resolve<C: Configure>(device: &C, spec: &EndpointSpec) -> Result<core::net::SocketAddr, Errno> {
    let mut address = spec.address;
    if let (Some(zone), core::net::SocketAddr::V6(scoped)) = (&spec.zone, &mut address) {
        scoped.set_scope_id(device.interface_index(zone).ok_or(Errno::INVALID)?);
    }
    Ok(address)
}
