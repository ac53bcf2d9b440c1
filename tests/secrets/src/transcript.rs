//! What a handshake computes on its way, from the keys of both sides and the two messages: written from the white paper,
//! section 5.4, and sharing no code with `wg-proto`.
//!
//! It runs in the process that learns, and leaves copies of everything wherever it likes.

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit as _, Mac as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, Nonce, Tag, XChaCha20Poly1305, XNonce};
use hmac::SimpleHmac;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use crate::masked::{Kind, Masked};

/// A key of either sort.
pub type Key = [u8; 32];

/// The public key of a private one.
#[must_use]
pub fn public(private: &Key) -> Key {
    x25519(*private, X25519_BASEPOINT_BYTES)
}

/// The keys behind a handshake: private ones of the initiator and of the responder.
#[derive(Clone, Copy)]
pub struct Keys {
    /// Both static keys.
    pub statics: [Key; 2],
    /// Both ephemeral keys.
    pub ephemerals: [Key; 2],
    /// The pre-shared key.
    pub psk: Key,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// Walks through a handshake, as far as it went, and returns every secret on the way; none if the messages do not belong
/// to these keys.
#[must_use]
pub fn secrets(keys: &Keys, initiation: &[u8], response: Option<&[u8]>, name: &str) -> Option<Vec<Masked>> {
    let Keys { statics: [s_i, s_r], ephemerals: [e_i, e_r], psk } = keys;
    let mut walk = Walk::new(&public(s_r), name);
    walk.mix_public(&initiation[8..40]); // e
    let key = walk.mix_dh("es", x25519(*e_i, public(s_r)), true); // es
    walk.open(&key, &initiation[40..88])?; // s
    let key = walk.mix_dh("ss", x25519(*s_i, public(s_r)), true); // ss
    walk.open(&key, &initiation[88..116])?;
    walk.tell(Kind::Ephemeral, "initiator", e_i);
    let Some(response) = response else { return Some(walk.told) };
    walk.mix_public(&response[12..44]); // e
    walk.mix_dh("ee", x25519(*e_i, public(e_r)), false); // ee
    walk.mix_dh("se", x25519(*s_i, public(e_r)), false); // se
    let [chaining_key, temporary, key] = kdf(&walk.chaining_key, psk); // psk
    walk.chain("psk", chaining_key);
    walk.tell(Kind::HandshakeKey, "tau", &temporary);
    walk.tell(Kind::HandshakeKey, "psk", &key);
    walk.hash = hash(&[&walk.hash, &temporary]);
    walk.tell(Kind::Hash, "tau", &walk.hash.clone());
    walk.open(&key, &response[44..60])?;
    walk.tell(Kind::Hash, "end", &walk.hash.clone());
    let [first, second, _] = kdf(&walk.chaining_key, &[]);
    walk.tell(Kind::Transport, "initiator to responder", &first);
    walk.tell(Kind::Transport, "responder to initiator", &second);
    walk.tell(Kind::Ephemeral, "responder", e_r);
    Some(walk.told)
}

/// The cookie that a reply held, and the one who made it: none if the reply is to another message.
#[must_use]
pub fn cookie(issuer: &Key, mac1: &[u8], reply: &[u8], name: &str) -> Option<Masked> {
    let key = hash(&[b"cookie--", issuer]);
    let nonce: [u8; 24] = reply[8..32].try_into().ok()?;
    let mut cookie = [0; 16];
    let buffer = InOutBuf::new(&reply[32..48], &mut cookie).ok()?;
    let tag: [u8; 16] = reply[48..64].try_into().ok()?;
    XChaCha20Poly1305::new(&key.into())
        .decrypt_inout_detached(&XNonce::from(nonce), mac1, buffer, &Tag::from(tag))
        .ok()?;
    Some(Masked::new(Kind::Cookie, name, &cookie))
}

/// Whether a cookie was made with this secret for this source, address and port as they go into it.
#[must_use]
pub fn makes_cookie(secret: &Key, source: &[u8], cookie: &Masked) -> bool {
    let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(secret) else { return false };
    mac.update(source);
    Masked::new(Kind::Cookie, &cookie.name, &mac.finalize().into_bytes()) == *cookie
}

struct Walk<'a> {
    chaining_key: Key,
    hash: Key,
    name: &'a str,
    told: Vec<Masked>,
}

impl<'a> Walk<'a> {
    fn new(responder: &Key, name: &'a str) -> Self {
        let chaining_key = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let start = hash(&[&chaining_key, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        Self { chaining_key, hash: hash(&[&start, responder]), name, told: Vec::new() }
    }

    fn tell(&mut self, kind: Kind, what: &str, secret: &[u8]) {
        self.told.push(Masked::new(kind, &format!("{}: {what}", self.name), secret));
    }

    fn chain(&mut self, what: &str, chaining_key: Key) {
        self.chaining_key = chaining_key;
        self.tell(Kind::ChainingKey, what, &chaining_key);
    }

    fn mix_public(&mut self, ephemeral: &[u8]) {
        self.hash = hash(&[&self.hash, ephemeral]);
        let [chaining_key, ..] = kdf(&self.chaining_key, ephemeral);
        if self.told.is_empty() {
            // Whoever sees the message knows this one.
            self.chaining_key = chaining_key;
        } else {
            self.chain("e", chaining_key);
        }
    }

    fn mix_dh(&mut self, what: &str, shared: Key, keyed: bool) -> Key {
        self.tell(if what == "ss" { Kind::StaticStatic } else { Kind::Shared }, what, &shared);
        let prk = hmac(&self.chaining_key, &[&shared]);
        self.tell(Kind::HandshakeKey, &format!("{what}, extracted"), &prk);
        let [chaining_key, key, _] = kdf(&self.chaining_key, &shared);
        self.chain(what, chaining_key);
        if keyed {
            self.tell(Kind::HandshakeKey, what, &key);
        }
        key
    }

    fn open(&mut self, key: &Key, ciphertext: &[u8]) -> Option<()> {
        let (body, tag) = ciphertext.split_last_chunk::<16>()?;
        let mut plaintext = vec![0; body.len()];
        let buffer = InOutBuf::new(body, &mut plaintext).ok()?;
        ChaCha20Poly1305::new(&(*key).into())
            .decrypt_inout_detached(&Nonce::default(), &self.hash, buffer, &Tag::from(*tag))
            .ok()?;
        self.hash = hash(&[&self.hash, ciphertext]);
        Some(())
    }
}

fn hash(parts: &[&[u8]]) -> Key {
    let mut hasher = Blake2s256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    let Ok(mut mac) = SimpleHmac::<Blake2s256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn kdf(chaining_key: &Key, input: &[u8]) -> [Key; 3] {
    let prk = hmac(chaining_key, &[input]);
    let first = hmac(&prk, &[&[1]]);
    let second = hmac(&prk, &[&first, &[2]]);
    let third = hmac(&prk, &[&second, &[3]]);
    [first, second, third]
}
