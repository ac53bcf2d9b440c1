//! A datagram comes to a host: what it may do follows from what it is.
//!
//! One that is not what somebody sent, and one that was taken before, may do nothing (I6, I7). Any other must be taken, or
//! be refused for a reason that is known. A copy that comes with it, in the same call, was taken before, too.

use core::net::SocketAddr;

use wg_datapath::DropReason;
use wg_proto::Instant;
use wg_proto::wire::{MessageType, message_type};

use super::datagrams::{Fate, Kind};
use super::host::MAILBOX;
use super::{Broken, Cause, Checked, World};
use crate::adversary;
use crate::node::Outbox;
use crate::packet;
use crate::violation::Invariant;
use crate::wire::InFlight;

/// What must not change by something that may do nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    deadline: Option<Instant>,
    indices: usize,
    staged: usize,
}

impl World<'_> {
    pub(super) fn arrive(&mut self, copy: InFlight) -> Checked {
        let Some(at) = self.hosts.iter().position(|host| host.is_at(copy.to)) else {
            self.done_with(copy, Fate::LostOnTheWay);
            return Ok(());
        };
        match self.hosts[at].away {
            Some((_, true)) => {
                self.done_with(copy, Fate::LostAtSleeper);
                return Ok(());
            }
            Some((_, false)) if self.hosts[at].mailbox.len() >= MAILBOX => {
                self.done_with(copy, Fate::LostAtSleeper);
                return Ok(());
            }
            Some((_, false)) => {
                self.hosts[at].mailbox.push_back(copy);
                return Ok(());
            }
            None => {}
        }
        self.due(at)?;
        let fate = self.deliver(at, &copy)?;
        self.done_with(copy, fate);
        Ok(())
    }

    /// A copy met its end.
    fn done_with(&mut self, copy: InFlight, fate: Fate) {
        if let Some(place) = copy.datagram {
            if copy.counts {
                self.datagrams.copy_done(place, fate, &mut self.report.counts);
            } else {
                self.datagrams.replay_done(place, fate, &mut self.report.counts);
            }
        }
        self.wire.recycle(copy.bytes);
    }

    fn deliver(&mut self, at: usize, copy: &InFlight) -> Result<Fate, Broken> {
        self.report.counts.arrivals += 1;
        let host = &self.hosts[at];
        let (number, epoch) = (host.number, host.epoch);
        let authentic = copy.datagram.filter(|_| !copy.altered);
        let taken_before =
            authentic.is_some_and(|place| self.datagrams.get(place).accepted == Some((number, epoch)));
        let may_act = authentic.is_some() && !taken_before;
        let before = (!may_act).then(|| self.state(at));
        let copy_from = authentic.filter(|_| may_act).and_then(|place| self.twin(at, place, copy.from));

        // The node may write to what it is given.
        let mut bytes = self.wire.copy(&copy.bytes);
        self.call_node(at, |node, now, out| match copy_from {
            Some(copy_from) => node.twins(&mut bytes, copy.from, copy_from, now, out),
            None => node.datagram(&mut bytes, copy.from, now, out),
        })?;
        self.wire.recycle(bytes);
        let mut out = core::mem::take(&mut self.out);
        let spare = copy_from.map(|from| self.judge_twin(at, from, &out)).transpose();
        let judged = spare.and_then(|spare| self.judge(at, copy, authentic, may_act, spare, &out));
        out.clear();
        self.out = out;
        let fate = judged?;
        if let Some(before) = before {
            let after = self.state(at);
            if before != after {
                let what =
                    format!("host {at} was {before:?}, and is {after:?} by {}", name(copy, taken_before));
                return Err((Invariant::I6, what));
            }
        }
        self.check_endpoints(at, copy, authentic.filter(|_| may_act))?;
        self.check(at)?;
        Ok(fate)
    }

    /// Where a copy of a datagram comes from that stands behind it, if there is one.
    fn twin(&mut self, at: usize, place: u32, from: SocketAddr) -> Option<SocketAddr> {
        let kind = self.datagrams.get(place).kind;
        let (count, source) = self.hosts[at].twins;
        if count == 0 || !matches!(kind, Kind::Data | Kind::Keepalive) {
            return None;
        }
        self.hosts[at].twins = (count - 1, source);
        self.report.counts.faults_replay += 1;
        Some(if source == 0 { from } else { adversary::address(source) })
    }

    /// Finds what the second of two equal datagrams was refused for: as a replay, or, if the first was not authentic to this
    /// host, for the same as that.
    fn judge_twin(&mut self, at: usize, from: SocketAddr, out: &Outbox) -> Result<DropReason, Broken> {
        let total = |reason| out.drops().filter(|drop| drop.0 == reason).map(|drop| drop.1).sum::<u64>();
        let refused = out.drops().map(|drop| drop.0).find(|reason| *reason == DropReason::Replay);
        let refused = refused.or_else(|| out.drops().map(|drop| drop.0).find(|reason| total(*reason) >= 2));
        self.report.counts.refusals += 1;
        refused.ok_or_else(|| (Invariant::I6, format!("host {at} took a copy from {from}")))
    }

    /// Judges what a node did with a datagram. `spare` is what a copy of it was refused for.
    fn judge(
        &mut self,
        at: usize,
        copy: &InFlight,
        authentic: Option<u32>,
        may_act: bool,
        mut spare: Option<DropReason>,
        out: &Outbox,
    ) -> Result<Fate, Broken> {
        let mut refusal = None;
        for (reason, mut count) in out.drops() {
            if spare == Some(reason) {
                spare = None;
                count -= 1;
            }
            if count == 0 {
                continue;
            }
            if !self.drop_packets(at, Cause::Datagram, reason, count) {
                // A session that is due for a new one asks for it when data comes, and may fail to; that is not the datagram's.
                let own = reason == DropReason::NoEntropy
                    && authentic.is_some_and(|place| {
                        matches!(self.datagrams.get(place).kind, Kind::Data | Kind::Keepalive)
                    });
                if !own {
                    refusal = refusal.or(Some(reason));
                }
            }
        }
        self.report.counts.refusals += u64::from(refusal.is_some());
        if !may_act {
            self.judge_inert(at, copy, authentic.is_some(), refusal, out)?;
        }
        let fate = match authentic {
            None => Fate::Corrupted,
            Some(_) if !may_act => Fate::InFlight,
            Some(place) => self.judge_authentic(at, place, refusal, out)?,
        };
        self.partner = copy.datagram.map(|place| self.datagrams.get(place).origin);
        out.sent().try_for_each(|(to, datagram)| self.emit(at, to, datagram))?;
        self.partner = None;
        Ok(fate)
    }

    /// Something forged, altered or repeated: it must be refused, and nothing may come of it.
    fn judge_inert(
        &self,
        at: usize,
        copy: &InFlight,
        repeated: bool,
        refusal: Option<DropReason>,
        out: &Outbox,
    ) -> Checked {
        let what = name(copy, repeated);
        if out.delivered().next().is_some() {
            return Err((Invariant::I2, format!("host {at} delivered a packet of {what}")));
        }
        if refusal.is_none() {
            return Err((Invariant::I6, format!("host {at} took {what}")));
        }
        for (_, answer) in out.sent() {
            let cookie = message_type(answer) == Ok(MessageType::CookieReply);
            if !(cookie && self.hosts[at].may_be_under_load()) {
                let kind = answer.first();
                return Err((
                    Invariant::I6,
                    format!("host {at} answered {what} with a message of type {kind:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Something that is as it was sent, and new to this host.
    fn judge_authentic(
        &mut self,
        at: usize,
        place: u32,
        refusal: Option<DropReason>,
        out: &Outbox,
    ) -> Result<Fate, Broken> {
        let fate = match refusal {
            Some(reason) => self.explain(at, place, reason)?,
            None => Fate::Delivered,
        };
        let host = &mut self.hosts[at];
        let (number, epoch, now) = (host.number, host.epoch, host.clock.instant(self.time));
        let datagram = self.datagrams.get(place);
        datagram.arrived = Some(number);
        let (kind, origin, sent) = (datagram.kind, datagram.origin, datagram.number);
        let from = usize::from(origin);
        if kind == Kind::Initiation {
            host.newest_initiation[from] = host.newest_initiation[from].max(sent);
        }
        // It was authentic, so that the window has moved (C82).
        if refusal == Some(DropReason::BadSource)
            && let Some(birth) = host.births.get_mut(datagram.index)
        {
            birth.newest = birth.newest.max(Some(datagram.counter));
        }
        if refusal.is_none() {
            if kind == Kind::Initiation {
                self.report.counts.answered_after_restart += u64::from(datagram.accepted.is_some());
                host.initiation_taken[from] = Some(now);
            }
            datagram.accepted = Some((number, epoch));
            if let Some(birth) = host.births.get_mut(datagram.index) {
                match kind {
                    Kind::Response => {
                        (birth.at, birth.answered) = (now, true);
                        host.audit.derived(datagram.sender_index, now);
                        self.report.counts.handshakes += 1;
                    }
                    Kind::CookieReply => birth.cookie = true,
                    Kind::Data | Kind::Keepalive => birth.newest = birth.newest.max(Some(datagram.counter)),
                    Kind::Initiation => {}
                }
            }
        }
        let mut delivered = out.delivered();
        match (kind, delivered.next(), delivered.next()) {
            (Kind::Data, Some(packet), None) if refusal.is_none() => {
                self.deliver_packet(number, origin, sent, packet)?;
            }
            (_, None, _) if kind != Kind::Data || refusal.is_some() => {}
            (_, first, _) => {
                let count = out.delivered().count();
                let what =
                    format!("host {at} delivered {count} packets of {kind:?}, refused for {refusal:?}");
                let invariant = if first.is_none() { Invariant::Accounting } else { Invariant::I2 };
                return Err((invariant, what));
            }
        }
        Ok(fate)
    }

    fn deliver_packet(&mut self, at: u8, origin: u8, sent: u64, packet: &[u8]) -> Checked {
        let broken = |what: String| (Invariant::I2, what);
        let identity = packet::read(packet, &mut self.scratch)
            .ok_or_else(|| broken(format!("a packet of host {origin} came altered to host {at}")))?;
        if identity.from != origin {
            return Err(broken(format!("{identity:?} came from host {origin}")));
        }
        // Who was given somebody else's address gets his packets.
        if identity.to != at && !self.disagree {
            return Err(broken(format!("{identity:?} came to host {at}")));
        }
        let order = (identity.to == at).then_some(sent);
        self.ledger.deliver(identity, order).map_err(broken)
    }

    /// Checks that endpoints moved only where they may.
    fn check_endpoints(&mut self, at: usize, copy: &InFlight, mover: Option<u32>) -> Checked {
        let origin = mover.map(|place| usize::from(self.datagrams.get(place).origin));
        for other in 0..self.hosts.len() {
            let (Some(new), old) = self.read_endpoint(at, other) else { continue };
            if old == Some(new) || (origin == Some(other) && new == copy.from) {
                continue;
            }
            let what = format!(
                "host {at} takes host {other} to be at {new}, no longer at {old:?}, by {} from {}",
                name(copy, origin.is_none()),
                copy.from
            );
            return Err((Invariant::I7, what));
        }
        Ok(())
    }

    /// Reads where a host takes another to be, and where it took it to be before.
    pub(super) fn read_endpoint(
        &mut self,
        at: usize,
        other: usize,
    ) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let number = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        if !self.script.acquainted(number(at), number(other)) {
            return (None, None);
        }
        let key = self.hosts[other].public_key;
        let host = &mut self.hosts[at];
        let new = host.node.endpoint(&key);
        (new, core::mem::replace(&mut host.endpoints[other], new))
    }

    fn state(&mut self, at: usize) -> State {
        let node = &mut self.hosts[at].node;
        State { deadline: node.next_timeout(), indices: node.indices(), staged: node.staged() }
    }
}

fn name(copy: &InFlight, repeated: bool) -> String {
    let what = match (copy.datagram, copy.altered) {
        (None, _) => "a forgery",
        (Some(_), true) => "an altered datagram",
        (Some(_), false) if repeated => "a replay",
        (Some(_), false) => "a datagram",
    };
    format!("{what} of {} bytes and type {:?}", copy.bytes.len(), copy.bytes.first())
}
