//! Entropy that says in which order things were made.

use rand_core::{TryCryptoRng, TryRng};

/// Gives the number of the message of a handshake that it is drawn for: as its index, and as the seed of its ephemeral key.
#[derive(Debug)]
pub(super) struct Entropy {
    serial: u32,
    state: u64,
    drawn: bool,
}

impl Entropy {
    pub(super) const fn new(serial: u32) -> Self {
        // Any number that is another for each message.
        Self { serial, state: 0x5851_f42d_4c95_7f2d ^ ((serial as u64) << 17), drawn: false }
    }

    /// Whether a message was made of it.
    pub(super) const fn drawn(&self) -> bool {
        self.drawn
    }
}

impl TryRng for Entropy {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.drawn = true;
        Ok(self.serial)
    }

    /// SplitMix64: it need not be secret here, only another each time.
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(mixed ^ (mixed >> 31))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.drawn = true;
        for chunk in out.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Entropy {}
