//! The state of a peer as something to compare: what a model checker and a test of "nothing changed" need.
//!
//! Two states are alike if they behave alike from now on. So times are written relative to now, one that has run out as none;
//! and what was drawn at random is written as a name that the caller gives it, best by order of creation. Configuration and
//! keys are not written: a key is what the two indices of its handshake name, and configuration is the caller's to know.
//!
//! Ages are cut off where the protocol stops to look at them, which is right as long as the monotonic clock does not go
//! backwards. Only for tests: whoever compares states wants copies of them, and a copy of a peer uses nonces twice (C59).

use core::fmt;
use core::hash::Hasher;
use core::time::Duration;

use crate::index::SessionIndex;
use crate::time::{Instant, Tai64n};

/// What was drawn at random, or stands for something that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// An index that this peer chose.
    LocalIndex(SessionIndex),
    /// An index that the other side chose.
    RemoteIndex(SessionIndex),
    /// MAC1 of the last handshake message sent, which a cookie reply may answer.
    Mac1(&'a [u8; 16]),
    /// The timestamp of the last initiation sent: the next is later.
    StampSent(Tai64n),
    /// The greatest timestamp received: an initiation must be later.
    GreatestStamp(Tai64n),
}

/// Takes in states, one after the other.
pub struct Fingerprint<'a> {
    now: Instant,
    names: &'a mut dyn FnMut(Named<'_>) -> u64,
    into: &'a mut dyn Hasher,
}

impl<'a> Fingerprint<'a> {
    /// Begins a fingerprint at `now`, which is written to `into`; `names` gives names to what was drawn at random.
    pub fn new(now: Instant, names: &'a mut dyn FnMut(Named<'_>) -> u64, into: &'a mut dyn Hasher) -> Self {
        Self { now, names, into }
    }

    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.into.write_u64(number);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.into.write_u8(flag.into());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.into.write(bytes);
    }

    pub(crate) fn named(&mut self, what: Named<'_>) {
        let name = (self.names)(what);
        self.number(name);
    }

    /// Something that may be there.
    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&mut self, at: Option<Instant>) {
        let now = self.now.as_nanos();
        self.option(at, |this, at| this.number(at.as_nanos().wrapping_sub(now)));
    }

    /// How long ago something was, if that is less than `limit`.
    pub(crate) fn since(&mut self, then: Option<Instant>, limit: Duration) {
        let age = then.map(|then| self.now.saturating_duration_since(then)).filter(|age| *age < limit);
        self.option(age, Self::duration);
    }

    /// An age, cut off at `limit`.
    pub(crate) fn age(&mut self, born: Instant, limit: Duration) {
        let age = self.now.saturating_duration_since(born).min(limit);
        self.duration(age);
    }

    pub(crate) fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Writes whatever says itself how it is hashed.
    pub(crate) fn hashed(&mut self, value: &impl core::hash::Hash) {
        value.hash(&mut self.into);
    }
}

impl fmt::Debug for Fingerprint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").field("now", &self.now).finish_non_exhaustive()
    }
}
