//! A keypair: two transport keys, the indices they go by, the send counter, the replay window, and their age.

use core::ops::{Deref, DerefMut};
use core::time::Duration;

#[cfg(feature = "test-util")]
use crate::fingerprint::{Fingerprint, Named};
use crate::index::SessionIndex;
use crate::limits::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REPLAY_WORDS,
};
use crate::noise::{Role, TransportKeys};
use crate::replay::ReplayWindow;
use crate::time::Instant;
use crate::transport::OpenError;

/// One session's keys with all that goes with them. `S` and `R` are the keys themselves or handles to
/// them, `WORDS` is the size of its [`ReplayWindow`].
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct Keypair<S, R, const WORDS: usize = REPLAY_WORDS> {
    send: S,
    recv: R,
    role: Role,
    local_index: SessionIndex,
    remote_index: SessionIndex,
    derived: Instant,
    /// The next counter to send: 64 bits on every target (C59).
    next_counter: u64,
    may_send: bool,
    window: ReplayWindow<WORDS>,
}

impl<S, R> Keypair<S, R> {
    /// Makes a keypair of what a handshake ended in, derived `now`; `send` and `recv` are made from `keys` by the caller.
    #[must_use]
    pub const fn new(keys: &TransportKeys, send: S, recv: R, now: Instant) -> Self {
        Self::sized(keys, send, recv, now)
    }
}

impl<S, R, const WORDS: usize> Keypair<S, R, WORDS> {
    /// The same as [`Keypair::new`] with a replay window of another size.
    #[must_use]
    pub const fn sized(keys: &TransportKeys, send: S, recv: R, now: Instant) -> Self {
        Self {
            send,
            recv,
            role: keys.role(),
            local_index: keys.local_index(),
            remote_index: keys.remote_index(),
            derived: now,
            next_counter: 0,
            may_send: true,
            window: ReplayWindow::sized(),
        }
    }

    /// Tells which side began the handshake.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns the index the peer names this keypair by.
    #[must_use]
    pub const fn local_index(&self) -> SessionIndex {
        self.local_index
    }

    /// Returns the index this side names it by when sending.
    #[must_use]
    pub const fn remote_index(&self) -> SessionIndex {
        self.remote_index
    }

    /// Returns when the keys were derived.
    #[must_use]
    pub const fn derived(&self) -> Instant {
        self.derived
    }

    /// Returns the age of the keys.
    #[must_use]
    pub const fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.derived)
    }

    /// Returns the next counter to send.
    #[must_use]
    pub const fn next_counter(&self) -> u64 {
        self.next_counter
    }

    pub(crate) const fn send_key(&self) -> &S {
        &self.send
    }

    /// Returns the key to open with, or a handle to it. What it opened is worth nothing before it is committed.
    #[must_use]
    pub const fn recv_key(&self) -> &R {
        &self.recv
    }

    /// Whether `count` packets may be sent: by age (C56) and by counter, all of them or none (C58, C69).
    pub(crate) fn can_send(&self, now: Instant, count: u32) -> bool {
        let end = self.next_counter.saturating_add(u64::from(count));
        self.may_send && self.age(now) < REJECT_AFTER_TIME && end <= REJECT_AFTER_MESSAGES
    }

    pub(crate) fn reserve(&mut self, count: u32) -> u64 {
        let first = self.next_counter;
        self.next_counter = first.saturating_add(u64::from(count));
        first
    }

    /// Whether sending asks for a new handshake: by counter on either side, by age on the initiator's only (C57, C121).
    pub(crate) fn wants_rekey_on_send(&self, now: Instant) -> bool {
        // A key that is said to be of the far future is of an age that nobody knows: better a new one.
        self.next_counter > REKEY_AFTER_MESSAGES
            || (self.role == Role::Initiator && now.abs_diff(self.derived) >= REKEY_AFTER_TIME)
    }

    pub(crate) const fn forbid_sending(&mut self) {
        self.may_send = false;
    }

    pub(crate) fn check_recv(&self, counter: u64, now: Instant) -> Result<(), OpenError> {
        if self.age(now) >= REJECT_AFTER_TIME {
            return Err(OpenError::Expired);
        }
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(OpenError::CounterLimit);
        }
        self.window.check(counter).map_err(|_| OpenError::Replayed)
    }

    pub(crate) fn commit_recv(&mut self, counter: u64, now: Instant) -> Result<(), OpenError> {
        self.check_recv(counter, now)?;
        self.window.commit(counter).map_err(|_| OpenError::Replayed)
    }

    /// Sets the next counter, for tests near the limits.
    #[cfg(feature = "test-util")]
    pub const fn set_next_counter(&mut self, counter: u64) {
        self.next_counter = counter;
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        into.named(Named::LocalIndex(self.local_index));
        into.named(Named::RemoteIndex(self.remote_index));
        into.flag(self.role == Role::Initiator);
        into.age(self.derived, REJECT_AFTER_TIME);
        into.number(self.next_counter);
        into.flag(self.may_send);
        self.window.fingerprint(into);
    }
}

/// Keeps a keypair in place: the storage for [`crate::Sessions`] where there is no allocator.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct Inline<T>(T);

impl<T> Inline<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Inline<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Inline<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
