//! What a host sends, held to the rules that can be seen from outside: counters (I1), handshake messages (I4), the age of
//! keys (I5). Each check looks at one place; what is kept is bounded.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use wg_proto::Instant;
use wg_proto::limits::{REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_TIMEOUT};

use crate::clock::Time;
use crate::violation::Invariant;

/// Sessions and handshakes that are remembered of a host, in each direction.
const REMEMBERED: usize = 128;

/// A bounded map that forgets the oldest.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    entries: HashMap<u32, T>,
    order: VecDeque<u32>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Recent<T> {
    pub(crate) fn insert(&mut self, index: u32, entry: T) {
        if self.entries.insert(index, entry).is_none() {
            self.order.push_back(index);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(&index)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(&index)
    }

    pub(crate) fn newest(&self) -> Option<(u32, &T)> {
        let index = *self.order.back()?;
        self.entries.get(&index).map(|entry| (index, entry))
    }
}

/// A session that a host sends with, by the index that its receiver gave it.
#[derive(Clone, Copy, Debug)]
struct Sending {
    born: Instant,
    next_counter: u64,
}

/// What one host sent.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    sessions: Recent<Sending>,
    /// When a handshake message was last sent to each host.
    handshakes: HashMap<u8, Instant>,
}

type Verdict = Result<(), (Invariant, String)>;

impl Audit {
    /// The host forgot when it last sent a handshake message.
    pub(crate) fn forget_handshakes(&mut self) {
        self.handshakes.clear();
    }

    /// The host derived the keys of a session.
    pub(crate) fn derived(&mut self, remote_index: u32, now: Instant) {
        self.sessions.insert(remote_index, Sending { born: now, next_counter: 0 });
    }

    pub(crate) fn initiation(&mut self, to: u8, now: Instant) -> Verdict {
        let last = self.handshakes.insert(to, now);
        match last.map(|last| now.saturating_duration_since(last)) {
            Some(waited) if waited < REKEY_TIMEOUT && last <= Some(now) => {
                Err((Invariant::I4, format!("initiation to host {to} {waited:?} after a handshake message")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn response(&mut self, to: u8, now: Instant) {
        self.handshakes.insert(to, now);
    }

    pub(crate) fn data(&mut self, remote_index: u32, counter: u64, now: Instant) -> Verdict {
        if counter >= REJECT_AFTER_MESSAGES {
            return Err((Invariant::I1, format!("counter {counter} is past the limit")));
        }
        let Some(session) = self.sessions.get_mut(remote_index) else {
            // Derived so long ago that it was forgotten, or with an answer that was not seen.
            self.derived(remote_index, now);
            if let Some(session) = self.sessions.get_mut(remote_index) {
                session.next_counter = counter + 1;
            }
            return Ok(());
        };
        let age = now.saturating_duration_since(session.born);
        if age >= REJECT_AFTER_TIME {
            return Err((Invariant::I5, format!("sent with a key of {age:?}")));
        }
        if counter < session.next_counter {
            return Err((Invariant::I1, format!("counter {counter} with index {remote_index:#x} again")));
        }
        session.next_counter = counter + 1;
        Ok(())
    }
}

/// A handshake that a host took part in, by the index that it gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    /// With whom.
    pub(crate) peer: u8,
    /// How often the host had begun anew.
    pub(crate) epoch: u32,
    /// How many handshakes with this peer came before it.
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// The same in virtual time.
    pub(crate) time: Time,
    /// The greatest counter that was accepted.
    pub(crate) newest: Option<u64>,
    /// Whether a response to it was accepted.
    pub(crate) answered: bool,
    /// Whether a cookie reply for it was accepted.
    pub(crate) cookie: bool,
}

impl Birth {
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn each_rule_is_noticed() {
        let mut audit = Audit::default();
        let broken = |verdict: Verdict| verdict.unwrap_err().0;
        assert_eq!(audit.initiation(1, at(100)), Ok(()));
        assert_eq!(audit.initiation(2, at(101)), Ok(()), "to another");
        assert_eq!(broken(audit.initiation(1, at(104))), Invariant::I4);
        assert_eq!(audit.initiation(1, at(109)), Ok(()));
        audit.response(1, at(120));
        assert_eq!(broken(audit.initiation(1, at(121))), Invariant::I4);
        audit.derived(7, at(200));
        assert_eq!(audit.data(7, 0, at(200)), Ok(()));
        assert_eq!(audit.data(7, 5, at(379)), Ok(()));
        assert_eq!(broken(audit.data(7, 5, at(201))), Invariant::I1);
        assert_eq!(broken(audit.data(7, 6, at(380))), Invariant::I5);
        assert_eq!(broken(audit.data(8, REJECT_AFTER_MESSAGES, at(200))), Invariant::I1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut audit = Audit::default();
        for index in 0..1000 {
            audit.derived(index, at(1));
        }
        assert_eq!(audit.sessions.entries.len(), REMEMBERED);
        assert_eq!(audit.sessions.newest().map(|(index, _)| index), Some(999));
    }
}
