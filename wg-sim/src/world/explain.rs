//! Why a host refused a datagram that is as it was sent: each reason holds only if something that happened gives it.

use wg_datapath::DropReason;
use wg_proto::limits::{INITIATION_INTERVAL, REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REPLAY_WINDOW};

use super::datagrams::{Datagram, Fate};
use super::host::Host;
use super::{Broken, World};
use crate::clock::MILLISECOND;
use crate::violation::Invariant;

impl World<'_> {
    /// Returns what became of a datagram that a host refused.
    ///
    /// # Errors
    ///
    /// Nothing gives it this reason.
    pub(super) fn explain(&mut self, at: usize, place: u32, reason: DropReason) -> Result<Fate, Broken> {
        let datagram = *self.datagrams.get(place);
        let host = &self.hosts[at];
        let repeated = datagram.arrived == Some(host.number);
        let elsewhere = datagram.intended != Some(host.number);
        let fate = match reason {
            DropReason::UnknownIndex | DropReason::NotASession | DropReason::UnexpectedResponse => {
                let answered = host.births.get(datagram.index).is_some_and(|birth| birth.answered);
                if (repeated || answered) && reason == DropReason::UnexpectedResponse {
                    Some(Fate::Superseded)
                } else if elsewhere {
                    self.misdirected(&datagram)
                } else {
                    self.session_gone(host, &datagram)
                }
            }
            DropReason::KeyExpired => self.expired(host, &datagram),
            DropReason::CounterLimit => (datagram.counter >= REJECT_AFTER_MESSAGES).then_some(Fate::Expired),
            DropReason::Replay => {
                let newest = host.births.get(datagram.index).and_then(|birth| birth.newest);
                let too_old =
                    newest.is_some_and(|newest| newest.saturating_sub(datagram.counter) > REPLAY_WINDOW);
                (repeated || too_old).then_some(Fate::TooOld)
            }
            DropReason::OldTimestamp => self.stamp_is_old(host, &datagram, repeated),
            DropReason::InitiationFlood => {
                let now = host.clock.instant(self.time);
                let last = host.initiation_taken[usize::from(datagram.origin)];
                last.is_some_and(|last| now.saturating_duration_since(last) < INITIATION_INTERVAL)
                    .then_some(Fate::Superseded)
            }
            DropReason::InvalidCookieReply => {
                let answered = host.births.get(datagram.index).is_none_or(|birth| birth.cookie);
                if repeated || answered { Some(Fate::Superseded) } else { self.session_gone(host, &datagram) }
            }
            DropReason::CookieSent | DropReason::RateLimited | DropReason::HandshakeQueueFull => {
                host.may_be_under_load().then_some(Fate::Configuration)
            }
            DropReason::NoEntropy | DropReason::CookieFailed => {
                host.entropy.is_broken().then_some(Fate::Configuration)
            }
            DropReason::InvalidMac1 if elsewhere => self.misdirected(&datagram),
            DropReason::InvalidMac1
            | DropReason::HandshakeDecrypt
            | DropReason::UnknownPeer
            | DropReason::NoPrivateKey
            | DropReason::BadSource
            | DropReason::DeviceDown => self.disagree.then_some(Fate::Configuration),
            _ => None,
        };
        fate.ok_or_else(|| {
            let birth = host.births.get(datagram.index);
            let what = format!("host {at} refused {datagram:?} for {reason}, of {birth:?}");
            (Invariant::Accounting, what)
        })
    }

    /// It came to a host that it is not for: only if its sender may be wrong about where its peer is.
    fn misdirected(&self, datagram: &Datagram) -> Option<Fate> {
        let moved = self.report.counts.faults_rebind > 0 || self.disagree;
        // An index so old that the world has forgotten it.
        (moved || datagram.intended.is_none()).then_some(Fate::LostOnTheWay)
    }

    /// The session it is of is gone: the host began anew, wiped its keys for age, or has newer ones (C51, C52, C60).
    fn session_gone(&self, host: &Host, datagram: &Datagram) -> Option<Fate> {
        let Some(birth) = host.births.get(datagram.index) else { return Some(Fate::Superseded) };
        if birth.epoch != host.epoch {
            Some(Fate::Restarted)
        } else if host.handshakes[usize::from(birth.peer)] > birth.number {
            Some(Fate::Superseded)
        } else {
            host.wiped.is_some_and(|wiped| wiped >= birth.time).then_some(Fate::Expired)
        }
    }

    fn expired(&self, host: &Host, datagram: &Datagram) -> Option<Fate> {
        let Some(birth) = host.births.get(datagram.index) else { return Some(Fate::Expired) };
        (birth.age(host.clock.instant(self.time)) >= REJECT_AFTER_TIME).then_some(Fate::Expired)
    }

    /// Its stamp is not greater than that of another that came: one that overtook it, or one of the life before of a sender
    /// whose wall clock was set back, or began anew within a tick of it.
    fn stamp_is_old(&self, host: &Host, datagram: &Datagram, repeated: bool) -> Option<Fate> {
        let origin = usize::from(datagram.origin);
        let overtaken = host.newest_initiation[origin] > datagram.number;
        let clocks = self.report.counts.faults_clock > 0;
        let restarted = self.hosts[origin].restarted;
        let reborn =
            restarted.is_some_and(|at| clocks || datagram.emitted <= at + 20 * MILLISECOND) || self.disagree;
        (repeated || overtaken || reborn).then_some(Fate::Superseded)
    }
}
