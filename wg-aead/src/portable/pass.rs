//! Passes: a few blocks of keystream side by side, of any packets of a group, and tags that are computed between their rounds.
//!
//! ```text
//!   pass               | 0.0 0.1 0.2 0.3 | 0.4 1.0 1.1 1.2 | 1.3 1.4 2.0 ..   packet.block; block 0 is the one-time key
//!   sealing, between   |                 | tag of 0.1-0.3  | 0.4, 1.1, 1.2    what the pass before encrypted
//!
//!   pass               | 0.0 1.0 2.0 0.1 | 0.2 0.3 0.4 1.1 | 1.2 1.3 2.1 ..   all keys first; then only what is authentic
//!   opening, between   |                 | tags of 1, 2    |                  what will be decrypted later
//! ```
//!
//! Vectors and multiplications have execution units of their own: between the rounds a tag costs little.

use super::chacha20::SIGMA;
use crate::packet::Packet;

/// The most lanes a pass may have.
pub(crate) const LANES: usize = 4;

/// A block of keystream as little-endian words.
pub(crate) type Stream = [u64; 8];

/// A way to compute keystream.
pub(crate) trait Cipher {
    /// How many blocks it computes side by side, up to [`LANES`].
    const LANES: usize;

    /// Computes as many blocks as there are streams, up to [`Cipher::LANES`], and takes some steps of `between`.
    fn pass(blocks: &[Block<'_>], streams: &mut [Stream], between: impl Between);
}

/// What is done between the rounds of a pass.
pub(crate) trait Between {
    /// Does a part of it.
    fn step(&mut self);
}

/// Nothing.
impl Between for () {
    #[inline(always)]
    fn step(&mut self) {}
}

/// What a block of keystream is computed from.
#[derive(Clone, Copy)]
pub(crate) struct Block<'k> {
    /// The key in words.
    pub(crate) key: &'k [u32; 8],
    /// The counter of the packet.
    pub(crate) counter: u64,
    /// The number of the block in it.
    pub(crate) at: u32,
}

impl Block<'_> {
    /// The last row of the state: the number of the block, and the nonce. White paper, section 5.4.6.
    #[expect(clippy::cast_possible_truncation, reason = "the counter is cut into words")]
    #[inline(always)]
    pub(crate) const fn last_row(&self) -> [u32; 4] {
        [self.at, 0, self.counter as u32, (self.counter >> 32) as u32]
    }

    /// The state that the rounds start from.
    #[inline(always)]
    pub(crate) fn state(&self) -> [u32; 16] {
        let mut state = [0; 16];
        state[..4].copy_from_slice(&SIGMA);
        state[4..12].copy_from_slice(self.key);
        state[12..].copy_from_slice(&self.last_row());
        state
    }
}

/// The packets of a group by number.
pub(super) type Members<'g, 'a> = [Option<&'g mut Packet<'a>>];

/// A block of a packet: 0 is the one-time key, all others are for the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) member: usize,
    pub(super) block: usize,
}

/// The blocks of one pass.
pub(super) struct Lanes {
    positions: [Position; LANES],
    pub(super) len: usize,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self { positions: [Position::default(); LANES], len: 0 }
    }

    /// Adds a block; there must be room.
    #[inline]
    pub(super) fn push(&mut self, position: Position) {
        if let Some(slot) = self.positions.get_mut(self.len) {
            *slot = position;
            self.len += 1;
        }
    }

    pub(super) fn positions(&self) -> &[Position] {
        self.positions.get(..self.len).unwrap_or_default()
    }

    /// Computes the keystream.
    #[inline]
    pub(super) fn run<C: Cipher>(
        &self,
        members: &Members<'_, '_>,
        streams: &mut [Stream; LANES],
        between: impl Between,
    ) {
        let mut blocks = [Block { key: &[0; 8], counter: 0, at: 0 }; LANES];
        for (block, position) in blocks.iter_mut().zip(self.positions()) {
            if let Some(Some(packet)) = members.get(position.member) {
                let at = u32::try_from(position.block).unwrap_or(0);
                *block = Block { key: packet.key.words(), counter: packet.counter, at };
            }
        }
        let len = self.len.min(LANES);
        C::pass(&blocks[..len], &mut streams[..len], between);
    }
}

impl Packet<'_> {
    /// Encrypts or decrypts the bytes of a block, which is not 0.
    #[inline]
    pub(super) fn apply(&mut self, block: usize, stream: &Stream) {
        let from = 64 * (block - 1);
        let to = self.text.len().min(from + 64);
        let Some(text) = self.text.get_mut(from..to) else { return };
        if let Some(from) = from.checked_sub(self.lead) {
            let source = self.rest.get(from..).unwrap_or_default();
            match (text.as_chunks_mut::<64>().0, source.as_chunks::<64>().0) {
                ([text], [source, ..]) => {
                    *text = *source;
                }
                _ => {
                    let len = source.len().min(text.len());
                    text[..len].copy_from_slice(&source[..len]);
                    text[len..].fill(0);
                }
            }
        }
        match text.as_chunks_mut::<64>().0 {
            [text] => {
                for (bytes, word) in text.as_chunks_mut::<8>().0.iter_mut().zip(stream) {
                    *bytes = (u64::from_le_bytes(*bytes) ^ word).to_le_bytes();
                }
            }
            _ => {
                for (bytes, word) in text.chunks_mut(8).zip(stream) {
                    for (byte, stream) in bytes.iter_mut().zip(word.to_le_bytes()) {
                        *byte ^= stream;
                    }
                }
            }
        }
    }
}

/// Overwrites the stack below the caller, where the passes have spilled registers.
#[inline(never)]
pub(super) fn wipe_stack() {
    // More than the deepest of them takes, with the tags that go on inside. To write it is all that this function is for, so
    // that a black box keeps the compiler from leaving it out; one word at a time it would take longer than a block.
    core::hint::black_box(&mut [0_u64; 160]);
}
