//! The state of a model: two hosts, what is under way between them, and the time.

use core::time::Duration;
use std::sync::Arc;

use wg_proto::limits::{REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER};
use wg_proto::{Mac1Key, ReceiveError};

use crate::model::action::Action;
use crate::model::host::{Came, Host, Identity, Mistake, Outside, content};
use crate::model::ledger::{Rule, Violation};
use crate::model::side::{Side, elsewhere};
use crate::model::wire::{Flying, Kind};

/// The ages at which a key changes what it may be used for.
const AGES: [Duration; 3] = [REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER, REJECT_AFTER_TIME];

/// Packets that a host keeps back at most.
const MAX_STAGED: usize = 2;

/// Copies of one datagram under way.
const MAX_COPIES: u8 = 2;

/// What does not change.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) hosts: [Identity; 2],
    pub(super) mac1: [Mac1Key; 2],
}

/// Whether datagrams are also delivered forged and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adversary {
    Present,
    Absent,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) setup: Arc<Setup>,
    pub(super) now: Duration,
    pub(super) hosts: [Arc<Host>; 2],
    /// What is under way, the oldest first.
    pub(super) wire: Vec<Flying>,
    /// Packets that came, of those still under way.
    pub(super) delivered: Vec<u32>,
    /// Handshake messages and packets there ever were.
    pub(super) messages: u32,
    pub(super) packets: u32,
    /// Restarts that may still happen.
    pub(super) restarts: u8,
}

impl World {
    pub(super) fn new(setup: Arc<Setup>) -> Result<Self, Violation> {
        let hosts = setup.hosts.each_ref().map(|identity| Arc::new(Host::new(identity)));
        let mut world = Self {
            setup,
            now: Duration::from_secs(1),
            hosts,
            wire: Vec::new(),
            delivered: Vec::new(),
            messages: 1,
            packets: 0,
            restarts: 0,
        };
        for side in Side::BOTH {
            world.call(side, |_, _| Ok(()))?;
        }
        Ok(world)
    }

    pub(super) fn host(&self, side: Side) -> &Host {
        &self.hosts[side.index()]
    }

    // --- what can happen ---

    /// Everything that can happen now, in an order that is always the same.
    pub(super) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for side in Side::BOTH {
            if self.host(side).staged.len() < MAX_STAGED {
                actions.push(Action::Send(side));
            }
        }
        for (place, flying) in (0..=u8::MAX).zip(&self.wire) {
            actions.push(Action::Deliver(place));
            actions.push(Action::Drop(place));
            if flying.copies < MAX_COPIES {
                actions.push(Action::Duplicate(place));
            }
        }
        let (next, age) = (self.next_instant(), self.next_age());
        if next.is_some() {
            actions.push(Action::Advance);
        }
        if age > next {
            actions.push(Action::Sleep);
        }
        for side in Side::BOTH {
            if self.restarts > 0 {
                actions.push(Action::Restart(side));
            }
            if self.host(side).snapshot.is_some() {
                actions.push(Action::Restore(side));
            }
        }
        actions
    }

    /// Does it, with an adversary beside every delivery.
    pub(super) fn act(&mut self, action: Action, adversary: Adversary) -> Result<(), Violation> {
        match action {
            Action::Send(side) => self.send(side)?,
            Action::Deliver(place) => self.deliver(place.into(), adversary)?,
            Action::Drop(place) => self.take_copy(place.into()),
            Action::Duplicate(place) => self.wire[usize::from(place)].copies += 1,
            Action::Advance => {
                if let Some(next) = self.next_instant() {
                    self.pass_to(next)?;
                }
            }
            Action::Sleep => {
                if let Some(age) = self.next_age() {
                    let slept = age - self.now;
                    for side in Side::BOTH {
                        let mistake = self.setup.hosts[side.index()].mistake;
                        if mistake == Mistake::ClockStopsInSleep {
                            Arc::make_mut(&mut self.hosts[side.index()]).behind += slept;
                        }
                    }
                    self.pass_to(age)?;
                }
            }
            Action::Restart(side) => {
                self.restarts -= 1;
                let setup = Arc::clone(&self.setup);
                self.call(side, |host, _| {
                    host.restart(&setup.hosts[side.index()]);
                    Ok(())
                })?;
            }
            Action::Restore(side) => self.call(side, |host, _| {
                host.restore();
                Ok(())
            })?,
        }
        let wire = &self.wire;
        let under_way = |packet: u32| {
            wire.iter().any(
                |flying| matches!(flying.kind, Kind::Data { packet: Some(other), .. } if other == packet),
            )
        };
        self.delivered.retain(|packet| under_way(*packet));
        Ok(())
    }

    /// Says what an action is about to do.
    pub(super) fn describe(&self, action: Action) -> String {
        let datagram = |place: u8| {
            let flying = &self.wire[usize::from(place)];
            let what = match flying.kind {
                Kind::Initiation { sender } => format!("initiation {sender}"),
                Kind::Response { sender, receiver } => format!("response {sender} to {receiver}"),
                Kind::Data { receiver, counter, packet: Some(packet) } => {
                    format!("packet {packet} ({receiver}/{counter})")
                }
                Kind::Data { receiver, counter, packet: None } => format!("keepalive ({receiver}/{counter})"),
                Kind::CookieReply => "cookie reply".to_owned(),
            };
            format!("{what} of {:?}", flying.from)
        };
        match action {
            Action::Deliver(place) => format!("{action:?}: {}", datagram(place)),
            Action::Drop(place) => format!("{action:?}: {}", datagram(place)),
            Action::Duplicate(place) => format!("{action:?}: {}", datagram(place)),
            Action::Advance => format!("{action:?} to {:?}", self.next_instant().unwrap_or(self.now)),
            Action::Sleep => format!("{action:?} to {:?}", self.next_age().unwrap_or(self.now)),
            Action::Send(_) | Action::Restart(_) | Action::Restore(_) => format!("{action:?}"),
        }
    }

    // --- how it happens ---

    pub(super) fn send(&mut self, side: Side) -> Result<(), Violation> {
        let packet = self.packets;
        self.packets += 1;
        self.call(side, |host, outside| host.send(packet, outside))
    }

    pub(super) fn deliver(&mut self, place: usize, adversary: Adversary) -> Result<(), Violation> {
        let flying = self.wire[place].clone();
        let side = flying.from.other();
        self.take_copy(place);
        if adversary == Adversary::Present {
            let forged = flying.forged(&self.setup.mac1[side.index()]);
            self.refuse(side, &forged, Rule::Silence)?;
            if let Some(renumbered) = flying.renumbered() {
                self.refuse(side, &renumbered, Rule::Silence)?;
            }
        }
        let before = self.host(side).exact(self.now);
        let from = flying.from.address();
        let came = self.call_then(
            side,
            |host, outside| Ok(host.handle(&flying.bytes, from, outside)),
            |host, came| {
                if let (Ok(_), Kind::Data { receiver, .. }) = (came, flying.kind) {
                    host.ledger.heard(receiver);
                }
            },
        )?;
        match came {
            Ok(came) => self.accept(&flying, came)?,
            Err(error) => self.unchanged(side, before, Rule::Silence, error)?,
        }
        match adversary {
            Adversary::Present => self.refuse(side, &flying.bytes, Rule::Replay),
            Adversary::Absent => Ok(()),
        }
    }

    /// A host took a datagram of the other: was it for it, and for the first time?
    fn accept(&mut self, flying: &Flying, came: Came) -> Result<(), Violation> {
        let broken = |what: &str| Err(Violation::new(Rule::Delivery, format!("{flying:?}: {what}")));
        match (flying.kind, came) {
            (Kind::Data { packet: Some(packet), .. }, Came::Packet(came)) => {
                if came != content(flying.from, packet) {
                    return broken("another packet came than was sent");
                }
                if self.delivered.contains(&packet) {
                    return broken("a packet came twice");
                }
                self.delivered.push(packet);
                Ok(())
            }
            (Kind::Data { packet: None, .. }, Came::Keepalive)
            | (Kind::Initiation { .. } | Kind::Response { .. }, Came::Handshake) => Ok(()),
            _ => broken("it was taken for something else"),
        }
    }

    /// A datagram that must not be taken comes from elsewhere.
    fn refuse(&mut self, side: Side, datagram: &[u8], rule: Rule) -> Result<(), Violation> {
        let before = self.host(side).exact(self.now);
        let under_way = self.wire.len();
        let came = self.call(side, |host, outside| Ok(host.handle(datagram, elsewhere(), outside)))?;
        let Err(error) = came else {
            return Err(Violation::new(rule, format!("{side:?} took {came:?}")));
        };
        if self.wire.len() != under_way {
            return Err(Violation::new(rule, format!("{side:?} answered what it refused: {error}")));
        }
        self.unchanged(side, before, rule, error)
    }

    fn unchanged(&self, side: Side, before: u64, rule: Rule, error: ReceiveError) -> Result<(), Violation> {
        if self.host(side).exact(self.now) == before {
            return Ok(());
        }
        Err(Violation::new(rule, format!("{side:?} was changed by what it refused: {error}")))
    }

    pub(super) fn take_copy(&mut self, place: usize) {
        let flying = &mut self.wire[place];
        flying.copies -= 1;
        if flying.copies == 0 {
            self.wire.remove(place);
        }
    }

    /// The next instant at which a peer has a deadline or a key comes to an age.
    fn next_instant(&self) -> Option<Duration> {
        self.next_deadline().into_iter().chain(self.next_age()).min()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.hosts.iter().filter_map(|host| host.deadline()).min()
    }

    fn next_age(&self) -> Option<Duration> {
        let keys = self.hosts.iter().flat_map(|host| &host.ledger.keys);
        keys.flat_map(|key| AGES.map(|age| key.born + age)).filter(|at| *at > self.now).min()
    }

    /// Time passes, and whoever has something due then does it.
    pub(super) fn pass_to(&mut self, time: Duration) -> Result<(), Violation> {
        self.now = time;
        for side in Side::BOTH {
            if self.host(side).deadline().is_some_and(|at| at <= time) {
                self.call(side, |host, outside| {
                    host.poll(outside);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn call<T>(
        &mut self,
        side: Side,
        call: impl FnOnce(&mut Host, &mut Outside<'_>) -> Result<T, Violation>,
    ) -> Result<T, Violation> {
        self.call_then(side, call, |_, _| {})
    }

    /// Makes one call, looks at what came of it, and does what a caller must after it.
    fn call_then<T>(
        &mut self,
        side: Side,
        call: impl FnOnce(&mut Host, &mut Outside<'_>) -> Result<T, Violation>,
        then: impl FnOnce(&mut Host, &T),
    ) -> Result<T, Violation> {
        let host = Arc::make_mut(&mut self.hosts[side.index()]);
        let mut outside = Outside { now: self.now, messages: &mut self.messages, wire: &mut self.wire };
        let result = call(host, &mut outside)?;
        then(host, &result);
        host.settle(&mut outside)?;
        Ok(result)
    }
}
