//! Where a search begins: the states that lead to the rules of the protocol within a few steps.

use core::time::Duration;
use std::sync::Arc;

use wg_proto::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};
use wg_proto::{Mac1Key, PrivateKey, StaticIdentity};

use crate::model::action::Action;
use crate::model::host::{Identity, Mistake};
use crate::model::ledger::Violation;
use crate::model::side::Side;
use crate::model::static_key::StaticKey;
use crate::model::step::{Adversary, Fixed, Steps};
use crate::model::world::World;

/// A state to begin a search from.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    name: &'static str,
    about: &'static str,
    begin: fn(&mut World, &mut Steps) -> Result<(), Violation>,
    /// Thousandths of the greatest jitter, of each side.
    jitter: [u16; 2],
    persistent_keepalive: [Duration; 2],
    restarts: u8,
    mistakes: [Mistake; 2],
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::new("idle", "Two peers that never spoke.", |_, _| Ok(())),
        Self {
            restarts: 0,
            // Were it the same on both sides, and one of them not to yield, they would cross for ever.
            ..Self::new("crossed", "Both sent an initiation, and neither has come.", |world, steps| {
                world.send(Side::A, steps)?;
                world.send(Side::B, steps)
            })
        },
        Self::new(
            "answered",
            "A's initiation was answered, and the response is under way.",
            |world, steps| {
                world.send(Side::A, steps)?;
                world.deliver(0, Adversary::Absent, steps)
            },
        ),
        Self::new("session", "A session that A began, a second ago.", |world, steps| {
            session(world, steps, 1)
        }),
        Self::new(
            "rekey",
            "A session of 119 s: the initiator is about to ask for another.",
            |world, steps| session(world, steps, 119),
        ),
        Self::new("expiry", "A session of 179 s: nothing may be sent with it soon.", |world, steps| {
            session(world, steps, 179)
        }),
        Self {
            restarts: 2,
            ..Self::new("restarts", "A session of 10 s, and hosts that start anew.", |world, steps| {
                session(world, steps, 10)
            })
        },
        Self::new("counters", "A's counter is at 2^60, and B's two below the last.", |world, steps| {
            session(world, steps, 1)?;
            set_counter(world, Side::A, REKEY_AFTER_MESSAGES);
            set_counter(world, Side::B, REJECT_AFTER_MESSAGES - 2);
            Ok(())
        }),
        Self::new("despair", "A initiated 19 times, and nothing came back.", |world, steps| {
            world.send(Side::A, steps)?;
            for _ in 0..18 {
                world.wire.clear();
                world.act(Action::Advance, Adversary::Absent, steps)?;
            }
            world.wire.clear();
            Ok(())
        }),
        Self {
            persistent_keepalive: [Duration::from_secs(25), Duration::ZERO],
            ..Self::new("keepalive", "A session of 10 s that A keeps alive every 25 s.", |world, steps| {
                session(world, steps, 10)
            })
        },
        Self::new(
            "snapshot",
            "A session of 10 s, and A a virtual machine that is restored.",
            |world, steps| {
                session(world, steps, 10)?;
                let host = &mut world.hosts[Side::A.index()];
                let snapshot = Arc::clone(host);
                let host = Arc::make_mut(host);
                host.snapshot = Some(snapshot);
                host.seal_state(world.now);
                Ok(())
            },
        ),
    ];

    const fn new(
        name: &'static str,
        about: &'static str,
        begin: fn(&mut World, &mut Steps) -> Result<(), Violation>,
    ) -> Self {
        Self {
            name,
            about,
            begin,
            jitter: [0, 1000],
            persistent_keepalive: [Duration::ZERO; 2],
            restarts: 0,
            mistakes: [Mistake::None; 2],
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it begins with.
    #[must_use]
    pub const fn about(&self) -> &'static str {
        self.about
    }

    /// The same with another jitter: for A and for B, in thousandths of the greatest.
    #[must_use]
    pub const fn with_jitter(self, jitter: [u16; 2]) -> Self {
        Self { jitter, ..self }
    }

    /// The same with so many restarts of either side.
    #[must_use]
    pub const fn with_restarts(self, restarts: u8) -> Self {
        Self { restarts, ..self }
    }

    /// The same with a host that makes a mistake.
    #[must_use]
    pub const fn with_mistake(self, side: Side, mistake: Mistake) -> Self {
        let mut mistakes = self.mistakes;
        mistakes[side.index()] = mistake;
        Self { mistakes, ..self }
    }

    /// Goes through it by these actions, as a counterexample names them, and looks at the end whether the peers recover.
    ///
    /// # Errors
    ///
    /// The rule that was broken.
    ///
    /// # Panics
    ///
    /// If an action is not possible where it stands.
    pub fn replay(&self, actions: &[Action]) -> Result<(), Violation> {
        let mut world = self.world()?;
        let mut steps = Steps::default();
        for action in actions {
            assert!(world.actions().contains(action), "{action:?} is not possible");
            world.act(*action, Adversary::Present, &mut steps)?;
        }
        world.recovers(&mut steps).map(drop)
    }

    pub(super) fn world(&self) -> Result<World, Violation> {
        let keys = Side::BOTH.map(|side| StaticKey::from(PrivateKey::from_bytes([0x40 + side as u8; 32])));
        let public = keys.each_ref().map(StaticIdentity::public_key);
        let mut world = World::new(Side::BOTH.map(|side| Fixed {
            identity: Identity {
                side,
                key: keys[side.index()].clone(),
                remote: public[side.other().index()],
                jitter: self.jitter[side.index()],
                persistent_keepalive: self.persistent_keepalive[side.index()],
                mistake: self.mistakes[side.index()],
            },
            mac1: Mac1Key::new(&public[side.index()]),
        }))?;
        (self.begin)(&mut world, &mut Steps::default())?;
        world.restarts = self.restarts;
        Ok(world)
    }
}

/// Lets A begin a session, and lets it come to an age, with nothing under way.
fn session(world: &mut World, steps: &mut Steps, age: u64) -> Result<(), Violation> {
    let end = world.now + Duration::from_secs(age);
    if world.wire.is_empty() {
        world.send(Side::A, steps)?;
    }
    loop {
        while !world.wire.is_empty() {
            world.deliver(0, Adversary::Absent, steps)?;
        }
        let Some(next) = world.next_deadline().filter(|next| *next <= end) else { break };
        world.pass_to(next, steps)?;
    }
    world.now = end;
    world.delivered.clear();
    Ok(())
}

fn set_counter(world: &mut World, side: Side, counter: u64) {
    let host = Arc::make_mut(&mut world.hosts[side.index()]);
    if let Some(current) = host.peer.sessions_mut().current_mut() {
        current.set_next_counter(counter);
    }
    host.seal_state(world.now);
}
