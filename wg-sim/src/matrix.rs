//! The fault matrix: rows S1 to S9 and A1, each a kind of fault, a volume, and what must hold.
//!
//! A row is run in units, one for each seed. Most of what must hold are the invariants of every step; a unit adds the
//! criteria of its row. Each operation of a unit is written down, so that one that fails leaves a script.

mod a1;
mod s1;
mod s2;
mod s3;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;

use core::fmt;

use crate::draw::Draw;
use crate::report::{Counts, Report};
use crate::run::standard_node;
use crate::script::{NodeKind, Op, Script};
use crate::violation::{Invariant, Violation};
use crate::world::World;

/// How much a unit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Seconds for all rows: for every change.
    Ci,
    /// Units of seconds, of which there are thousands: for hours.
    Soak,
}

impl Scale {
    /// Chooses a number by scale.
    const fn of<T: Copy>(self, ci: T, soak: T) -> T {
        match self {
            Self::Ci => ci,
            Self::Soak => soak,
        }
    }
}

/// A row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// No fault; packets of all lengths.
    S1,
    /// Loss, duplication, reordering, delay, all mixed.
    S2,
    /// Corruption, truncation, extension, splicing.
    S3,
    /// Replay of everything, from other addresses, after a rekey, after a restart.
    S4,
    /// Weeks of sparse traffic: rekeys, expiry, giving up, waking up, restarts.
    S5,
    /// Clocks that jump, stand still, sleep; hosts that are polled late.
    S6,
    /// Both sides begin at once.
    S7,
    /// Anything at any time.
    S8,
    /// Counters near their limits.
    S9,
    /// Floods of forgeries.
    A1,
}

impl Row {
    /// All rows.
    pub const ALL: [Self; 10] =
        [Self::S1, Self::S2, Self::S3, Self::S4, Self::S5, Self::S6, Self::S7, Self::S8, Self::S9, Self::A1];

    /// Returns the full volume: how much, of which counters together.
    #[must_use]
    pub const fn volume(self) -> (u64, &'static [&'static str]) {
        match self {
            Self::S1 | Self::S2 => (100_000_000, &["packets"]),
            Self::S3 => (50_000_000, &["faults_corrupt", "faults_mangle"]),
            Self::S4 => (20_000_000, &["faults_replay"]),
            Self::S5 => (20_000_000, &["handshakes"]),
            Self::S6 => (10_000, &["trials"]),
            Self::S7 => (100_000, &["trials"]),
            Self::S8 => (1_000_000_000, &["steps", "ops"]),
            Self::S9 => (1_000, &["trials"]),
            Self::A1 => (30_000_000, &["faults_forge"]),
        }
    }

    /// Runs the unit of a seed. `allocations` counts the calls of this thread's allocator, where there is such a count.
    ///
    /// # Errors
    ///
    /// What was broken, with a script that shows it where there is one.
    pub fn run(self, seed: u64, scale: Scale, allocations: Option<fn() -> u64>) -> Result<Counts, Failure> {
        match self {
            Self::S1 => s1::run(seed, scale),
            Self::S2 => s2::run(seed, scale),
            Self::S3 => s3::run(seed, scale),
            Self::S4 => s4::run(seed, scale),
            Self::S5 => s5::run(seed, scale),
            Self::S6 => s6::run(seed, scale),
            Self::S7 => s7::run(seed, scale),
            Self::S8 => s8::run(seed, scale),
            Self::S9 => s9::run(seed, scale),
            Self::A1 => a1::run(seed, scale, allocations),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What was broken in a unit, and how it came about.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The violation.
    pub violation: Violation,
    /// A script that leads to it, unless it is of no world.
    pub script: Option<Script>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violation.fmt(f)
    }
}

impl core::error::Error for Failure {}

/// Nodes for a seed: of either kind, and both.
fn nodes(seed: u64) -> &'static [NodeKind] {
    use NodeKind::{Device, Peer};
    match seed % 4 {
        0 => &[Peer, Peer],
        1 => &[Device, Device],
        2 => &[Device, Peer],
        _ => &[Device, Device, Device],
    }
}

/// A world at work, with all that was done to it.
struct Trial<'f> {
    world: World<'f>,
    script: Script,
    draw: Draw,
}

impl Trial<'_> {
    fn apply(&mut self, op: Op) -> Result<(), Failure> {
        self.script.ops.push(op);
        self.world.apply(op).map_err(|violation| self.failure(violation))
    }

    fn failure(&self, violation: Violation) -> Failure {
        Failure { violation, script: Some(self.script.clone()) }
    }

    /// What this row asks for beyond the invariants.
    fn expect(&self, holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
        if holds {
            return Ok(());
        }
        let step = self.world.counts().steps;
        let (seed, time) = (self.script.seed, self.world.time());
        Err(self.failure(Violation { invariant: Invariant::I10, seed, step, time, what: what() }))
    }

    fn millis(&mut self, low: u64, high: u64) -> u32 {
        u32::try_from(self.draw.between(low, high)).unwrap_or(u32::MAX)
    }

    fn number(&mut self, end: u64) -> u16 {
        u16::try_from(self.draw.below(end)).unwrap_or(u16::MAX)
    }

    /// Two hosts that know each other, in a drawn order.
    fn two(&mut self) -> (u8, u8) {
        let hosts = u64::try_from(self.script.nodes.len()).unwrap_or(2);
        let one = self.draw.below(hosts);
        let other = (one + 1 + self.draw.below(hosts - 1)) % hosts;
        (u8::try_from(one).unwrap_or(0), u8::try_from(other).unwrap_or(1))
    }

    /// All directed links.
    fn links(&self) -> Vec<(u8, u8)> {
        let hosts = u8::try_from(self.script.nodes.len()).unwrap_or(2);
        (0..hosts)
            .flat_map(|from| (0..hosts).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect()
    }
}

/// Runs `unit` in a world of its own, ends all faults, and closes the accounts.
fn trial(
    seed: u64,
    nodes: &[NodeKind],
    unit: impl FnOnce(&mut Trial<'_>) -> Result<(), Failure>,
) -> Result<Report, Failure> {
    let script = Script::new(seed, nodes);
    let mut factory = standard_node;
    let mut trial =
        Trial { world: World::new(&script, &mut factory), script, draw: Draw::new(seed ^ 0x726f_7773) };
    unit(&mut trial)?;
    let Trial { world, script, .. } = trial;
    let mut report = world.finish().map_err(|violation| Failure { violation, script: Some(script) })?;
    report.counts.trials = 1;
    Ok(report)
}

/// A criterion on the counters of a whole unit.
fn must(holds: bool, seed: u64, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    let violation = Violation { invariant: Invariant::Accounting, seed, step: 0, time: 0, what: what() };
    Err(Failure { violation, script: None })
}
