//! Entropy. This board has no generator, so the debugger lends its machine's; a product reads its true random number
//! generator here, checks its health as the part's manual asks, and reports a failure as this does: never by a number.

use core::fmt;

use rand_core::{TryCryptoRng, TryRng};

use super::host;

/// The entropy of the debugger's machine.
#[derive(Debug)]
pub(crate) struct Entropy {
    file: Option<usize>,
}

/// There is none now: the protocol tries again in five seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoEntropy;

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no entropy")
    }
}

impl core::error::Error for NoEntropy {}

impl Entropy {
    pub(crate) fn open() -> Self {
        Self { file: host::open(c"/dev/urandom") }
    }
}

impl TryRng for Entropy {
    type Error = NoEntropy;

    fn try_next_u32(&mut self) -> Result<u32, NoEntropy> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoEntropy> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        let read = self.file.is_some_and(|file| host::read(file, bytes));
        if read { Ok(()) } else { Err(NoEntropy) }
    }
}

impl TryCryptoRng for Entropy {}
