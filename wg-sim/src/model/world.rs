//! The state of a model: two hosts, what is under way between them, and the time.

use core::time::Duration;
use std::sync::Arc;

use wg_proto::ReceiveError;
use wg_proto::limits::{REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER};

use crate::model::action::Action;
use crate::model::host::{Came, Host, Mistake, content};
use crate::model::ledger::{Rule, Violation};
use crate::model::side::Side;
use crate::model::step::{Adversary, Fixed, Input, Steps};
use crate::model::wire::{Flying, Kind};

/// The ages at which a key changes what it may be used for.
const AGES: [Duration; 3] = [REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER, REJECT_AFTER_TIME];

/// Packets that a host keeps back at most.
const MAX_STAGED: usize = 2;

/// Copies of one datagram under way.
const MAX_COPIES: u8 = 2;

#[derive(Clone)]
pub(super) struct World {
    pub(super) fixed: Arc<[Fixed; 2]>,
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
    pub(super) fn new(fixed: [Fixed; 2]) -> Result<Self, Violation> {
        let hosts = fixed.each_ref().map(|fixed| Arc::new(Host::new(&fixed.identity)));
        let mut world = Self {
            fixed: Arc::new(fixed),
            now: Duration::from_secs(1),
            hosts,
            wire: Vec::new(),
            delivered: Vec::new(),
            messages: 1,
            packets: 0,
            restarts: 0,
        };
        for side in Side::BOTH {
            world.step(side, Input::Poll, &mut Steps::default())?;
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

    /// Does it.
    pub(super) fn act(
        &mut self,
        action: Action,
        adversary: Adversary,
        steps: &mut Steps,
    ) -> Result<(), Violation> {
        match action {
            Action::Send(side) => self.send(side, steps)?,
            Action::Deliver(place) => self.deliver(place.into(), adversary, steps)?,
            Action::Drop(place) => self.take_copy(place.into()),
            Action::Duplicate(place) => self.wire[usize::from(place)].copies += 1,
            Action::Advance => {
                if let Some(next) = self.next_instant() {
                    self.pass_to(next, steps)?;
                }
            }
            Action::Sleep => {
                if let Some(age) = self.next_age() {
                    let slept = age - self.now;
                    self.now = age;
                    self.stop_clocks(slept);
                    self.pass_to(age, steps)?;
                }
            }
            Action::Restart(side) => {
                self.restarts -= 1;
                self.step(side, Input::Restart, steps)?;
            }
            Action::Restore(side) => {
                self.step(side, Input::Restore, steps)?;
                // What came since the snapshot came to a machine that is no more.
                let sent_by_it = |packet: &u32| {
                    self.wire.iter().any(|flying| flying.from == side && flying.packet() == *packet)
                };
                self.delivered.retain(sent_by_it);
            }
        }
        let wire = &self.wire;
        self.delivered.retain(|packet| wire.iter().any(|flying| flying.packet() == *packet));
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

    pub(super) fn send(&mut self, side: Side, steps: &mut Steps) -> Result<(), Violation> {
        let packet = self.packets;
        self.packets += 1;
        self.step(side, Input::Send(packet), steps).map(drop)
    }

    pub(super) fn deliver(
        &mut self,
        place: usize,
        adversary: Adversary,
        steps: &mut Steps,
    ) -> Result<(), Violation> {
        let flying = self.wire[place].clone();
        self.take_copy(place);
        match self.step(flying.from.other(), Input::Datagram(&flying, adversary), steps)? {
            Some(Ok(came)) => self.accept(&flying, came),
            Some(Err(_)) | None => Ok(()),
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
    pub(super) fn pass_to(&mut self, time: Duration, steps: &mut Steps) -> Result<(), Violation> {
        self.now = time;
        for side in Side::BOTH {
            if self.host(side).deadline().is_some_and(|at| at <= time) {
                self.step(side, Input::Poll, steps)?;
            }
        }
        Ok(())
    }

    /// The clocks that do not count a sleep fall behind.
    fn stop_clocks(&mut self, slept: Duration) {
        for (host, fixed) in self.hosts.iter_mut().zip(self.fixed.iter()) {
            if fixed.identity.mistake == Mistake::ClockStopsInSleep {
                let host = Arc::make_mut(host);
                host.behind += slept;
                host.seal_state(self.now);
            }
        }
    }

    fn step(
        &mut self,
        side: Side,
        input: Input<'_>,
        steps: &mut Steps,
    ) -> Result<Option<Result<Came, ReceiveError>>, Violation> {
        let at = side.index();
        let step = steps.step(&self.hosts[at], input, &self.fixed[at], self.now, self.messages)?;
        self.hosts[at] = step.host;
        self.messages = step.messages;
        self.wire.extend(step.sent);
        Ok(step.came)
    }
}
