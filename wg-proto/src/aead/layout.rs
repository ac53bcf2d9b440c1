//! What every backend shares: the nonce of a counter, and where the tag stands.

use super::AeadError;
use crate::wire::TAG_LEN;

/// The nonce of a counter: four zero bytes, then the counter, little-endian (C9).
pub(super) fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (_, low) = nonce.split_at_mut(4);
    low.copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Splits ciphertext from tag space.
pub(super) fn split_tag(buffer: &mut [u8]) -> Result<(&mut [u8], &mut [u8; TAG_LEN]), AeadError> {
    let have = buffer.len();
    buffer.split_last_chunk_mut().ok_or(AeadError::BufferTooSmall { need: TAG_LEN, have })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_is_four_zeros_and_the_counter() {
        // C9
        assert_eq!(nonce(0x0102_0304_0506_0708), [0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
