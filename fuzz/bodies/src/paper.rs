//! The handshake as the white paper writes it, line by line, without a look at `wg-proto`: the other side of the targets,
//! which can also do what an honest side never does.
//!
//! Nothing here is constant in time or wiped; nothing here is refused: a Diffie-Hellman of zero is a number like any other.

use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Mac, SimpleHmac};

/// A private key with its public one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) private: [u8; 32],
    pub(crate) public: [u8; 32],
}

impl Pair {
    pub(crate) fn new(private: [u8; 32]) -> Self {
        Self { private, public: dh(&private, &x25519_dalek::X25519_BASEPOINT_BYTES) }
    }
}

pub(crate) fn dh(private: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::x25519(*private, *public)
}

pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    for part in parts {
        Digest::update(&mut hasher, part);
    }
    hasher.finalize().into()
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// MAC(key, input) of 16 bytes.
pub(crate) fn mac(key: &[u8], input: &[u8]) -> [u8; 16] {
    let mut mac = Blake2sMac::<U16>::new_from_slice(key).expect("16 or 32 bytes");
    Mac::update(&mut mac, input);
    mac.finalize().into_bytes().into()
}

/// Kdf of one, two or three outputs.
fn kdf<const N: usize>(ck: &[u8; 32], input: &[u8]) -> [[u8; 32]; N] {
    let prk = hmac(ck, &[input]);
    let mut out = [[0; 32]; N];
    let mut last: Vec<u8> = Vec::new();
    for (number, out) in (1..).zip(&mut out) {
        *out = hmac(&prk, &[&last, &[number]]);
        last = out.to_vec();
    }
    out
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce.into()
}

pub(crate) fn seal(key: &[u8; 32], counter: u64, plain: &[u8], ad: &[u8]) -> Vec<u8> {
    let mut out = plain.to_vec();
    let tag = ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&nonce(counter), ad, out.as_mut_slice().into())
        .expect("short");
    out.extend_from_slice(&tag);
    out
}

pub(crate) fn open(key: &[u8; 32], counter: u64, sealed: &[u8], ad: &[u8]) -> Option<Vec<u8>> {
    let (body, tag) = sealed.split_last_chunk::<16>()?;
    let mut out = body.to_vec();
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(&nonce(counter), ad, out.as_mut_slice().into(), &Tag::from(*tag))
        .ok()?;
    Some(out)
}

/// The 64 bytes of a cookie reply of the owner of `issuer`.
pub(crate) fn cookie_reply(
    issuer: &[u8; 32],
    receiver: u32,
    nonce: [u8; 24],
    cookie: &[u8; 16],
    mac1: &[u8; 16],
) -> Vec<u8> {
    let key = hash(&[b"cookie--", issuer]);
    let mut sealed = cookie.to_vec();
    let tag = XChaCha20Poly1305::new(&key.into())
        .encrypt_inout_detached(&XNonce::from(nonce), mac1, sealed.as_mut_slice().into())
        .expect("short");
    [&[3, 0, 0, 0][..], &receiver.to_le_bytes(), &nonce, &sealed, &tag].concat()
}

/// The cookie in a cookie reply.
pub(crate) fn open_cookie_reply(issuer: &[u8; 32], reply: &[u8], mac1: &[u8; 16]) -> Option<[u8; 16]> {
    let nonce: [u8; 24] = reply.get(8..32)?.try_into().ok()?;
    let mut cookie: [u8; 16] = reply.get(32..48)?.try_into().ok()?;
    let tag: [u8; 16] = reply.get(48..64)?.try_into().ok()?;
    XChaCha20Poly1305::new(&hash(&[b"cookie--", issuer]).into())
        .decrypt_inout_detached(&XNonce::from(nonce), mac1, cookie.as_mut_slice().into(), &Tag::from(tag))
        .ok()?;
    Some(cookie)
}

/// The key of MAC1 towards the owner of a public key.
pub(crate) fn mac1_key(receiver: &[u8; 32]) -> [u8; 32] {
    hash(&[b"mac1----", receiver])
}

/// Makes MAC1 of a message right for `receiver`; one too short to hold MACs is left alone.
pub(crate) fn fix_mac1(message: &mut [u8], receiver: &[u8; 32]) {
    if let Some(at) = message.len().checked_sub(32) {
        let mac1 = mac(&mac1_key(receiver), &message[..at]);
        message[at..at + 16].copy_from_slice(&mac1);
    }
}

/// Whether MAC1 of a message is right.
pub(crate) fn mac1_is_right(message: &[u8], receiver: &[u8; 32]) -> bool {
    message
        .len()
        .checked_sub(32)
        .is_some_and(|at| mac(&mac1_key(receiver), &message[..at]) == message[at..at + 16])
}

/// The keys of a session, by who uses them to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) initiator: [u8; 32],
    pub(crate) responder: [u8; 32],
}

/// Chaining key and hash.
#[derive(Clone, Copy, Debug)]
struct State {
    ck: [u8; 32],
    hash: [u8; 32],
}

impl State {
    fn new(responder: &[u8; 32]) -> Self {
        let ck = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let start = hash(&[&ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        Self { ck, hash: hash(&[&start, responder]) }
    }

    fn mix(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn ephemeral(&mut self, public: &[u8; 32]) {
        self.mix(public);
        let [ck] = kdf(&self.ck, public);
        self.ck = ck;
    }

    fn dh(&mut self, secret: &[u8; 32]) {
        let [ck] = kdf(&self.ck, secret);
        self.ck = ck;
    }

    fn dh_key(&mut self, secret: &[u8; 32]) -> [u8; 32] {
        let [ck, key] = kdf(&self.ck, secret);
        self.ck = ck;
        key
    }

    fn psk_key(&mut self, psk: &[u8; 32]) -> [u8; 32] {
        let [ck, tau, key] = kdf(&self.ck, psk);
        self.ck = ck;
        self.mix(&tau);
        key
    }

    fn seal(&mut self, key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let sealed = seal(key, 0, plain, &self.hash);
        self.mix(&sealed);
        sealed
    }

    fn open(&mut self, key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
        let plain = open(key, 0, sealed, &self.hash)?;
        self.mix(sealed);
        Some(plain)
    }

    fn split(&self) -> Keys {
        let [initiator, responder] = kdf(&self.ck, &[]);
        Keys { initiator, responder }
    }
}

/// An initiation under way, at the initiator.
#[derive(Clone, Debug)]
pub(crate) struct Initiator {
    state: State,
    ephemeral: [u8; 32],
    local: [u8; 32],
    /// The whole message, MAC1 included, MAC2 zero.
    pub(crate) message: Vec<u8>,
}

/// What goes into an initiation, honest or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitiationParts<'a> {
    pub(crate) local: &'a Pair,
    pub(crate) responder: &'a [u8; 32],
    /// The private ephemeral key, and the public one that is sent: not its own if that is what is tried.
    pub(crate) ephemeral: ([u8; 32], [u8; 32]),
    /// The results `es` and `ss`.
    pub(crate) es: [u8; 32],
    pub(crate) ss: [u8; 32],
    pub(crate) timestamp: [u8; 12],
    pub(crate) sender: u32,
}

impl Initiator {
    pub(crate) fn new(parts: &InitiationParts<'_>) -> Self {
        let mut state = State::new(parts.responder);
        let (private, public) = parts.ephemeral;
        state.ephemeral(&public);
        let key = state.dh_key(&parts.es);
        let sealed_static = state.seal(&key, &parts.local.public);
        let key = state.dh_key(&parts.ss);
        let sealed_stamp = state.seal(&key, &parts.timestamp);
        let head = [&[1, 0, 0, 0][..], &parts.sender.to_le_bytes(), &public, &sealed_static, &sealed_stamp];
        let mut message = head.concat();
        message.resize(148, 0);
        fix_mac1(&mut message, parts.responder);
        Self { state, ephemeral: private, local: parts.local.private, message }
    }

    /// Reads the response; gives the keys and the index to send to.
    pub(crate) fn finish(&self, response: &[u8], psk: &[u8; 32]) -> Option<(Keys, u32)> {
        let public: [u8; 32] = response.get(12..44)?.try_into().ok()?;
        let mut state = self.state;
        state.ephemeral(&public);
        state.dh(&dh(&self.ephemeral, &public));
        state.dh(&dh(&self.local, &public));
        let key = state.psk_key(psk);
        state.open(&key, response.get(44..60)?)?;
        Some((state.split(), u32::from_le_bytes(response.get(4..8)?.try_into().ok()?)))
    }
}

/// An initiation that was read, at the responder.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    state: State,
    initiator_ephemeral: [u8; 32],
    pub(crate) initiator: [u8; 32],
    pub(crate) timestamp: [u8; 12],
    pub(crate) sender: u32,
}

impl Responder {
    /// Reads an initiation to the owner of `local`; none if it does not authenticate.
    pub(crate) fn new(message: &[u8], local: &Pair) -> Option<Self> {
        let ephemeral: [u8; 32] = message.get(8..40)?.try_into().ok()?;
        let mut state = State::new(&local.public);
        state.ephemeral(&ephemeral);
        let key = state.dh_key(&dh(&local.private, &ephemeral));
        let initiator: [u8; 32] = state.open(&key, message.get(40..88)?)?.try_into().ok()?;
        let key = state.dh_key(&dh(&local.private, &initiator));
        let timestamp = state.open(&key, message.get(88..116)?)?.try_into().ok()?;
        let sender = u32::from_le_bytes(message.get(4..8)?.try_into().ok()?);
        Some(Self { state, initiator_ephemeral: ephemeral, initiator, timestamp, sender })
    }

    /// Writes a response, MAC1 right and MAC2 zero. Without a private key for the public one that is sent, the results are
    /// taken for zero, as they are at the initiator if that is a point of low order.
    pub(crate) fn respond(
        &self,
        (private, public): (Option<[u8; 32]>, [u8; 32]),
        psk: &[u8; 32],
        sender: u32,
        receiver: u32,
    ) -> (Vec<u8>, Keys) {
        let mut state = self.state;
        state.ephemeral(&public);
        let secret = |their: &[u8; 32]| private.map_or([0; 32], |private| dh(&private, their));
        state.dh(&secret(&self.initiator_ephemeral));
        state.dh(&secret(&self.initiator));
        let key = state.psk_key(psk);
        let nothing = state.seal(&key, &[]);
        let head = [&[2, 0, 0, 0][..], &sender.to_le_bytes(), &receiver.to_le_bytes(), &public, &nothing];
        let mut message = head.concat();
        message.resize(92, 0);
        fix_mac1(&mut message, &self.initiator);
        (message, state.split())
    }
}

/// A transport message.
pub(crate) fn data(key: &[u8; 32], receiver: u32, counter: u64, packet: &[u8]) -> Vec<u8> {
    let sealed = seal(key, counter, packet, &[]);
    [&[4, 0, 0, 0][..], &receiver.to_le_bytes(), &counter.to_le_bytes(), &sealed].concat()
}

/// The packet in a transport message, with its receiver index and counter.
pub(crate) fn open_data(key: &[u8; 32], message: &[u8]) -> Option<(u32, u64, Vec<u8>)> {
    let receiver = u32::from_le_bytes(message.get(4..8)?.try_into().ok()?);
    let counter = u64::from_le_bytes(message.get(8..16)?.try_into().ok()?);
    Some((receiver, counter, open(key, counter, message.get(16..)?, &[])?))
}
