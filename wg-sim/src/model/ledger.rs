//! The rules, and what must be written down to see one broken.
//!
//! Nothing here asks a peer what it did: it is held against what went over the wire, and when.

use core::fmt;
use core::time::Duration;

use wg_proto::limits::{REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_TIMEOUT};

use crate::model::side::Side;

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// I1: no key and nonce are used twice (C59).
    Nonce,
    /// I2: nothing is delivered that the peer did not send, and nothing twice (C76).
    Delivery,
    /// I3: a host has at most one handshake and three keypairs, each with an index of its own (C41, C43).
    Indices,
    /// I4: no initiation within 5 s of another handshake message of the same host (C45, C120).
    Rate,
    /// I5: nothing is sent with a key of 180 s, or beyond the last counter (C56, C58).
    Expiry,
    /// I6: what is not authentic changes nothing and is not answered (C7, C32, C37).
    Silence,
    /// I7: what was seen before changes nothing, wherever it comes from (C30, C38, C77, C89).
    Replay,
    /// I8: after a poll the next deadline lies ahead (C131).
    Deadline,
    /// I10: with a network that works again, the peers find each other (C39, C126).
    Recovery,
    /// I11: nothing panics.
    Panic,
    /// A responder sends with a key only when the initiator has shown that it has it (C53).
    Confirmation,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// How it was broken.
    pub what: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

impl core::error::Error for Violation {}

/// What is known of a keypair that a host holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyRecord {
    pub(super) local: u32,
    pub(super) remote: u32,
    /// Whether this host sent the initiation.
    pub(super) initiated: bool,
    /// When the host got it.
    pub(super) born: Duration,
    /// The counters it was used with, in order.
    pub(super) used: Vec<u64>,
    /// Whether a packet of the other side came under it.
    pub(super) heard: bool,
}

/// What is written down about one host.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Ledger {
    pub(super) keys: Vec<KeyRecord>,
    /// When it last sent an initiation or a response.
    pub(super) handshake_sent: Option<Duration>,
}

impl Ledger {
    /// A host sends an initiation.
    pub(super) fn initiation(&mut self, side: Side, now: Duration) -> Result<(), Violation> {
        if let Some(waited) = self.handshake_sent.map(|last| now - last)
            && waited < REKEY_TIMEOUT
        {
            let what = format!("{side:?} initiates {waited:?} after its last handshake message");
            return Err(Violation::new(Rule::Rate, what));
        }
        self.handshake_sent = Some(now);
        Ok(())
    }

    /// A host sends a response.
    pub(super) const fn response(&mut self, now: Duration) {
        self.handshake_sent = Some(now);
    }

    /// A host sends data or a keepalive with the keypair that it knows by `local`.
    pub(super) fn data(
        &mut self,
        side: Side,
        local: Option<u32>,
        remote: u32,
        counter: u64,
        now: Duration,
    ) -> Result<(), Violation> {
        let found = self.keys.iter_mut().find(|key| Some(key.local) == local && key.remote == remote);
        let Some(key) = found else {
            return Err(Violation::new(Rule::Indices, format!("{side:?} sends with a key it does not have")));
        };
        let age = now - key.born;
        if age >= REJECT_AFTER_TIME || counter >= REJECT_AFTER_MESSAGES {
            let what = format!("{side:?} sends counter {counter} with a key of {age:?}");
            return Err(Violation::new(Rule::Expiry, what));
        }
        if !key.initiated && !key.heard {
            let what = format!("{side:?} sends with a key that was not confirmed");
            return Err(Violation::new(Rule::Confirmation, what));
        }
        match key.used.binary_search(&counter) {
            Ok(_) => Err(Violation::new(Rule::Nonce, format!("{side:?} uses counter {counter} again"))),
            Err(place) => {
                key.used.insert(place, counter);
                Ok(())
            }
        }
    }

    /// An authentic packet came under the keypair that the host knows by `local`.
    pub(super) fn heard(&mut self, local: u32) {
        for key in self.keys.iter_mut().filter(|key| key.local == local) {
            key.heard = true;
        }
    }
}
