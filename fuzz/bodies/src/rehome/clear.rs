//! An AEAD that hides nothing, so that the wire can look at what passes; but for that it is one: another key, counter or text
//! has another tag.

use wg_datapath::BatchAead;
use wg_proto::aead::{Aead, AeadError};

const TAG: usize = 16;

/// See above.
#[derive(Debug)]
pub(crate) struct ClearAead([u64; 2]);

impl ClearAead {
    fn tag(&self, counter: u64, text: &[u8]) -> [u8; TAG] {
        let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let words = text.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let sum = words.fold(mix(self.0[0], counter), mix);
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&sum.to_le_bytes());
        tag[8..].copy_from_slice(&(self.0[1] ^ counter ^ text.len() as u64).to_le_bytes());
        tag
    }
}

impl Aead for ClearAead {
    fn new(key: &[u8; 32]) -> Self {
        let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes"));
        Self([word(0), word(8)])
    }

    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let have = buffer.len();
        let (text, tag) =
            buffer.split_last_chunk_mut::<TAG>().ok_or(AeadError::BufferTooSmall { need: TAG, have })?;
        *tag = self.tag(counter, text);
        Ok(())
    }

    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        let have = buffer.len();
        let (text, tag) =
            buffer.split_last_chunk::<TAG>().ok_or(AeadError::BufferTooSmall { need: TAG, have })?;
        if *tag == self.tag(counter, text) { Ok(()) } else { Err(AeadError::TagMismatch) }
    }

    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        let mut message = ciphertext.to_vec();
        self.open_in_place(counter, &mut message)?;
        let len = message.len() - TAG;
        let have = out.len();
        out.get_mut(..len)
            .ok_or(AeadError::BufferTooSmall { need: len, have })?
            .copy_from_slice(&message[..len]);
        Ok(len)
    }
}

impl BatchAead for ClearAead {}
