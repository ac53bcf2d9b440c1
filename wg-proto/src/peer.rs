//! One peer for a single thread: control, sessions and keys in one value, driven by five calls.
//!
//! ```text
//!   datagrams in --> handle ------> packet for the host, or nothing
//!   packets in ----> seal --------> datagram, or "no session": then keep the packet and call `initiate`
//!                    poll_transmit: datagrams this peer wants sent on its own; call until it has none
//!                    poll_event:    what happened: a session began or ended, the peer moved
//!                    poll_timeout:  the exact instant at which to call handle_timeout
//! ```
//!
//! After every `handle`, `seal`, `initiate`, `set_*` and `handle_timeout`: take the events, sealing what was kept back when
//! a session began; then drain `poll_transmit`, and read `poll_timeout` again.
//!
//! A deadline that has passed comes first: `handle_timeout` before any other call at that time. Who wakes up late, as after
//! suspend, and seals before, may have what was just kept back dropped, as the old keys are wiped in arrears.
//! Nothing is queued but the few messages of the handshake itself: packets without a session stay with the caller.

mod error;

pub use error::{ReceiveError, SealError};

use core::marker::PhantomData;
use core::net::SocketAddr;
use core::time::Duration;

use heapless::Deque;
use rand_core::TryCryptoRng;

use crate::aead::{Aead, AeadError};
use crate::control::{Control, Trigger};
use crate::dh::Dh;
use crate::endpoint::Endpoint;
#[cfg(feature = "test-util")]
use crate::fingerprint::Fingerprint;
use crate::guard::{Guard, HandshakeMessage, Load, Verdict};
use crate::index::SessionIndex;
use crate::key::{DhError, PresharedKey, PrivateKey, PublicKey, StaticIdentity};
use crate::keypair::{Inline, Keypair};
use crate::limits::REPLAY_WORDS;
use crate::noise::{HandshakeError, ReceivedInitiation, TransportKeys};
use crate::rate_limit::RateLimiter;
use crate::sessions::{NoSession, Outgoing, Retired, Sessions};
use crate::stack::{wipe_stack, with_wiped_stack};
use crate::time::{Instant, UnixTime};
use crate::timers::HandshakeDue;
use crate::transport::{OpenError, RecvKey, SendKey, padded_len};
use crate::wire::{
    COOKIE_REPLY_LEN, CookieReply, INITIATION_LEN, Initiation, KEEPALIVE_LEN, Message, ParseError,
    RESPONSE_LEN, Response, TRANSPORT_OVERHEAD,
};

type Slot<A, const WORDS: usize> = Inline<Keypair<SendKey<A>, RecvKey<A>, WORDS>>;

/// How to make a [`Peer`].
#[derive(Debug)]
pub struct Config {
    /// The peer's static public key.
    pub remote_static: PublicKey,
    /// The pre-shared key, or the default for none.
    pub preshared_key: PresharedKey,
    /// Where the peer is reached, if known.
    pub endpoint: Option<SocketAddr>,
    /// Interval of the persistent keepalive; zero for none. With one, the peer asks for a session from the start.
    pub persistent_keepalive: Duration,
    /// The MTU that padding must not exceed; 0 if there is none.
    pub mtu: usize,
}

impl Config {
    /// The configuration of a peer of which only the key is known.
    #[must_use]
    pub fn new(remote_static: PublicKey) -> Self {
        Self {
            remote_static,
            preshared_key: PresharedKey::default(),
            endpoint: None,
            persistent_keepalive: Duration::ZERO,
            mtu: 1420,
        }
    }
}

/// What a datagram held.
#[derive(Debug, PartialEq, Eq)]
pub enum Handled<'d> {
    /// A packet of the peer, with its padding: trim it to its IP length, and check that its source may come from this
    /// peer, before use.
    Packet(&'d mut [u8]),
    /// A keepalive.
    Keepalive,
    /// A message of the handshake.
    Handshake,
}

/// A datagram that a [`Peer`] wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Its length in the buffer given.
    pub len: usize,
    /// Where to send it, and from where.
    pub endpoint: Endpoint,
}

/// What happened at a [`Peer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A session can be sent with: packets kept back may go now.
    Established,
    /// The handshake was given up after 20 initiations: packets kept back are to be dropped (C118).
    GaveUp,
    /// All keys were wiped for age: packets kept back are to be dropped (C60).
    Expired,
    /// The peer was authenticated at a new address.
    Roamed,
}

/// An answer on its way out: to where its question came from, and from where it came to.
#[cfg_attr(feature = "test-util", derive(Clone))]
enum Reply {
    Response([u8; RESPONSE_LEN]),
    CookieReply([u8; COOKIE_REPLY_LEN]),
}

/// A peer, with the static key of this side, for a single thread.
///
/// `I` holds the private key, `A` is the backend of transport data. `WORDS` is the size of the three replay windows, see
/// [`ReplayWindow`](crate::ReplayWindow): 8 bytes each a word, most of the memory of a peer. `D` is the backend of ephemeral
/// keys.
#[cfg_attr(feature = "test-util", derive(Clone))]
pub struct Peer<I, A, const WORDS: usize = REPLAY_WORDS, D = PrivateKey> {
    identity: I,
    local_static: PublicKey,
    guard: Guard,
    limiter: RateLimiter<16>,
    control: Control,
    sessions: Sessions<Slot<A, WORDS>>,
    mtu: usize,
    /// Answers; when it is full the new one is lost, as on the wire.
    replies: Deque<(Reply, Endpoint), 4>,
    initiation_wanted: bool,
    keepalive_wanted: bool,
    events: Deque<Event, 8>,
    dh: PhantomData<fn() -> D>,
}

impl<I: StaticIdentity, A: Aead> Peer<I, A> {
    /// Makes a peer that has no session yet.
    ///
    /// # Errors
    ///
    /// [`DhError::Unavailable`] if the holder of the private key does not answer. A public key of low order is no error;
    /// nothing will ever be sent to it (C21).
    pub fn new<R: TryCryptoRng + ?Sized>(identity: I, config: Config, rng: &mut R) -> Result<Self, DhError> {
        Self::sized(identity, config, rng)
    }
}

impl<I: StaticIdentity, A: Aead, const WORDS: usize, D: Dh> Peer<I, A, WORDS, D> {
    /// The same as [`Peer::new`] with replay windows of another size, `Peer::<_, RustCryptoAead, 32>::sized(..)`, or with
    /// another backend of ephemeral keys.
    ///
    /// # Errors
    ///
    /// As [`Peer::new`].
    pub fn sized<R: TryCryptoRng + ?Sized>(
        identity: I,
        config: Config,
        rng: &mut R,
    ) -> Result<Self, DhError> {
        let local_static = identity.public_key();
        // Jitter needs no secrecy, so a failure of the source here costs nothing.
        let seed = rng.try_next_u64().unwrap_or(0);
        let mut control = Control::new(config.remote_static, seed);
        with_wiped_stack(|| control.set_identity(Some(&identity)))?;
        control.set_preshared_key(config.preshared_key);
        let mut sessions = Sessions::new(seed.rotate_left(32));
        sessions.set_endpoint(config.endpoint.map(Endpoint::new));
        // Switched on, so one is to be sent, and there is no session yet (C129).
        let initiation_wanted =
            sessions.set_persistent_keepalive(config.persistent_keepalive) && control.can_handshake();
        Ok(Self {
            guard: Guard::new(&local_static),
            identity,
            local_static,
            limiter: RateLimiter::new(),
            control,
            sessions,
            mtu: config.mtu,
            replies: Deque::new(),
            initiation_wanted,
            keepalive_wanted: false,
            events: Deque::new(),
            dh: PhantomData,
        })
    }

    // --- packets out ---

    /// Returns the length of the datagram that a packet of `len` bytes is sealed into.
    #[must_use]
    pub const fn sealed_len(&self, len: usize) -> usize {
        padded_len(len, self.mtu).saturating_add(TRANSPORT_OVERHEAD)
    }

    /// Seals a packet into `out` and returns the length of the datagram.
    ///
    /// # Errors
    ///
    /// [`SealError`]; nothing was changed.
    pub fn seal(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> Result<usize, SealError> {
        let (need, have) = (self.sealed_len(packet.len()), out.len());
        let too_small = SealError::BufferTooSmall { need, have };
        let message = out.get_mut(..need).ok_or(too_small)?;
        let grant = self
            .sessions
            .begin_send(now, if packet.is_empty() { Outgoing::Keepalive } else { Outgoing::Data }, 1)
            .map_err(|NoSession| SealError::NoSession)?;
        let (counter, rekey_due) = (grant.first_counter, grant.rekey_due);
        let sealed = grant.key.begin_seal(counter, message).and_then(|body| {
            if let Some((content, padding)) = body.split_at_mut_checked(packet.len()) {
                content.copy_from_slice(packet);
                padding.fill(0);
            }
            grant.key.cipher().seal_in_place(counter, body)
        });
        // Whatever is sealed says what the keepalive would (C128).
        self.keepalive_wanted = false;
        if rekey_due {
            self.want_initiation(Trigger::Wanted, now);
        }
        sealed.map(|()| need).map_err(|_| too_small)
    }

    /// Returns where to send what was sealed.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        self.sessions.endpoint()
    }

    // --- datagrams in ---

    /// Takes in a datagram that came from `from`, and opens it in place.
    ///
    /// # Errors
    ///
    /// [`ReceiveError`]; the datagram is done with.
    pub fn handle<'d, R: TryCryptoRng + ?Sized>(
        &mut self,
        datagram: &'d mut [u8],
        from: Endpoint,
        load: Load,
        now: Instant,
        wall: UnixTime,
        rng: &mut R,
    ) -> Result<Handled<'d>, ReceiveError> {
        let (index, counter) = match Message::parse(datagram)? {
            Message::Initiation(message) => {
                // Outside: a flood of messages that go no further is not to cost more than it must.
                self.admit(&HandshakeMessage::Initiation(message), from, load, now, rng)?;
                return with_wiped_stack(|| self.consume_initiation(&message, from, now, rng))
                    .map(|()| Handled::Handshake);
            }
            Message::Response(message) => {
                self.admit(&HandshakeMessage::Response(message), from, load, now, rng)?;
                return with_wiped_stack(|| self.consume_response(&message, from, now, wall))
                    .map(|()| Handled::Handshake);
            }
            Message::CookieReply(message) => {
                return with_wiped_stack(|| self.consume_cookie_reply(&message, now))
                    .map(|()| Handled::Handshake);
            }
            Message::TransportData(message) => (message.receiver_index(), message.counter()),
        };
        self.open(datagram, index, counter, from, now, wall)
    }

    fn open<'d>(
        &mut self,
        datagram: &'d mut [u8],
        index: SessionIndex,
        counter: u64,
        from: Endpoint,
        now: Instant,
        wall: UnixTime,
    ) -> Result<Handled<'d>, ReceiveError> {
        let key = self.sessions.begin_recv(index, counter, now)?;
        let packet = key.open_in_place(counter, datagram).map_err(|error| match error {
            AeadError::BufferTooSmall { .. } => ReceiveError::Parse(ParseError::WrongLength),
            AeadError::TooLong { .. } | AeadError::TagMismatch => ReceiveError::Open(OpenError::Unauthentic),
        })?;
        let received = self.sessions.commit_recv(index, counter, packet.len(), Some(from), now)?;
        if received.roamed {
            self.tell(Event::Roamed);
        }
        if received.confirmed {
            self.control.session_confirmed(wall);
            self.initiation_wanted = false;
            self.tell(Event::Established);
        }
        if received.rekey_due {
            self.want_initiation(Trigger::Wanted, now);
        }
        Ok(if packet.is_empty() { Handled::Keepalive } else { Handled::Packet(packet) })
    }

    fn admit<R: TryCryptoRng + ?Sized>(
        &mut self,
        message: &HandshakeMessage<'_>,
        from: Endpoint,
        load: Load,
        now: Instant,
        rng: &mut R,
    ) -> Result<(), ReceiveError> {
        match self.guard.check(message, from.remote, load, &mut self.limiter, now, rng) {
            Verdict::Admit => Ok(()),
            Verdict::InvalidMac1 => Err(ReceiveError::InvalidMac1),
            Verdict::RateLimited => Err(ReceiveError::RateLimited),
            Verdict::NoEntropy => Err(ReceiveError::Handshake(HandshakeError::Entropy)),
            Verdict::Challenge(reply) => {
                self.reply(Reply::CookieReply(reply), from);
                Err(ReceiveError::Challenged)
            }
        }
    }

    fn consume_initiation<R: TryCryptoRng + ?Sized>(
        &mut self,
        message: &Initiation<'_>,
        from: Endpoint,
        now: Instant,
        rng: &mut R,
    ) -> Result<(), ReceiveError> {
        let received = ReceivedInitiation::begin(&self.local_static, message);
        let es = self.identity.diffie_hellman(received.static_dh())?;
        let identified = received.open_static(&es)?;
        if identified.remote_static() != self.control.remote_static() {
            return Err(ReceiveError::UnknownPeer);
        }
        let initiation = self.control.authenticate(identified)?;
        let timestamp = initiation.timestamp();
        self.control.check_initiation(timestamp, now)?;
        let index = self.fresh_index(rng)?;
        let (keys, mut response) = self.control.create_response::<D, _>(initiation, index, rng)?;
        self.control.commit_initiation(timestamp, &mut response, now)?;
        self.sessions.handshake_received(now);
        if self.sessions.roam(from) {
            self.tell(Event::Roamed);
        }
        self.install(&keys, now);
        self.reply(Reply::Response(response), from);
        self.sessions.handshake_sent(now);
        Ok(())
    }

    fn consume_response(
        &mut self,
        message: &Response<'_>,
        from: Endpoint,
        now: Instant,
        wall: UnixTime,
    ) -> Result<(), ReceiveError> {
        let received = self.control.begin_response(message)?;
        let se = self.identity.diffie_hellman(received.static_dh())?;
        let keys = received.finish::<D>(&se, self.control.preshared_key())?;
        self.control.commit_response(&keys, now, wall)?;
        self.initiation_wanted = false;
        if self.sessions.roam(from) {
            self.tell(Event::Roamed);
        }
        self.sessions.handshake_received(now);
        self.install(&keys, now);
        self.tell(Event::Established);
        // Confirms the key to the responder, unless a packet kept back is sealed first (C46).
        self.keepalive_wanted = true;
        Ok(())
    }

    fn consume_cookie_reply(&mut self, message: &CookieReply<'_>, now: Instant) -> Result<(), ReceiveError> {
        let index = message.receiver_index();
        if self.control.pending_index() != Some(index) && self.sessions.keypair(index).is_none() {
            return Err(ReceiveError::CookieReply);
        }
        Ok(self.control.consume_cookie_reply(message, now)?)
    }

    fn install(&mut self, keys: &TransportKeys, now: Instant) -> Retired {
        let (send, recv) =
            (SendKey::new(keys.send_key(), keys.remote_index()), RecvKey::new(keys.recv_key()));
        self.sessions.install(Inline::new(Keypair::sized(keys, send, recv, now)))
    }

    /// Draws an index that no handshake or keypair of this peer has (C42).
    fn fresh_index<R: TryCryptoRng + ?Sized>(&self, rng: &mut R) -> Result<SessionIndex, HandshakeError> {
        // Four are in use at most, so that a second draw is next to never needed and a ninth means a broken source.
        for _ in 0..9 {
            let index = SessionIndex::new(rng.try_next_u32().map_err(|_| HandshakeError::Entropy)?);
            if self.control.pending_index() != Some(index) && self.sessions.keypair(index).is_none() {
                return Ok(index);
            }
        }
        Err(HandshakeError::Entropy)
    }

    // --- commands ---

    /// **Gives all secrets of this peer away** to `log` from now on. See [`crate::KeyLogRecord`].
    ///
    /// # Errors
    ///
    /// [`DhError::Unavailable`] if the holder of the private key does not answer. A handshake under way is dropped.
    #[cfg(feature = "key-log")]
    pub fn set_key_log(&mut self, log: Option<&'static dyn crate::KeyLog>) -> Result<(), DhError> {
        self.control.set_key_log(log);
        self.control.set_identity(Some(&self.identity)).map(|_| ())
    }

    /// Asks for a session, as a packet that finds none does. At most one initiation in 5 s comes of it.
    pub fn initiate(&mut self, now: Instant) {
        self.want_initiation(Trigger::Wanted, now);
    }

    /// Sets where the peer is reached. A persistent keepalive that had nowhere to go until now begins.
    pub fn set_endpoint(&mut self, remote: SocketAddr) {
        let first = self.sessions.endpoint().is_none();
        self.sessions.set_endpoint(Some(Endpoint::new(remote)));
        self.initiation_wanted |=
            first && !self.sessions.persistent_keepalive().is_zero() && self.control.can_handshake();
    }

    /// Sets the pre-shared key, from the next handshake on.
    pub fn set_preshared_key(&mut self, psk: PresharedKey) {
        with_wiped_stack(|| self.control.set_preshared_key(psk));
    }

    /// Sets the interval of the persistent keepalive, zero for none; when switched on, one is sent at once.
    pub fn set_persistent_keepalive(&mut self, interval: Duration, now: Instant) {
        if self.sessions.set_persistent_keepalive(interval) {
            self.keepalive(now);
        }
    }

    /// Sets the MTU that padding must not exceed.
    pub const fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }

    /// Wipes all keys and stops all timers; what is known of the peer stays. For a device about to sleep (C62).
    pub fn reset(&mut self) {
        with_wiped_stack(|| {
            self.control.stop();
            self.sessions.zero_keys();
        });
        self.sessions.stop_timers();
        self.replies.clear();
        (self.initiation_wanted, self.keepalive_wanted) = (false, false);
    }

    /// To be called when this state may run a second time, as after the restore of a snapshot of a virtual machine: no
    /// key there is now is used to send again, nor one that a handshake under way would end in (C61).
    pub fn on_vm_generation_change(&mut self) {
        self.control.clear_handshake();
        self.sessions.expire_sending();
    }

    /// Returns the control half, to read from.
    #[must_use]
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Returns the sessions half, for tests near the limits.
    #[cfg(feature = "test-util")]
    pub const fn sessions_mut(&mut self) -> &mut Sessions<Slot<A, WORDS>> {
        &mut self.sessions
    }

    /// Returns the sessions half, for tests that only look.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub const fn sessions(&self) -> &Sessions<Slot<A, WORDS>> {
        &self.sessions
    }

    /// Makes all jitter from now on the same, so many thousandths of its maximum, for tests.
    #[cfg(feature = "test-util")]
    pub const fn fix_jitter(&mut self, thousandths: u16) {
        self.control.fix_jitter(thousandths);
        self.sessions.fix_jitter(thousandths);
    }

    /// Writes what the future depends on, for tests: two peers of the same configuration that write the same do the same
    /// from now on.
    #[cfg(feature = "test-util")]
    pub fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        self.guard.fingerprint(into);
        self.limiter.fingerprint(into);
        self.control.fingerprint(into);
        self.sessions.fingerprint(into);
        into.number(self.mtu as u64);
        into.number(self.replies.len() as u64);
        for (reply, endpoint) in &self.replies {
            match reply {
                Reply::Response(message) => into.bytes(message),
                Reply::CookieReply(message) => into.bytes(message),
            }
            into.hashed(endpoint);
        }
        into.flag(self.initiation_wanted);
        into.flag(self.keepalive_wanted);
        into.number(self.events.len() as u64);
        for event in &self.events {
            into.hashed(event);
        }
    }

    // --- what the peer wants ---

    /// Writes a datagram that is to be sent into `out`, if there is one. To be called until there is none; `out` must
    /// hold 148 bytes.
    ///
    /// # Errors
    ///
    /// [`SealError::BufferTooSmall`] if `out` does not hold the next message, which stays queued.
    pub fn poll_transmit<R: TryCryptoRng + ?Sized>(
        &mut self,
        out: &mut [u8],
        now: Instant,
        wall: UnixTime,
        rng: &mut R,
    ) -> Result<Option<Transmit>, SealError> {
        let have = out.len();
        if have < INITIATION_LEN {
            return Err(SealError::BufferTooSmall { need: INITIATION_LEN, have });
        }
        if let Some((reply, endpoint)) = self.replies.pop_front() {
            let len = match reply {
                Reply::Response(message) => put(out, &message),
                Reply::CookieReply(message) => put(out, &message),
            };
            return Ok(Some(Transmit { len, endpoint }));
        }
        let Some(endpoint) = self.sessions.endpoint().copied() else {
            // Nowhere to send to: what was wanted is asked for again when there is (C49).
            if core::mem::take(&mut self.initiation_wanted) {
                self.control.stop_retransmission();
            }
            self.keepalive_wanted = false;
            return Ok(None);
        };
        // Asked again, as a response may have left since it was wanted (C45).
        if core::mem::take(&mut self.initiation_wanted)
            && self.control.want_initiation(Trigger::Retransmission, now)
            && let Some(len) = with_wiped_stack(|| self.create_initiation(out, now, wall, rng))
        {
            return Ok(Some(Transmit { len, endpoint }));
        }
        if core::mem::take(&mut self.keepalive_wanted)
            && let Some(message) = out.get_mut(..KEEPALIVE_LEN)
        {
            return match self.seal(&[], message, now) {
                Ok(len) => Ok(Some(Transmit { len, endpoint })),
                Err(SealError::NoSession) => Ok(None),
                Err(error) => Err(error),
            };
        }
        Ok(None)
    }

    fn create_initiation<R: TryCryptoRng + ?Sized>(
        &mut self,
        out: &mut [u8],
        now: Instant,
        wall: UnixTime,
        rng: &mut R,
    ) -> Option<usize> {
        let Ok(index) = self.fresh_index(rng) else {
            self.control.initiation_failed(now);
            return None;
        };
        let (message, _) =
            self.control.create_initiation::<D, _>(&self.local_static, index, now, wall, rng).ok()?;
        self.sessions.handshake_sent(now);
        Some(put(out, &message))
    }

    /// Returns the next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns the exact instant at which [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.control.poll_timeout(), self.sessions.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what is due. A late call does everything once.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.control.handle_timeout(now) {
            match due {
                HandshakeDue::Retransmit => {
                    self.sessions.forget_source();
                    self.want_initiation(Trigger::Retransmission, now);
                }
                HandshakeDue::GiveUp => {
                    self.sessions.handshake_given_up();
                    self.tell(Event::GaveUp);
                }
                HandshakeDue::ZeroKeys => {
                    with_wiped_stack(|| {
                        self.control.clear_handshake();
                        self.sessions.zero_keys();
                    });
                    self.tell(Event::Expired);
                }
            }
        }
        let due = self.sessions.handle_timeout(now);
        if due.keepalive {
            self.keepalive(now);
        }
        if due.no_answer {
            self.want_initiation(Trigger::Wanted, now);
        }
    }

    /// Sends a keepalive, or asks for the session it needs.
    fn keepalive(&mut self, now: Instant) {
        if self.sessions.can_send(now) {
            self.keepalive_wanted = true;
        } else {
            self.want_initiation(Trigger::Wanted, now);
        }
    }

    fn want_initiation(&mut self, trigger: Trigger, now: Instant) {
        self.initiation_wanted |= self.control.want_initiation(trigger, now);
    }

    fn reply(&mut self, reply: Reply, to: Endpoint) {
        // A full queue loses the answer, as the wire might: the question will be asked again.
        let _lost = self.replies.push_back((reply, to)).is_err();
    }

    fn tell(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let told = self.events.push_back(event);
        debug_assert!(told.is_ok(), "room was made just above");
    }
}

impl<I, A, const WORDS: usize, D> Drop for Peer<I, A, WORDS, D> {
    fn drop(&mut self) {
        // What is in it wipes itself; what the ciphers left of its last packets does not.
        wipe_stack();
    }
}

impl<I, A, const WORDS: usize, D> core::fmt::Debug for Peer<I, A, WORDS, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Peer").field("control", &self.control).finish_non_exhaustive()
    }
}

fn put(out: &mut [u8], message: &[u8]) -> usize {
    match out.get_mut(..message.len()) {
        Some(out) => {
            out.copy_from_slice(message);
            message.len()
        }
        None => 0,
    }
}
