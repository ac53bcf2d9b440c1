//! Kernels that are other people's libraries, one packet at a time.

#[cfg(feature = "ring")]
pub(crate) mod ring;
#[cfg(feature = "rustcrypto")]
pub(crate) mod rustcrypto;

/// The nonce of a counter: four zero bytes, then the counter, little-endian. White paper, section 5.4.6.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}
