//! The gate in front of the handshake: which messages get as far as public-key work.
//!
//! Every handshake message must pass here. Not under load, MAC1 decides (C105). Under load, a message without a valid MAC2
//! is answered by a cookie and forgotten, and one with it costs its source a token (C106). The source is not optional:
//! without it a limiter has nothing to hold on to.

use core::net::SocketAddr;

use rand_core::TryCryptoRng;

use crate::cookie::CookieChecker;
#[cfg(feature = "test-util")]
use crate::fingerprint::Fingerprint;
use crate::index::SessionIndex;
use crate::key::PublicKey;
use crate::mac::Mac1Key;
use crate::rate_limit::RateLimiter;
use crate::time::Instant;
use crate::wire::{COOKIE_REPLY_LEN, Initiation, Response, TAG_LEN};

/// Whether the device has more handshake work than it can do at once; the caller's policy (C104).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// There is time for every message.
    Normal,
    /// Senders must prove their address first.
    UnderLoad,
}

/// What to do with a handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Go on with it.
    Admit,
    /// Drop it: MAC1 is wrong.
    InvalidMac1,
    /// Drop it and send this cookie reply to where it came from, from where it came to.
    Challenge([u8; COOKIE_REPLY_LEN]),
    /// Drop it: the source has used up its tokens, or there is no room for another source.
    RateLimited,
    /// Drop it: a cookie could not be made, as the entropy source failed.
    NoEntropy,
}

/// The checks of MAC1 and MAC2 for one static key.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct Guard {
    mac1: Mac1Key,
    cookies: CookieChecker,
}

/// A message that is guarded: an initiation or a response.
#[derive(Clone, Copy, Debug)]
pub enum HandshakeMessage<'a> {
    /// An initiation.
    Initiation(Initiation<'a>),
    /// A response.
    Response(Response<'a>),
}

impl<'a> HandshakeMessage<'a> {
    const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Initiation(message) => message.as_bytes(),
            Self::Response(message) => message.as_bytes(),
        }
    }

    const fn mac1(&self) -> &'a [u8; 16] {
        match self {
            Self::Initiation(message) => message.mac1(),
            Self::Response(message) => message.mac1(),
        }
    }

    /// Tells whether there is a second MAC at all, right or wrong: without a cookie it is zero (C18).
    #[must_use]
    pub fn has_mac2(&self) -> bool {
        self.mac2() != &[0; TAG_LEN]
    }

    const fn mac2(&self) -> &'a [u8; 16] {
        match self {
            Self::Initiation(message) => message.mac2(),
            Self::Response(message) => message.mac2(),
        }
    }

    const fn sender_index(&self) -> SessionIndex {
        match self {
            Self::Initiation(message) => message.sender_index(),
            Self::Response(message) => message.sender_index(),
        }
    }
}

impl Guard {
    /// Makes the guard of the owner of `local_static`.
    #[must_use]
    pub fn new(local_static: &PublicKey) -> Self {
        Self { mac1: Mac1Key::new(local_static), cookies: CookieChecker::new(local_static) }
    }

    /// Tells whether MAC1 of a message is right: the cheap check, before a message is queued.
    #[must_use]
    pub fn verify_mac1(&self, message: &HandshakeMessage<'_>) -> bool {
        self.mac1.verify(message.bytes())
    }

    /// Tells of each of `messages` whether its MAC1 is right, as [`Mac1Key::verify_batch`].
    pub fn verify_mac1_batch<M: AsRef<[u8]>>(&self, messages: &[M], right: &mut [bool]) {
        self.mac1.verify_batch(messages, right);
    }

    /// Decides about a handshake message from `source`: [`Self::verify_mac1`], then [`Self::admit`].
    pub fn check<const N: usize, R: TryCryptoRng + ?Sized>(
        &mut self,
        message: &HandshakeMessage<'_>,
        source: SocketAddr,
        load: Load,
        limiter: &mut RateLimiter<N>,
        now: Instant,
        rng: &mut R,
    ) -> Verdict {
        if self.verify_mac1(message) {
            self.admit(message, source, load, limiter, now, rng)
        } else {
            Verdict::InvalidMac1
        }
    }

    /// Decides about a handshake message whose MAC1 was verified before, as when it was queued.
    pub fn admit<const N: usize, R: TryCryptoRng + ?Sized>(
        &mut self,
        message: &HandshakeMessage<'_>,
        source: SocketAddr,
        load: Load,
        limiter: &mut RateLimiter<N>,
        now: Instant,
        rng: &mut R,
    ) -> Verdict {
        if load == Load::Normal {
            return Verdict::Admit;
        }
        if self.verify_mac2(message, source, now) {
            return if limiter.allow(source.ip(), now) { Verdict::Admit } else { Verdict::RateLimited };
        }
        self.challenge(message, source, now, rng)
    }

    /// Tells whether MAC2 of a message proves that its sender receives at `source`. Where there is none, that costs
    /// nothing.
    #[must_use]
    pub fn verify_mac2(&self, message: &HandshakeMessage<'_>, source: SocketAddr, now: Instant) -> bool {
        message.has_mac2() && self.cookies.verify_mac2(message.bytes(), source, now)
    }

    /// Makes the cookie reply to a message without such a proof: [`Verdict::Challenge`], or [`Verdict::NoEntropy`].
    pub fn challenge<R: TryCryptoRng + ?Sized>(
        &mut self,
        message: &HandshakeMessage<'_>,
        source: SocketAddr,
        now: Instant,
        rng: &mut R,
    ) -> Verdict {
        match self.cookies.create_reply(message.sender_index(), message.mac1(), source, now, rng) {
            Ok(reply) => Verdict::Challenge(reply),
            Err(_) => Verdict::NoEntropy,
        }
    }

    /// The cookie checker, for known-answer tests.
    #[cfg(feature = "test-util")]
    pub const fn cookies_mut(&mut self) -> &mut CookieChecker {
        &mut self.cookies
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        self.cookies.fingerprint(into);
    }
}
