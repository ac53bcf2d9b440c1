//! The symmetric state of the handshake: chaining key and hash, and the functions that mix into them.
//!
//! The KDF is HKDF with HMAC-BLAKE2s (C13); the AEAD is ChaCha20-Poly1305 with nonce zero and the running hash as
//! associated data (C9). White paper, section 5.4; RFC 5869; RFC 8439.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Mac, SimpleHmac};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{CONSTRUCTION, HandshakeError, IDENTIFIER, Role};
use crate::index::SessionIndex;
use crate::key::{PresharedKey, PublicKey, SharedSecret};
use crate::wire::TAG_LEN;

/// A 32-byte secret that wipes itself: an output of the KDF.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret([u8; 32]);

/// Chaining key and hash.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct SymmetricState {
    chaining_key: [u8; 32],
    hash: [u8; 32],
}

impl SymmetricState {
    /// Starts a handshake towards the owner of `responder_static` (C11, C12).
    pub(super) fn initialize(responder_static: &PublicKey) -> Self {
        let chaining_key = hash(&[CONSTRUCTION]);
        let mut state = Self { chaining_key, hash: hash(&[&chaining_key, IDENTIFIER]) };
        state.mix_hash(responder_static.as_bytes());
        state
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    /// Mixes an ephemeral public key into hash and chaining key, as the psk modes of Noise do.
    pub(super) fn mix_ephemeral(&mut self, ephemeral: &[u8; 32]) {
        self.mix_hash(ephemeral);
        let [chaining_key] = kdf(&self.chaining_key, ephemeral);
        self.chaining_key = chaining_key.0;
    }

    /// Mixes a Diffie-Hellman result in, without a key for the AEAD.
    pub(super) fn mix_dh(&mut self, shared: &SharedSecret) {
        let [chaining_key] = kdf(&self.chaining_key, shared.as_bytes());
        self.chaining_key = chaining_key.0;
    }

    /// Mixes a Diffie-Hellman result in and returns the key for the AEAD.
    pub(super) fn mix_dh_key(&mut self, shared: &SharedSecret) -> Secret {
        let [chaining_key, key] = kdf(&self.chaining_key, shared.as_bytes());
        self.chaining_key = chaining_key.0;
        key
    }

    /// Mixes the pre-shared key in and returns the key for the AEAD (C16).
    pub(super) fn mix_psk(&mut self, psk: &PresharedKey) -> Secret {
        let [chaining_key, temporary, key] = kdf(&self.chaining_key, psk.as_bytes());
        self.chaining_key = chaining_key.0;
        self.mix_hash(&temporary.0);
        key
    }

    /// Seals `plaintext` into `out`, which is `TAG_LEN` longer, and mixes the ciphertext in.
    pub(super) fn encrypt_and_hash(
        &mut self,
        key: &Secret,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), HandshakeError> {
        let cipher = ChaCha20Poly1305::new(&key.0.into());
        let (body, tag_out) = out.split_last_chunk_mut::<TAG_LEN>().ok_or(HandshakeError::Unauthentic)?;
        let buffer = InOutBuf::new(plaintext, body).map_err(|_| HandshakeError::Unauthentic)?;
        let tag = cipher
            .encrypt_inout_detached(&Nonce::default(), &self.hash, buffer)
            .map_err(|_| HandshakeError::Unauthentic)?;
        *tag_out = tag.into();
        self.mix_hash(out);
        Ok(())
    }

    /// Opens `ciphertext` into `out`, which is `TAG_LEN` shorter, and mixes the ciphertext in. A failure changes nothing.
    pub(super) fn decrypt_and_hash(
        &mut self,
        key: &Secret,
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<(), HandshakeError> {
        let cipher = ChaCha20Poly1305::new(&key.0.into());
        let (body, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(HandshakeError::Unauthentic)?;
        let buffer = InOutBuf::new(body, out).map_err(|_| HandshakeError::Unauthentic)?;
        cipher
            .decrypt_inout_detached(&Nonce::default(), &self.hash, buffer, &Tag::from(*tag))
            .map_err(|_| HandshakeError::Unauthentic)?;
        self.mix_hash(ciphertext);
        Ok(())
    }

    /// Ends the handshake: the first key belongs to the direction initiator to responder (C15).
    pub(super) fn split(&self, role: Role, local: SessionIndex, remote: SessionIndex) -> TransportKeys {
        let [initiator_to_responder, responder_to_initiator] = kdf(&self.chaining_key, &[]);
        let (send, recv) = match role {
            Role::Initiator => (initiator_to_responder, responder_to_initiator),
            Role::Responder => (responder_to_initiator, initiator_to_responder),
        };
        TransportKeys { send, recv, role, local_index: local, remote_index: remote }
    }

    #[cfg(feature = "test-util")]
    pub(super) const fn reveal(&self) -> ([u8; 32], [u8; 32]) {
        (self.chaining_key, self.hash)
    }
}

/// What a handshake ends in: the two transport keys, wiped on drop, and the indices they go by.
pub struct TransportKeys {
    send: Secret,
    recv: Secret,
    role: Role,
    local_index: SessionIndex,
    remote_index: SessionIndex,
}

impl TransportKeys {
    /// Returns the key this side seals with. The caller must not let it outlive its use.
    #[must_use]
    pub const fn send_key(&self) -> &[u8; 32] {
        &self.send.0
    }

    /// Returns the key this side opens with. The caller must not let it outlive its use.
    #[must_use]
    pub const fn recv_key(&self) -> &[u8; 32] {
        &self.recv.0
    }

    /// Tells which side of the handshake this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns the index the peer names this session by when it sends.
    #[must_use]
    pub const fn local_index(&self) -> SessionIndex {
        self.local_index
    }

    /// Returns the index to name this session by when sending.
    #[must_use]
    pub const fn remote_index(&self) -> SessionIndex {
        self.remote_index
    }
}

#[cfg(test)]
impl TransportKeys {
    pub(crate) const fn for_tests(role: Role, local_index: SessionIndex, remote_index: SessionIndex) -> Self {
        Self { send: Secret([1; 32]), recv: Secret([2; 32]), role, local_index, remote_index }
    }
}

impl core::fmt::Debug for TransportKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TransportKeys")
            .field("role", &self.role)
            .field("local_index", &self.local_index)
            .field("remote_index", &self.remote_index)
            .finish_non_exhaustive()
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Secret {
    // A key of 32 bytes is below the block length of 64, which `new` would demand in full.
    let Ok(mut mac) = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key) else {
        debug_assert!(false, "HMAC takes keys of every length");
        return Secret([0; 32]);
    };
    for part in parts {
        mac.update(part);
    }
    Secret(mac.finalize().into_bytes().into())
}

/// HKDF with `N` outputs, at most three here: T1 = HMAC(prk, 1), Ti = HMAC(prk, T(i-1) || i).
fn kdf<const N: usize>(chaining_key: &[u8; 32], input: &[u8]) -> [Secret; N] {
    let prk = hmac(chaining_key, &[input]);
    let mut last = Secret([0; 32]);
    let mut number = 0_u8;
    core::array::from_fn(|_| {
        let previous: &[u8] = if number == 0 { &[] } else { &last.0 };
        number = number.wrapping_add(1);
        let output = hmac(&prk.0, &[previous, &[number]]);
        last = Secret(output.0);
        output
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn construction_hashes_to_the_published_constants() {
        // C10, C11, C12
        assert_eq!(
            hash(&[CONSTRUCTION]),
            *b"\x60\xe2\x6d\xae\xf3\x27\xef\xc0\x2e\xc3\x35\xe2\xa0\x25\xd2\xd0\x16\xeb\x42\x06\xf8\x72\x77\xf5\x2d\x38\xd1\x98\x8b\x78\xcd\x36"
        );
        assert_eq!(
            hash(&[&hash(&[CONSTRUCTION]), IDENTIFIER]),
            *b"\x22\x11\xb3\x61\x08\x1a\xc5\x66\x69\x12\x43\xdb\x45\x8a\xd5\x32\x2d\x9c\x6c\x66\x22\x93\xe8\xb7\x0e\xe1\x9c\x65\xba\x07\x9e\xf3"
        );
    }

    #[test]
    fn kdf_is_hkdf_with_hmac() {
        // C13: against HMAC written out by its definition (RFC 2104) over the plain hash.
        let key = [0x42; 32];
        let by_hand = |key: &[u8; 32], text: &[&[u8]]| {
            let pad = |with: u8| {
                let mut block = [with; 64];
                for (byte, key) in block.iter_mut().zip(key) {
                    *byte ^= key;
                }
                block
            };
            let mut inner = Blake2s256::new();
            inner.update(pad(0x36));
            for part in text {
                inner.update(part);
            }
            hash(&[&pad(0x5c), &inner.finalize()])
        };
        let prk = by_hand(&key, &[b"input"]);
        let t1 = by_hand(&prk, &[&[1]]);
        let t2 = by_hand(&prk, &[&t1, &[2]]);
        let t3 = by_hand(&prk, &[&t2, &[3]]);
        let got: [Secret; 3] = kdf(&key, b"input");
        assert_eq!(got.map(|secret| secret.0), [t1, t2, t3]);
    }

    #[test]
    fn failed_decryption_leaves_the_state_alone() {
        // C32, C37
        let mut state = SymmetricState::initialize(&PublicKey::from_bytes([9; 32]));
        let before = state.clone();
        let mut out = [0; 8];
        let error = state.decrypt_and_hash(&Secret([1; 32]), &[5; 24], &mut out);
        assert_eq!(error, Err(HandshakeError::Unauthentic));
        assert_eq!((state.chaining_key, state.hash), (before.chaining_key, before.hash));
        assert_eq!(out, [0; 8]);
    }
}
