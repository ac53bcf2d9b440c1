//! A prepared key, and the forms for one packet.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{AeadError, Backend, OpenJob, SealJob, TAG_LEN};

/// A prepared ChaCha20-Poly1305 key, wiped on drop.
///
/// The nonce of a packet is four zero bytes and the counter, little-endian; there is no associated data. Both are what
/// WireGuard's transport data has (white paper, section 5.4.6). The caller never seals two packets with one counter.
///
/// # Examples
///
/// ```
/// let key = wg_aead::Key::new(&[7; 32]);
/// let mut buffer = *b"an inner packet.................";
/// key.seal_in_place(0, &mut buffer)?;
/// key.open_in_place(0, &mut buffer)?;
/// assert_eq!(&buffer[..16], b"an inner packet.");
/// # Ok::<(), wg_aead::AeadError>(())
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key {
    /// As the rows 4 to 11 of the ChaCha20 state.
    words: [u32; 8],
    /// As the libraries take it.
    #[cfg(any(feature = "ring", feature = "rustcrypto"))]
    bytes: [u8; 32],
}

impl Key {
    /// Prepares a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self {
            words,
            #[cfg(any(feature = "ring", feature = "rustcrypto"))]
            bytes: *key,
        }
    }

    /// The key as the rows 4 to 11 of the ChaCha20 state.
    pub(crate) const fn words(&self) -> &[u32; 8] {
        &self.words
    }

    /// The key as bytes, for the libraries.
    #[cfg(any(feature = "ring", feature = "rustcrypto"))]
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals in place: `buffer` holds the plaintext and [`TAG_LEN`] spare bytes behind it, which the tag is written to.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] if `buffer` cannot hold a tag, [`AeadError::TooLong`].
    pub fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let mut jobs = [SealJob::in_place(self, counter, buffer)];
        Backend::best().seal_batch(&mut jobs);
        jobs[0].result()
    }

    /// Opens in place: `buffer` holds ciphertext and tag; the plaintext is what remains without the last [`TAG_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] if `buffer` cannot hold a tag, [`AeadError::TooLong`], [`AeadError::TagMismatch`] for
    /// a forgery.
    pub fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let mut jobs = [OpenJob::in_place(self, counter, buffer)];
        Backend::best().open_batch(&mut jobs);
        jobs[0].result()
    }

    /// Seals `plaintext` into `out` and returns the length written: [`TAG_LEN`] more.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`], [`AeadError::TooLong`].
    pub fn seal(&self, counter: u64, plaintext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        let (need, have) = (plaintext.len().saturating_add(TAG_LEN), out.len());
        let out = out.get_mut(..need).ok_or(AeadError::BufferTooSmall { need, have })?;
        let mut jobs = [SealJob::copy(self, counter, plaintext, out)];
        Backend::best().seal_batch(&mut jobs);
        jobs[0].result().map(|()| need)
    }

    /// Opens `ciphertext`, tag included, into `out` and returns the length written: [`TAG_LEN`] less.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] if `ciphertext` cannot hold a tag or `out` not the plaintext, [`AeadError::TooLong`],
    /// [`AeadError::TagMismatch`] for a forgery.
    pub fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        let mut jobs = [OpenJob::copy(self, counter, ciphertext, out)];
        Backend::best().open_batch(&mut jobs);
        jobs[0].result().map(|()| ciphertext.len() - TAG_LEN)
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}
