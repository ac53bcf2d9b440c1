//! What a packet carries: which run it is of, so that a late one is not counted in the next run, its flow, and its number.
//!
//! ```text
//! | run   | flow  | number (8 bytes, big endian) | zeros ..
//!   4       4
//! ```

/// The smallest payload.
pub const SMALLEST: usize = 16;

/// What is written in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) run: u32,
    pub(super) flow: u32,
    pub(super) number: u64,
}

impl Label {
    /// Writes itself to the front of `payload`, which is at least [`SMALLEST`] bytes long.
    pub(super) fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.run.to_be_bytes());
        payload[4..8].copy_from_slice(&self.flow.to_be_bytes());
        payload[8..16].copy_from_slice(&self.number.to_be_bytes());
    }

    /// Reads what is in front of `payload`, if it is long enough.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(*payload.get(at..)?.first_chunk()?));
        let number = u64::from_be_bytes(*payload.get(8..)?.first_chunk()?);
        Some(Self { run: word(0)?, flow: word(4)?, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_back() {
        let label = Label { run: 7, flow: 2, number: 1 << 40 };
        let mut payload = [0; 20];
        label.write(&mut payload);
        assert_eq!(Label::read(&payload), Some(label));
        assert_eq!(Label::read(&payload[..15]), None);
    }
}
