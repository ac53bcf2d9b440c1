//! Whether a state leads anywhere: with a network that loses nothing, the peers must come together again.
//!
//! From a state the network becomes perfect: what is under way arrives, or all of it is lost, and from then on every datagram
//! arrives 20 ms after it was sent. A packet a second comes from one side, or from both, or from none: then the packets that
//! are kept back must be enough, unless their host is told to give them up. In each case a session must come about that both sides hold, and carry a packet each way.

use core::time::Duration;
use std::collections::VecDeque;

use crate::model::ledger::{Rule, Violation};
use crate::model::side::Side;
use crate::model::step::{Adversary, Steps};
use crate::model::world::World;

/// The way of a datagram.
const DELAY: Duration = Duration::from_millis(20);

/// Between two packets of a side that has some to send.
const PACE: Duration = Duration::from_secs(1);

/// By when a session must carry packets both ways.
///
/// The worst is a peer that sends into a session which the other side has lost: 15 s until silence is noticed, after that an
/// initiation that may cross one of the other side, which is tried again after another 5 to 10 s, with jitter each time.
const BOUND: Duration = Duration::from_millis(15_333 + 5_333 + 10_000);

/// Who has packets to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    /// Nobody: what is kept back must be enough.
    None,
    From(Side),
    Both,
}

impl Traffic {
    const ALL: [Self; 4] = [Self::None, Self::From(Side::A), Self::From(Side::B), Self::Both];

    fn comes_from(self, side: Side) -> bool {
        match self {
            Self::None => false,
            Self::From(from) => from == side,
            Self::Both => true,
        }
    }
}

/// What becomes of the datagrams under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    Arrives,
    IsLost,
}

impl World {
    /// Looks whether the peers come together from here, and tells how long it took at most.
    pub(super) fn recovers(&self, steps: &mut Steps) -> Result<Duration, Violation> {
        let mut slowest = Duration::ZERO;
        for traffic in Traffic::ALL {
            let waits = Side::BOTH.into_iter().any(|side| !self.host(side).staged.is_empty());
            if traffic == Traffic::None && !waits {
                continue;
            }
            for under_way in [UnderWay::Arrives, UnderWay::IsLost] {
                let took = self.recovers_with(traffic, under_way, steps).map_err(|violation| Violation {
                    what: format!(
                        "{} (traffic {traffic:?}, what was under way {under_way:?})",
                        violation.what
                    ),
                    ..violation
                })?;
                slowest = slowest.max(took);
            }
        }
        Ok(slowest)
    }

    fn recovers_with(
        &self,
        traffic: Traffic,
        under_way: UnderWay,
        steps: &mut Steps,
    ) -> Result<Duration, Violation> {
        let mut world = self.clone();
        if under_way == UnderWay::IsLost {
            world.wire.clear();
        }
        let start = world.now;
        let mut arrivals = Arrivals::default();
        let mut next_packet = start;
        loop {
            arrivals.note(&world);
            // Nobody waits in silence who is told that it was given up (C118).
            if traffic == Traffic::None && world.times_given_up() > self.times_given_up() {
                return Ok(world.now - start);
            }
            if world.acquainted() && world.carries_packets(steps)? {
                return Ok(world.now - start);
            }
            let packet = (traffic != Traffic::None).then_some(next_packet);
            let next = [arrivals.next(), world.next_deadline(), packet].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= start + BOUND) else {
                let what = format!("no session {BOUND:?} after the network came back; next {next:?}");
                return Err(Violation::new(Rule::Recovery, what));
            };
            world.pass_to(next.max(world.now), steps)?;
            arrivals.note(&world);
            if arrivals.next().is_some_and(|at| at <= world.now) {
                arrivals.deliver(&mut world, steps)?;
            } else if packet.is_some_and(|at| at <= world.now) {
                next_packet += PACE;
                for side in Side::BOTH.into_iter().filter(|side| traffic.comes_from(*side)) {
                    world.send(side, steps)?;
                }
            }
        }
    }

    fn times_given_up(&self) -> u32 {
        self.hosts.iter().map(|host| host.gave_up).sum()
    }

    /// Whether both sides would send with the same session.
    fn acquainted(&self) -> bool {
        let current = |side: Side| self.host(side).peer.sessions().current();
        let (Some(a), Some(b)) = (current(Side::A), current(Side::B)) else { return false };
        a.local_index() == b.remote_index() && a.remote_index() == b.local_index()
    }

    /// Whether a packet of each side arrives at once.
    fn carries_packets(&self, steps: &mut Steps) -> Result<bool, Violation> {
        let mut world = self.clone();
        world.wire.clear();
        for side in Side::BOTH {
            let sent = world.packets;
            world.send(side, steps)?;
            while !world.wire.is_empty() {
                world.deliver(0, Adversary::Absent, steps)?;
            }
            if !world.delivered.contains(&sent) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// When each datagram under way arrives, the oldest first.
#[derive(Default)]
struct Arrivals(VecDeque<Duration>);

impl Arrivals {
    /// Gives a time to whatever was sent since the last look.
    fn note(&mut self, world: &World) {
        self.0.resize(world.wire.len().max(self.0.len()), world.now + DELAY);
    }

    fn next(&self) -> Option<Duration> {
        self.0.front().copied()
    }

    fn deliver(&mut self, world: &mut World, steps: &mut Steps) -> Result<(), Violation> {
        if world.wire[0].copies == 1 {
            self.0.pop_front();
        }
        world.deliver(0, Adversary::Absent, steps)
    }
}
