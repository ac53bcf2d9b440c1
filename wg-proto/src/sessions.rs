//! The sessions of a peer: its keypairs, their counters and windows, its endpoint, and the timers that traffic moves.
//!
//! This is the value that belongs to the peer's home core. It runs the first and the last phase of every packet, `begin`
//! and `commit`; the keys go out by reference or handle and are used anywhere in between.
//!
//! ```text
//!             install as initiator                  install as responder
//!   previous <-- current <-- new           previous: dropped   next <-- new
//!   (an unconfirmed `next` becomes `previous` first)
//!
//!             first packet on `next`:      previous <-- current <-- next
//! ```
//!
//! Only `current` sends; all three receive (C50-C54). White paper, sections 5.4.5, 5.4.6 and 6.

use core::ops::{Deref, DerefMut};
use core::time::Duration;

use crate::endpoint::Endpoint;
#[cfg(feature = "test-util")]
use crate::fingerprint::Fingerprint;
use crate::index::SessionIndex;
use crate::keypair::Keypair;
use crate::limits::{REKEY_ON_RECEIVE_AFTER, REKEY_TIMEOUT};
use crate::noise::Role;
use crate::time::Instant;
use crate::timers::{Jitter, TrafficDue, TrafficTimers};
use crate::transport::OpenError;

/// What is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Packets with content.
    Data,
    /// An empty packet.
    Keepalive,
}

/// There is no session to send with: none yet, or its key is too old or used up (C55).
///
/// Nothing was changed. The packets are the caller's to stage, and a handshake is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSession;

impl core::fmt::Display for NoSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no session to send with")
    }
}

impl core::error::Error for NoSession {}

/// Leave to send: counters nobody else has, and the key to use them with.
#[derive(Debug)]
pub struct SendGrant<'a, S> {
    /// The key, or a handle to it.
    pub key: &'a S,
    /// The first of the reserved counters; the others follow it.
    pub first_counter: u64,
    /// Whether to ask for a new handshake (C57, C121). Said at most once in 5 s.
    pub rekey_due: bool,
}

/// What a committed packet brought about.
#[derive(Debug)]
pub struct Received {
    /// It confirmed the session: the handshake is complete, staged packets may go (C53).
    pub confirmed: bool,
    /// The index of the keypair that fell out of `previous` by the confirmation: it is free now.
    pub retired: Option<SessionIndex>,
    /// Whether to ask for a new handshake (C122). Said once for each session.
    pub rekey_due: bool,
    /// Whether the endpoint changed its address.
    pub roamed: bool,
}

/// The keypairs, endpoint and traffic timers of one peer.
///
/// `K` is where a [`Keypair`] is kept: in place for a single thread, boxed where idle peers shall cost nothing.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct Sessions<K> {
    previous: Option<K>,
    current: Option<K>,
    next: Option<K>,
    endpoint: Option<Endpoint>,
    timers: TrafficTimers,
    /// When a rekey by sending was last asked for.
    rekey_asked: Option<Instant>,
    /// Whether the rekey by receiving was asked for in this session.
    last_minute_rekey: bool,
}

/// The indices of keypairs that an installation or a wipe pushed out: they are free now.
///
/// The keypairs themselves were dropped where they stood. One that is moved out of its place leaves a copy of its keys
/// behind, which nobody wipes.
pub type Retired = heapless::Vec<SessionIndex, 3>;

impl<K, S, R, const WORDS: usize> Sessions<K>
where
    K: DerefMut<Target = Keypair<S, R, WORDS>>,
    S: 'static,
    R: 'static,
{
    /// Makes the sessions of a peer that has none. `jitter_seed` may be any number, best another for each peer.
    #[must_use]
    pub const fn new(jitter_seed: u64) -> Self {
        Self {
            previous: None,
            current: None,
            next: None,
            endpoint: None,
            timers: TrafficTimers::new(Jitter::new(jitter_seed)),
            rekey_asked: None,
            last_minute_rekey: false,
        }
    }

    // --- sending ---

    /// Reserves `count` counters to send with.
    ///
    /// # Errors
    ///
    /// [`NoSession`]; nothing was reserved.
    pub fn begin_send(
        &mut self,
        now: Instant,
        what: Outgoing,
        count: u32,
    ) -> Result<SendGrant<'_, S>, NoSession> {
        let Some(keypair) = self.current.as_deref_mut().filter(|keypair| keypair.can_send(now, count)) else {
            if what == Outgoing::Keepalive {
                self.timers.keepalive_not_sent();
            }
            return Err(NoSession);
        };
        let first_counter = keypair.reserve(count);
        let wants_rekey = keypair.wants_rekey_on_send(now);
        self.timers.any_authenticated_packet_sent(now);
        if what == Outgoing::Data {
            self.timers.data_sent(now);
        }
        let rekey_due =
            wants_rekey && self.rekey_asked.is_none_or(|asked| now.abs_diff(asked) >= REKEY_TIMEOUT);
        if rekey_due {
            self.rekey_asked = Some(now);
        }
        Ok(SendGrant { key: keypair.send_key(), first_counter, rekey_due })
    }

    /// Tells whether `begin_send` of one packet would succeed.
    #[must_use]
    pub fn can_send(&self, now: Instant) -> bool {
        self.current.as_deref().is_some_and(|keypair| keypair.can_send(now, 1))
    }

    // --- receiving ---

    /// Finds the key for a received packet. Nothing is changed, as nothing is proven yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a counter that the window has seen is refused here already.
    pub fn begin_recv(&self, index: SessionIndex, counter: u64, now: Instant) -> Result<&R, OpenError> {
        let keypair = self.keypair(index).ok_or(OpenError::UnknownIndex)?;
        keypair.check_recv(counter, now)?;
        Ok(keypair.recv_key())
    }

    /// Takes in a packet whose tag has verified: window, endpoint, confirmation, timers, in this order (C76).
    ///
    /// `content` is the length of the opened packet: nothing for a keepalive (C79).
    ///
    /// # Errors
    ///
    /// [`OpenError`] if its counter came twice, or its session went while it was being opened; nothing was changed.
    pub fn commit_recv(
        &mut self,
        index: SessionIndex,
        counter: u64,
        content: usize,
        from: Option<Endpoint>,
        now: Instant,
    ) -> Result<Received, OpenError> {
        let keypair = self.keypair_mut(index).ok_or(OpenError::UnknownIndex)?;
        keypair.commit_recv(counter, now)?;
        let roamed = from.is_some_and(|from| self.roam(from));
        let confirmed = self.next.as_deref().is_some_and(|next| next.local_index() == index);
        let mut retired = Retired::new();
        if confirmed {
            retire(&mut retired, &mut self.previous);
            core::mem::swap(&mut self.previous, &mut self.current);
            core::mem::swap(&mut self.current, &mut self.next);
            self.session_began();
        }
        self.timers.any_authenticated_packet_received(now);
        if content > 0 {
            self.timers.data_received(now);
        }
        let retired = retired.first().copied();
        Ok(Received { confirmed, retired, rekey_due: self.rekey_due_on_receive(now), roamed })
    }

    fn rekey_due_on_receive(&mut self, now: Instant) -> bool {
        let due = !self.last_minute_rekey
            && self.current.as_deref().is_some_and(|current| {
                current.role() == Role::Initiator
                    && current.can_send(now, 1)
                    && current.age(now) >= REKEY_ON_RECEIVE_AFTER
            });
        self.last_minute_rekey |= due;
        due
    }

    // --- keypairs ---

    /// Puts a keypair in its place and drops those it pushes out (C51, C52).
    pub fn install(&mut self, keypair: K) -> Retired {
        let mut retired = Retired::new();
        match keypair.role() {
            Role::Initiator => {
                retire(&mut retired, &mut self.previous);
                if self.next.is_some() {
                    core::mem::swap(&mut self.previous, &mut self.next);
                    retire(&mut retired, &mut self.current);
                } else {
                    core::mem::swap(&mut self.previous, &mut self.current);
                }
                self.current = Some(keypair);
                self.session_began();
            }
            Role::Responder => {
                retire(&mut retired, &mut self.next);
                retire(&mut retired, &mut self.previous);
                self.next = Some(keypair);
            }
        }
        retired
    }

    const fn session_began(&mut self) {
        self.rekey_asked = None;
        self.last_minute_rekey = false;
    }

    /// Drops every keypair.
    pub fn zero_keys(&mut self) -> Retired {
        let mut retired = Retired::new();
        for slot in [&mut self.previous, &mut self.current, &mut self.next] {
            retire(&mut retired, slot);
        }
        retired
    }

    /// Forbids all sending with the keypairs there are; they receive until they expire. For a change of the private key
    /// (C133), and for a restored snapshot of a virtual machine (C61), where a counter might otherwise be used twice.
    pub fn expire_sending(&mut self) {
        for keypair in [&mut self.previous, &mut self.current, &mut self.next].into_iter().flatten() {
            keypair.forbid_sending();
        }
    }

    /// Returns the current keypair.
    #[must_use]
    pub fn current(&self) -> Option<&Keypair<S, R, WORDS>> {
        self.current.as_deref()
    }

    /// Returns the keypair that goes by `index`.
    #[must_use]
    pub fn keypair(&self, index: SessionIndex) -> Option<&Keypair<S, R, WORDS>> {
        [&self.current, &self.next, &self.previous]
            .into_iter()
            .filter_map(Option::as_deref)
            .find(|keypair| keypair.local_index() == index)
    }

    fn keypair_mut(&mut self, index: SessionIndex) -> Option<&mut Keypair<S, R, WORDS>> {
        [&mut self.current, &mut self.next, &mut self.previous]
            .into_iter()
            .filter_map(Option::as_deref_mut)
            .find(|keypair| keypair.local_index() == index)
    }

    /// Returns the local indices of all keypairs.
    pub fn local_indices(&self) -> impl Iterator<Item = SessionIndex> + '_ {
        [&self.previous, &self.current, &self.next]
            .into_iter()
            .filter_map(Option::as_deref)
            .map(Keypair::local_index)
    }

    /// Gives access to the current keypair, for tests near the limits of a counter.
    #[cfg(feature = "test-util")]
    pub fn current_mut(&mut self) -> Option<&mut Keypair<S, R, WORDS>> {
        self.current.as_deref_mut()
    }

    // --- endpoint ---

    /// Returns where the peer is reached.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Sets where the peer is reached, by configuration: the next packet goes there (C140).
    pub const fn set_endpoint(&mut self, endpoint: Option<Endpoint>) {
        self.endpoint = endpoint;
    }

    /// Follows an authenticated packet to where it came from and tells whether the address is new (C87).
    pub fn roam(&mut self, from: Endpoint) -> bool {
        let roamed = self.endpoint.is_none_or(|old| old.remote != from.remote);
        self.endpoint = Some(from);
        roamed
    }

    /// Forgets which local address to answer from (C90).
    pub const fn forget_source(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.source = None;
        }
    }

    // --- timers ---

    /// An initiation or response was sent to the peer.
    pub fn handshake_sent(&mut self, now: Instant) {
        self.timers.any_authenticated_packet_sent(now);
    }

    /// A valid initiation or response came from the peer.
    pub fn handshake_received(&mut self, now: Instant) {
        self.timers.any_authenticated_packet_received(now);
    }

    /// The handshake was given up: no keepalive is to be sent any more.
    pub const fn handshake_given_up(&mut self) {
        self.timers.given_up();
    }

    /// Sets the interval of the persistent keepalive, zero for none, and tells whether to send one now (C127).
    pub const fn set_persistent_keepalive(&mut self, interval: Duration) -> bool {
        self.timers.set_persistent_keepalive(interval)
    }

    /// Returns the interval of the persistent keepalive, zero for none.
    #[must_use]
    pub const fn persistent_keepalive(&self) -> Duration {
        self.timers.persistent_keepalive()
    }

    /// Stops the timers, as when the interface goes down (C129).
    pub const fn stop_timers(&mut self) {
        self.timers.stop();
    }

    /// Returns when [`Self::handle_timeout`] is next to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// Takes what is due.
    pub fn handle_timeout(&mut self, now: Instant) -> TrafficDue {
        let due = self.timers.handle_timeout(now);
        if due.keepalive && !self.can_send(now) {
            // The handshake that takes its place calls for no second one.
            self.timers.keepalive_not_sent();
        }
        if due.no_answer {
            self.forget_source();
        }
        due
    }

    // --- for tests ---

    /// Makes all jitter from now on the same, so many thousandths of its maximum, for tests.
    #[cfg(feature = "test-util")]
    pub const fn fix_jitter(&mut self, thousandths: u16) {
        self.timers.fix_jitter(thousandths);
    }

    /// Writes what the future depends on, for tests.
    #[cfg(feature = "test-util")]
    pub fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        for slot in [&self.previous, &self.current, &self.next] {
            into.option(slot.as_deref(), |into, keypair| keypair.fingerprint(into));
        }
        into.hashed(&self.endpoint);
        self.timers.fingerprint(into);
        into.since(self.rekey_asked, REKEY_TIMEOUT);
        into.flag(self.last_minute_rekey);
    }
}

/// Drops a keypair in its place and notes its index.
fn retire<K: Deref<Target = Keypair<S, R, WORDS>>, S: 'static, R: 'static, const WORDS: usize>(
    retired: &mut Retired,
    slot: &mut Option<K>,
) {
    if let Some(keypair) = slot.as_deref() {
        let pushed = retired.push(keypair.local_index());
        debug_assert!(pushed.is_ok(), "a peer has three keypairs at most");
    }
    *slot = None;
}

#[cfg(test)]
mod tests;
