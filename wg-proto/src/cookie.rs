//! Cookies: proof, without state at the responder, that a sender receives at its address.
//!
//! [`CookieChecker`] is the side under load: it answers a message whose MAC1 is right with a cookie, made of the sender's
//! address and port under a secret of two minutes, and knows the cookie again in MAC2. [`CookieJar`] is the other side:
//! it keeps the cookie it was given and signs its next messages with it. White paper, sections 5.3 and 5.4.7.

use core::net::{IpAddr, SocketAddr};

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rand_core::TryCryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::blake2s::keyed;
#[cfg(feature = "test-util")]
use crate::fingerprint::{Fingerprint, Named};
use crate::index::SessionIndex;
use crate::key::PublicKey;
use crate::limits::{COOKIE_LIFETIME, COOKIE_SECRET_MAX_AGE};
use crate::mac::{self, Mac1Key};
use crate::time::Instant;
use crate::wire::{COOKIE_REPLY_LEN, CookieReply, TAG_LEN};

const COOKIE_LEN: usize = 16;

/// The side that hands out cookies. Wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CookieChecker {
    key: [u8; 32],
    secret: [u8; 32],
    /// When the secret was drawn; a cookie of an older one is worth nothing.
    #[zeroize(skip)]
    born: Option<Instant>,
}

impl CookieChecker {
    /// Makes a checker for the owner of `local_static`; its secret is drawn with the first reply.
    #[must_use]
    pub fn new(local_static: &PublicKey) -> Self {
        Self { key: mac::cookie_key(local_static), secret: [0; 32], born: None }
    }

    /// Tells whether MAC2 of a handshake message was made with the cookie of its source (C106, C107).
    #[must_use]
    pub fn verify_mac2(&self, message: &[u8], source: SocketAddr, now: Instant) -> bool {
        self.fresh(now) && mac::verify_mac2(&self.cookie(source), message)
    }

    /// Creates the cookie reply to a handshake message that came from `source` with this `mac1` (C109).
    ///
    /// # Errors
    ///
    /// The error of the entropy source; nothing was changed.
    pub fn create_reply<R: TryCryptoRng + ?Sized>(
        &mut self,
        receiver_index: SessionIndex,
        mac1: &[u8; TAG_LEN],
        source: SocketAddr,
        now: Instant,
        rng: &mut R,
    ) -> Result<[u8; COOKIE_REPLY_LEN], R::Error> {
        if !self.fresh(now) {
            let mut secret = [0; 32];
            rng.try_fill_bytes(&mut secret)?;
            self.secret = secret;
            secret.zeroize();
            self.born = Some(now);
        }
        let mut nonce = [0; 24];
        rng.try_fill_bytes(&mut nonce)?;
        let mut cookie = self.cookie(source);
        let reply =
            CookieReply::write(receiver_index, &nonce, &seal_cookie(&self.key, &nonce, mac1, &cookie));
        cookie.zeroize();
        Ok(reply)
    }

    fn fresh(&self, now: Instant) -> bool {
        self.born.is_some_and(|born| now.abs_diff(born) < COOKIE_SECRET_MAX_AGE)
    }

    /// The cookie of a source: keyed BLAKE2s-128 of address and port, the port big-endian.
    fn cookie(&self, source: SocketAddr) -> [u8; COOKIE_LEN] {
        let port = source.port().to_be_bytes();
        let mut input = heapless::Vec::<u8, 18>::new();
        let filled = match source.ip() {
            IpAddr::V4(addr) => input.extend_from_slice(&addr.octets()),
            IpAddr::V6(addr) => input.extend_from_slice(&addr.octets()),
        }
        .and_then(|()| input.extend_from_slice(&port));
        debug_assert!(filled.is_ok(), "an address and a port are 18 bytes at most");
        keyed(&self.secret, &input)
    }

    /// Sets the secret, for known-answer tests.
    #[cfg(feature = "test-util")]
    pub const fn set_secret(&mut self, secret: [u8; 32], now: Instant) {
        self.secret = secret;
        self.born = Some(now);
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        into.since(self.born, COOKIE_SECRET_MAX_AGE);
        into.option(self.born.map(|_| &self.secret), |into, secret| into.bytes(secret));
    }
}

impl core::fmt::Debug for CookieChecker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CookieChecker").field("born", &self.born).finish_non_exhaustive()
    }
}

/// The side that is given cookies: one jar for each peer. Wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct CookieJar {
    cookie: [u8; COOKIE_LEN],
    #[zeroize(skip)]
    received: Option<Instant>,
    /// MAC1 of the last message sent, until a reply to it was accepted: one reply for each (C110).
    #[zeroize(skip)]
    unanswered_mac1: Option<[u8; TAG_LEN]>,
}

/// A cookie reply that answers nothing of ours, or does not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCookieReply;

impl core::fmt::Display for InvalidCookieReply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("cookie reply answers nothing or does not authenticate")
    }
}

impl core::error::Error for InvalidCookieReply {}

impl CookieJar {
    /// Writes both MACs into a handshake message about to be sent: MAC2 only with a fresh cookie (C18, C111).
    pub fn write_macs(&mut self, mac1_key: &Mac1Key, message: &mut [u8], now: Instant) {
        self.unanswered_mac1 = Some(mac1_key.write(message));
        if self.received.is_some_and(|at| now.abs_diff(at) < COOKIE_LIFETIME) {
            mac::write_mac2(&self.cookie, message);
        }
    }

    /// Consumes a cookie reply of the owner of `issuer`. A failure changes nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidCookieReply`].
    pub fn consume_reply(
        &mut self,
        issuer: &PublicKey,
        reply: &CookieReply<'_>,
        now: Instant,
    ) -> Result<(), InvalidCookieReply> {
        let mac1 = self.unanswered_mac1.ok_or(InvalidCookieReply)?;
        let (sealed, tag) =
            reply.encrypted_cookie().split_last_chunk::<TAG_LEN>().ok_or(InvalidCookieReply)?;
        let mut cookie = [0; COOKIE_LEN];
        let buffer = InOutBuf::new(sealed, &mut cookie).map_err(|_| InvalidCookieReply)?;
        let mut key = mac::cookie_key(issuer);
        let cipher = XChaCha20Poly1305::new((&key).into());
        key.zeroize();
        cipher
            .decrypt_inout_detached(&XNonce::from(*reply.nonce()), &mac1, buffer, &Tag::from(*tag))
            .map_err(|_| InvalidCookieReply)?;
        self.cookie = cookie;
        cookie.zeroize();
        self.received = Some(now);
        self.unanswered_mac1 = None;
        Ok(())
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        into.since(self.received, COOKIE_LIFETIME);
        into.option(self.received.map(|_| &self.cookie), |into, cookie| into.bytes(cookie));
        into.option(self.unanswered_mac1.as_ref(), |into, mac1| into.named(Named::Mac1(mac1)));
    }
}

impl core::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CookieJar").field("received", &self.received).finish_non_exhaustive()
    }
}

fn seal_cookie(
    key: &[u8; 32],
    nonce: &[u8; 24],
    mac1: &[u8; TAG_LEN],
    cookie: &[u8; COOKIE_LEN],
) -> [u8; COOKIE_LEN + TAG_LEN] {
    let mut sealed = [0; COOKIE_LEN + TAG_LEN];
    let (body, tag_out) = sealed.split_at_mut(COOKIE_LEN);
    body.copy_from_slice(cookie);
    match XChaCha20Poly1305::new(key.into()).encrypt_inout_detached(&XNonce::from(*nonce), mac1, body.into())
    {
        Ok(tag) => tag_out.copy_from_slice(&tag),
        Err(_) => debug_assert!(false, "sixteen bytes are never too long"),
    }
    sealed
}

#[cfg(test)]
mod tests;
