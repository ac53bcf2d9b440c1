//! The `ring` backend: assembly for x86-64 and aarch64.
//!
//! `ring` neither wipes its keys nor lets others do it, so the bytes are kept here, in memory that is wiped, and the
//! key object is made for each packet. What it leaves on the stack the next packet overwrites.

use ring::aead::{self, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::layout::{nonce, split_tag};
use super::{Aead, AeadError, prefix};
use crate::wire::TAG_LEN;

/// A key of the `ring` backend, wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RingAead([u8; 32]);

impl RingAead {
    /// The key object, or the error that `ring` would give for a key of another length: it cannot happen.
    fn key(&self) -> Result<LessSafeKey, AeadError> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.0)
            .map(LessSafeKey::new)
            .map_err(|_| AeadError::BufferTooSmall { need: 32, have: 32 })
    }
}

impl Aead for RingAead {
    fn new(key: &[u8; 32]) -> Self {
        Self(*key)
    }

    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let have = buffer.len();
        let (body, tag_out) = split_tag(buffer)?;
        let tag = self
            .key()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce(counter)),
                aead::Aad::empty(),
                body,
            )
            .map_err(|_| AeadError::BufferTooSmall { need: usize::MAX, have })?;
        tag_out.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let have = buffer.len();
        if have < TAG_LEN {
            return Err(AeadError::BufferTooSmall { need: TAG_LEN, have });
        }
        // On failure `ring` zeroes what it wrote.
        self.key()?
            .open_in_place(Nonce::assume_unique_for_key(nonce(counter)), aead::Aad::empty(), buffer)
            .map(|_| ())
            .map_err(|_| AeadError::TagMismatch)
    }

    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        let have = ciphertext.len();
        let (body, tag) = ciphertext
            .split_last_chunk::<TAG_LEN>()
            .ok_or(AeadError::BufferTooSmall { need: TAG_LEN, have })?;
        let out = prefix(out, body.len())?;
        out.copy_from_slice(body);
        let opened = self.key()?.open_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce(counter)),
            aead::Aad::empty(),
            (*tag).into(),
            out,
            0..,
        );
        match opened {
            Ok(plaintext) => Ok(plaintext.len()),
            Err(_) => {
                // Whatever was written is no plaintext to be used.
                out.fill(0);
                Err(AeadError::TagMismatch)
            }
        }
    }
}

impl core::fmt::Debug for RingAead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RingAead(..)")
    }
}
