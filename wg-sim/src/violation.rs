//! What must hold at every step, and what is told when it did not.

use core::fmt;

use crate::clock::Time;

/// The rules that every step is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No counter is used twice with a key, and none from the last limit on (C58, C59).
    I1,
    /// Nothing is delivered that its sender did not send, nothing twice, altered, to somebody else, or out of order that
    /// came in order (C68, C77).
    I2,
    /// The index table holds the live handshakes and keypairs, at most four a peer (C43).
    I3,
    /// At most one initiation to a peer in 5 s after any handshake message (C45, C120).
    I4,
    /// Nothing is sent with a key of 180 s (C56).
    I5,
    /// What is not authentic has no effect: no output but a cookie reply under load, no change of state (C7, C76).
    I6,
    /// An endpoint moves only by an authentic datagram that is no replay, to where it came from (C87, C89).
    I7,
    /// The next deadline lies ahead, and nothing spins (C131).
    I8,
    /// Memory stays within its bound (C116).
    I9,
    /// Traffic flows soon after the faults have stopped.
    I10,
    /// No panic, overflow or failed assertion.
    I11,
    /// Every packet is accounted for.
    Accounting,
}

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::Accounting,
    ];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An invariant was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The seed of the run.
    pub seed: u64,
    /// The step of the run: one for each call of a node.
    pub step: u64,
    /// The virtual time.
    pub time: Time,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, seed, step, time, what } = self;
        let (secs, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
        write!(f, "{invariant} at step {step}, {secs}.{nanos:09} s, seed {seed}: {what}")
    }
}

impl core::error::Error for Violation {}
