//! Control of one peer: the handshake, its timers and timestamps, and the cookie it was given.
//!
//! This is the value that lives on the control thread. It never sees a data packet; [`crate::Sessions`] tells it, by the
//! results of its calls, when a handshake is wanted and when one was confirmed. Everything that costs public-key work is
//! split: `begin_*` and `check_*` look, the types of [`crate::noise`] carry the work to wherever it is done, and `commit_*`
//! checks again before it changes anything, as another message may have come first (C32). White paper, sections 5 and 6.

use rand_core::TryCryptoRng;

use crate::cookie::{CookieJar, InvalidCookieReply};
use crate::dh::Dh;
#[cfg(feature = "test-util")]
use crate::fingerprint::{Fingerprint, Named};
use crate::index::SessionIndex;
use crate::key::{DhError, PresharedKey, PrivateKey, PublicKey, SharedSecret, StaticIdentity};
#[cfg(feature = "key-log")]
use crate::key_log::{Hook, KeyLog, KeyLogRecord};
use crate::limits::{INITIATION_INTERVAL, REKEY_TIMEOUT};
use crate::mac::Mac1Key;
use crate::noise::{
    self, HandshakeError, IdentifiedInitiation, InitiationReceived, InitiationSent, ReceivedResponse,
    TransportKeys,
};
use crate::time::{Instant, Tai64n, UnixTime};
use crate::timers::{HandshakeDue, HandshakeTimers, Jitter};
use crate::wire::{CookieReply, INITIATION_LEN, RESPONSE_LEN, Response};

/// Why an initiation is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Traffic, a rekey, silence, or configuration: the count of attempts starts anew (C119).
    Wanted,
    /// The retransmission timer.
    Retransmission,
}

/// The handshake state of one peer. All secrets in it are wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct Control {
    remote_static: PublicKey,
    mac1_key: Mac1Key,
    /// Precomputed at configuration (C24); none without a private key or with a low-order public key: never a handshake.
    static_static: Option<SharedSecret>,
    /// Whether this side is the one that waits longer after both initiated at once: one of the two is (C39).
    yields: bool,
    psk: PresharedKey,
    pending: Option<InitiationSent>,
    cookies: CookieJar,
    timers: HandshakeTimers,
    /// When an initiation or response was last sent (C45).
    last_sent: Option<Instant>,
    last_stamp_sent: Option<Tai64n>,
    greatest_stamp_received: Option<Tai64n>,
    last_initiation_accepted: Option<Instant>,
    last_handshake: Option<UnixTime>,
    #[cfg(feature = "key-log")]
    key_log: Hook,
}

impl Control {
    /// Makes the control of a peer. It cannot handshake before [`Self::set_identity`].
    #[must_use]
    pub fn new(remote_static: PublicKey, jitter_seed: u64) -> Self {
        Self {
            remote_static,
            mac1_key: Mac1Key::new(&remote_static),
            static_static: None,
            yields: false,
            psk: PresharedKey::default(),
            pending: None,
            cookies: CookieJar::default(),
            timers: HandshakeTimers::new(Jitter::new(jitter_seed)),
            last_sent: None,
            last_stamp_sent: None,
            greatest_stamp_received: None,
            last_initiation_accepted: None,
            last_handshake: None,
            #[cfg(feature = "key-log")]
            key_log: Hook::default(),
        }
    }

    /// **Gives all secrets of this peer away** to `log` from now on: set it before the static key, which it is told with
    /// [`Self::set_identity`], and none ends it. See [`KeyLogRecord`].
    #[cfg(feature = "key-log")]
    pub const fn set_key_log(&mut self, log: Option<&'static dyn KeyLog>) {
        self.key_log = Hook::new(log);
    }

    /// Returns the peer's static public key.
    #[must_use]
    pub const fn remote_static(&self) -> &PublicKey {
        &self.remote_static
    }

    /// Sets the static key of this side, or none. A pending handshake is dropped, and its index returned to be freed; the
    /// next handshake may start at once (C133).
    ///
    /// # Errors
    ///
    /// [`DhError::Unavailable`] if the holder of the key does not answer. A low-order key of the peer is no error: there
    /// will be no handshake with it (C21).
    pub fn set_identity<I: StaticIdentity + ?Sized>(
        &mut self,
        identity: Option<&I>,
    ) -> Result<Option<SessionIndex>, DhError> {
        let secret = match identity.map(|identity| identity.diffie_hellman(&self.remote_static)) {
            None | Some(Err(DhError::LowOrder)) => None,
            Some(Ok(secret)) => Some(secret),
            Some(Err(error)) => return Err(error),
        };
        #[cfg(feature = "key-log")]
        self.key_log.log(KeyLogRecord::Static {
            local_private: identity.and_then(StaticIdentity::private_key),
            remote_public: &self.remote_static,
        });
        self.static_static = secret;
        self.yields = identity.is_some_and(|identity| identity.public_key() > self.remote_static);
        self.last_sent = None;
        Ok(self.clear_handshake())
    }

    /// Tells whether a handshake is possible at all: there is a private key, and the peer's key is not of low order.
    #[must_use]
    pub const fn can_handshake(&self) -> bool {
        self.static_static.is_some()
    }

    /// Sets the pre-shared key, from the next handshake on; a live session stays (C135).
    pub fn set_preshared_key(&mut self, psk: PresharedKey) {
        self.psk = psk;
        // What waits will end with the new one.
        #[cfg(feature = "key-log")]
        if let Some(pending) = &self.pending {
            self.log_handshake(pending.ephemeral());
        }
    }

    /// Returns the pre-shared key.
    #[must_use]
    pub const fn preshared_key(&self) -> &PresharedKey {
        &self.psk
    }

    /// Returns the wall-clock time of the last complete handshake (C123).
    #[must_use]
    pub const fn last_handshake(&self) -> Option<UnixTime> {
        self.last_handshake
    }

    /// Returns the index of the initiation that waits for a response.
    #[must_use]
    pub fn pending_index(&self) -> Option<SessionIndex> {
        self.pending.as_ref().map(InitiationSent::sender_index)
    }

    // --- initiating ---

    /// Tells whether to create and send an initiation now.
    ///
    /// Within 5 s of the last handshake message the answer is no (C45, C120); the initiation is then put off, never
    /// forgotten: the retransmission timer will ask again (C39).
    pub fn want_initiation(&mut self, trigger: Trigger, now: Instant) -> bool {
        if trigger == Trigger::Wanted {
            self.timers.handshake_wanted();
        }
        if self.static_static.is_none() {
            return false;
        }
        match self.last_sent.filter(|last| now.abs_diff(*last) < REKEY_TIMEOUT) {
            None => self.last_sent.is_none() || !self.timers.is_yielding(now),
            Some(last) => {
                if !self.timers.is_retransmitting(now) {
                    self.timers.retransmission_suppressed(last);
                }
                false
            }
        }
    }

    /// Creates an initiation with both MACs, to be sent at once. An initiation that was pending is replaced, and its
    /// index returned to be freed (C41).
    ///
    /// `index` must be fresh, random and registered by the caller (C42). The time counts as sent even if this fails, so a
    /// failing entropy source is asked again only 5 s later. `D` is the backend of the ephemeral key.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::NoKey`], [`HandshakeError::LowOrder`], [`HandshakeError::Entropy`]; `index` is not in use then.
    pub fn create_initiation<D: Dh, R: TryCryptoRng + ?Sized>(
        &mut self,
        local_static: &PublicKey,
        index: SessionIndex,
        now: Instant,
        wall: UnixTime,
        rng: &mut R,
    ) -> Result<([u8; INITIATION_LEN], Option<SessionIndex>), HandshakeError> {
        let static_static = self.static_static.as_ref().ok_or(HandshakeError::NoKey)?;
        self.last_sent = Some(now);
        self.timers.handshake_initiated(now);
        let stamp = Tai64n::from_unix(wall);
        // A clock that stands still or steps back must not make the peer refuse us (C34).
        let stamp = self.last_stamp_sent.map_or(stamp, |last| stamp.max(last.next()));
        let ephemeral = D::new(PrivateKey::generate(rng).map_err(|_| HandshakeError::Entropy)?);
        #[cfg(feature = "key-log")]
        self.log_handshake(ephemeral.as_private_key());
        let (sent, mut message) = noise::create_initiation(
            local_static,
            &self.remote_static,
            static_static,
            stamp,
            ephemeral,
            index,
        )?;
        self.last_stamp_sent = Some(stamp);
        let replaced = self.clear_handshake();
        self.pending = Some(sent);
        self.cookies.write_macs(&self.mac1_key, &mut message, now);
        Ok((message, replaced))
    }

    /// An initiation was due and could not be made, as for want of an index: the time counts as sent, so that it is tried
    /// again like one that was lost.
    pub fn initiation_failed(&mut self, now: Instant) {
        self.last_sent = Some(now);
        self.timers.handshake_initiated(now);
    }

    /// Begins to consume a response.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Unexpected`] if no initiation of that index waits (C37, C38).
    pub fn begin_response(&self, response: &Response<'_>) -> Result<ReceivedResponse, HandshakeError> {
        self.pending
            .as_ref()
            .filter(|sent| sent.sender_index() == response.receiver_index())
            .map(|sent| sent.begin_response(response))
            .ok_or(HandshakeError::Unexpected)
    }

    /// Takes in the keys of a response that authenticated; they are to be installed at once. The index of the handshake
    /// goes over to the keypair.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Unexpected`] if the handshake went while its response was worked on; the keys are void then.
    pub fn commit_response(
        &mut self,
        keys: &TransportKeys,
        now: Instant,
        wall: UnixTime,
    ) -> Result<(), HandshakeError> {
        if self.pending_index() != Some(keys.local_index()) {
            return Err(HandshakeError::Unexpected);
        }
        self.pending = None;
        self.timers.session_derived(now);
        self.complete(wall);
        Ok(())
    }

    // --- responding ---

    /// Authenticates an initiation that names this peer.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::NoKey`] or [`HandshakeError::Unauthentic`].
    pub fn authenticate(
        &self,
        initiation: IdentifiedInitiation,
    ) -> Result<InitiationReceived, HandshakeError> {
        initiation.open_timestamp(self.static_static.as_ref().ok_or(HandshakeError::NoKey)?)
    }

    /// Checks an authentic initiation against replay and flood (C30, C31). Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::OldTimestamp`] or [`HandshakeError::TooSoon`].
    pub fn check_initiation(&self, timestamp: Tai64n, now: Instant) -> Result<(), HandshakeError> {
        if self.greatest_stamp_received.is_some_and(|greatest| timestamp <= greatest) {
            return Err(HandshakeError::OldTimestamp);
        }
        let too_soon = |last: Instant| now.abs_diff(last) < INITIATION_INTERVAL;
        if self.last_initiation_accepted.is_some_and(too_soon) {
            return Err(HandshakeError::TooSoon);
        }
        Ok(())
    }

    /// Creates the response to an authentic initiation, its MACs still zero. Nothing is changed: it may be done anywhere. `D`
    /// is the backend of the ephemeral key.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Entropy`] or [`HandshakeError::LowOrder`].
    pub fn create_response<D: Dh, R: TryCryptoRng + ?Sized>(
        &self,
        initiation: InitiationReceived,
        index: SessionIndex,
        rng: &mut R,
    ) -> Result<(TransportKeys, [u8; RESPONSE_LEN]), HandshakeError> {
        let ephemeral = D::new(PrivateKey::generate(rng).map_err(|_| HandshakeError::Entropy)?);
        #[cfg(feature = "key-log")]
        self.log_handshake(ephemeral.as_private_key());
        initiation.create_response(index, &ephemeral, &self.psk)
    }

    /// Takes in an initiation that was answered and writes the MACs of the response, to be sent at once; its keys are to
    /// be installed. A pending initiation of ours is superseded, and its index returned to be freed (C39).
    ///
    /// # Errors
    ///
    /// As [`Self::check_initiation`], which is repeated here: another initiation may have been faster (C32).
    pub fn commit_initiation(
        &mut self,
        timestamp: Tai64n,
        response: &mut [u8; RESPONSE_LEN],
        now: Instant,
    ) -> Result<Option<SessionIndex>, HandshakeError> {
        self.check_initiation(timestamp, now)?;
        self.greatest_stamp_received = Some(timestamp);
        self.last_initiation_accepted = Some(now);
        self.last_sent = Some(now);
        self.timers.session_derived(now);
        self.cookies.write_macs(&self.mac1_key, response, now);
        let superseded = self.clear_handshake();
        if superseded.is_some() {
            self.timers.initiation_superseded(self.yields, now);
        }
        Ok(superseded)
    }

    /// The peer's first packet confirmed the session it initiated (C53, C123).
    pub const fn session_confirmed(&mut self, wall: UnixTime) {
        self.complete(wall);
    }

    #[cfg(feature = "key-log")]
    fn log_handshake(&self, ephemeral_private: &PrivateKey) {
        self.key_log.log(KeyLogRecord::Handshake { ephemeral_private, preshared: &self.psk });
    }

    const fn complete(&mut self, wall: UnixTime) {
        self.timers.handshake_complete();
        self.last_handshake = Some(wall);
    }

    /// Consumes a cookie reply (C110). No timer moves: the next message carries the cookie.
    ///
    /// # Errors
    ///
    /// [`InvalidCookieReply`]; nothing was changed.
    pub fn consume_cookie_reply(
        &mut self,
        reply: &CookieReply<'_>,
        now: Instant,
    ) -> Result<(), InvalidCookieReply> {
        self.cookies.consume_reply(&self.remote_static, reply, now)
    }

    // --- timers ---

    /// Returns when [`Self::handle_timeout`] is next to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// Takes one thing that is due; to be called until nothing is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<HandshakeDue> {
        self.timers.handle_timeout(now)
    }

    /// Drops a pending handshake and returns its index, to be freed.
    pub fn clear_handshake(&mut self) -> Option<SessionIndex> {
        let index = self.pending_index();
        // Wiped in its place: `take` would leave its secrets there.
        self.pending = None;
        index
    }

    /// An initiation is wanted for packets that wait, and there is nowhere to send it to (C49). It is tried again like one
    /// that was lost, so that what waits is given up in the end, and may be sent at once when there is somewhere.
    pub fn initiation_unsendable(&mut self, now: Instant) {
        if !self.timers.is_retransmitting(now) {
            self.timers.handshake_initiated(now);
        }
    }

    /// There is nowhere to send an initiation to: retransmission ends until someone asks anew (C49).
    pub const fn stop_retransmission(&mut self) {
        self.timers.stop_retransmission();
    }

    /// Stops everything, as when the interface goes down. Timestamps and the time of the last handshake stay (C33, C129).
    /// Returns the index of a pending handshake, to be freed.
    pub fn stop(&mut self) -> Option<SessionIndex> {
        self.timers.stop();
        self.last_sent = None;
        self.clear_handshake()
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
        into.flag(self.can_handshake());
        into.flag(self.yields);
        into.option(self.pending_index(), |into, index| into.named(Named::LocalIndex(index)));
        self.cookies.fingerprint(into);
        self.timers.fingerprint(into);
        into.since(self.last_sent, REKEY_TIMEOUT);
        into.option(self.last_stamp_sent, |into, stamp| into.named(Named::StampSent(stamp)));
        into.option(self.greatest_stamp_received, |into, stamp| into.named(Named::GreatestStamp(stamp)));
        into.since(self.last_initiation_accepted, INITIATION_INTERVAL);
    }
}
