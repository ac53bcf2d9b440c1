//! An entropy source that replays what a test gives it, and fails when that is used up.

use std::collections::VecDeque;

use rand_core::{TryCryptoRng, TryRng};

#[derive(Default)]
pub(crate) struct ReplayedRng(VecDeque<u8>);

#[derive(Debug)]
pub(crate) struct UsedUp;

impl core::fmt::Display for UsedUp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no bytes left to replay")
    }
}

impl core::error::Error for UsedUp {}

impl ReplayedRng {
    /// Replays these bytes, in this order.
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        Self(parts.concat().into())
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], UsedUp> {
        let mut bytes = [0; N];
        self.try_fill_bytes(&mut bytes)?;
        Ok(bytes)
    }
}

impl TryRng for ReplayedRng {
    type Error = UsedUp;

    fn try_next_u32(&mut self) -> Result<u32, UsedUp> {
        self.take().map(u32::from_le_bytes)
    }

    fn try_next_u64(&mut self) -> Result<u64, UsedUp> {
        self.take().map(u64::from_le_bytes)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), UsedUp> {
        if self.0.len() < out.len() {
            return Err(UsedUp);
        }
        let replayed: Vec<u8> = self.0.drain(..out.len()).collect();
        out.copy_from_slice(&replayed);
        Ok(())
    }
}

impl TryCryptoRng for ReplayedRng {}
