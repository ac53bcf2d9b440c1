//! The AEAD of transport data, as a trait over prepared keys: ChaCha20-Poly1305 with the counter as nonce and no
//! associated data (C9). RFC 8439.
//!
//! Three forms of each direction: in place, from one buffer into another, and over a batch of independent packets. A
//! backend that does better than one packet at a time overrides the batch forms; the defaults loop.

#[cfg(any(feature = "ring", feature = "rustcrypto"))]
mod layout;
#[cfg(feature = "ring")]
mod ring;
#[cfg(feature = "rustcrypto")]
mod rustcrypto;

#[cfg(feature = "ring")]
pub use self::ring::RingAead;
#[cfg(feature = "rustcrypto")]
pub use self::rustcrypto::RustCryptoAead;

use crate::wire::TAG_LEN;

/// A prepared ChaCha20-Poly1305 key.
///
/// An implementation wipes the key when dropped, and writes no plaintext of a packet whose tag did not verify: on
/// [`AeadError::TagMismatch`] the output is zero or unchanged (C26).
pub trait Aead: Sized + Send + Sync + 'static {
    /// Prepares a key.
    fn new(key: &[u8; 32]) -> Self;

    /// Seals in place: `buffer` holds the plaintext and [`TAG_LEN`] spare bytes behind it, which the tag is written to.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] if `buffer` cannot hold a tag; nothing was written.
    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError>;

    /// Opens in place: `buffer` holds ciphertext and tag; the plaintext is what remains without the last [`TAG_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] if `buffer` cannot hold a tag, [`AeadError::TagMismatch`] for a forgery.
    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError>;

    /// Seals `plaintext` into `out` and returns the length written: [`TAG_LEN`] more.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`]; nothing was written.
    fn seal(&self, counter: u64, plaintext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        let len = plaintext.len().saturating_add(TAG_LEN);
        let out = prefix(out, len)?;
        if let Some((body, _)) = out.split_at_mut_checked(plaintext.len()) {
            body.copy_from_slice(plaintext);
        }
        self.seal_in_place(counter, out)?;
        Ok(len)
    }

    /// Opens `ciphertext`, tag included, into `out` and returns the length written: [`TAG_LEN`] less.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] if `ciphertext` cannot hold a tag or `out` not the plaintext;
    /// [`AeadError::TagMismatch`] for a forgery.
    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError>;

    /// Seals a batch of independent packets in place.
    fn seal_batch(jobs: &mut [SealJob<'_, Self>]) {
        for job in jobs {
            job.result = job.key.seal_in_place(job.counter, job.buffer);
        }
    }

    /// Opens a batch of independent packets in place; each job reports for itself.
    fn open_batch(jobs: &mut [OpenJob<'_, Self>]) {
        for job in jobs {
            job.result = job.key.open_in_place(job.counter, job.buffer);
        }
    }
}

/// One packet of [`Aead::seal_batch`].
#[derive(Debug)]
pub struct SealJob<'a, A> {
    /// The key; jobs of one batch may have different ones.
    pub key: &'a A,
    /// The counter.
    pub counter: u64,
    /// Plaintext and room for the tag, as [`Aead::seal_in_place`] takes it.
    pub buffer: &'a mut [u8],
    /// What came of it.
    pub result: Result<(), AeadError>,
}

/// One packet of [`Aead::open_batch`].
#[derive(Debug)]
pub struct OpenJob<'a, A> {
    /// The key; jobs of one batch may have different ones.
    pub key: &'a A,
    /// The counter.
    pub counter: u64,
    /// Ciphertext and tag, as [`Aead::open_in_place`] takes it.
    pub buffer: &'a mut [u8],
    /// What came of it.
    pub result: Result<(), AeadError>,
}

/// Why a packet was neither sealed nor opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AeadError {
    /// A buffer is too small: the fault of the caller. Nothing was written.
    BufferTooSmall {
        /// Bytes it must have.
        need: usize,
        /// Bytes it has.
        have: usize,
    },
    /// The text is longer than the backend takes: the fault of the caller. Nothing was written.
    TooLong {
        /// Bytes it has.
        have: usize,
    },
    /// The tag does not verify: the fault of the sender. No plaintext was written.
    TagMismatch,
}

impl core::fmt::Display for AeadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BufferTooSmall { need, have } => {
                write!(f, "buffer of {have} bytes where {need} are needed")
            }
            Self::TooLong { have } => write!(f, "text of {have} bytes is too long"),
            Self::TagMismatch => f.write_str("tag does not verify"),
        }
    }
}

impl core::error::Error for AeadError {}

/// The first `need` bytes of a buffer, or the error that says how many it has.
fn prefix(buffer: &mut [u8], need: usize) -> Result<&mut [u8], AeadError> {
    let have = buffer.len();
    buffer.get_mut(..need).ok_or(AeadError::BufferTooSmall { need, have })
}

#[cfg(test)]
mod tests;
