//! The portable backend: `chacha20poly1305` of RustCrypto, in safe Rust on every target.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};

use super::layout::{nonce, split_tag};
use super::{Aead, AeadError, prefix};
use crate::wire::TAG_LEN;

/// A key of the RustCrypto backend; the cipher wipes itself on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
pub struct RustCryptoAead(ChaCha20Poly1305);

impl Aead for RustCryptoAead {
    fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let have = buffer.len();
        let (body, tag_out) = split_tag(buffer)?;
        let tag = self
            .0
            .encrypt_inout_detached(&Nonce::from(nonce(counter)), &[], body.into())
            .map_err(|_| AeadError::BufferTooSmall { need: usize::MAX, have })?;
        tag_out.copy_from_slice(&tag);
        Ok(())
    }

    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let (body, tag) = split_tag(buffer)?;
        self.0
            .decrypt_inout_detached(&Nonce::from(nonce(counter)), &[], body.into(), &Tag::from(*tag))
            .map_err(|_| AeadError::TagMismatch)
    }

    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        let have = ciphertext.len();
        let (body, tag) = ciphertext
            .split_last_chunk::<TAG_LEN>()
            .ok_or(AeadError::BufferTooSmall { need: TAG_LEN, have })?;
        let out = prefix(out, body.len())?;
        let buffer = InOutBuf::new(body, out).map_err(|_| AeadError::TagMismatch)?;
        self.0
            .decrypt_inout_detached(&Nonce::from(nonce(counter)), &[], buffer, &Tag::from(*tag))
            .map_err(|_| AeadError::TagMismatch)?;
        Ok(body.len())
    }
}

impl core::fmt::Debug for RustCryptoAead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RustCryptoAead(..)")
    }
}
