//! Frames on a stream of bytes: SLIP, RFC 1055, with a frame mark at both ends, so that noise between frames is a frame of
//! its own and no part of the next.

const END: u8 = 0xc0;
const ESCAPE: u8 = 0xdb;
const ESCAPED_END: u8 = 0xdc;
const ESCAPED_ESCAPE: u8 = 0xdd;

/// Puts the parts of one frame on the line, a byte at a time.
pub fn encode(parts: &[&[u8]], mut put: impl FnMut(u8)) {
    put(END);
    for byte in parts.iter().copied().flatten() {
        match *byte {
            END => [ESCAPE, ESCAPED_END].map(&mut put),
            ESCAPE => [ESCAPE, ESCAPED_ESCAPE].map(&mut put),
            byte => {
                put(byte);
                continue;
            }
        };
    }
    put(END);
}

/// Takes bytes off the line and finds the frames in them, of `N` bytes at most; longer ones are dropped.
#[derive(Clone, Debug)]
pub struct Decoder<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// The frame that ends before the next byte is counted, was handed out.
    done: bool,
    escaped: bool,
    /// What came since the last mark is no frame.
    broken: bool,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Decoder<N> {
    /// Makes a decoder that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0, done: false, escaped: false, broken: false }
    }

    /// Takes a byte in and returns the frame that it ends, if it ends one. The frame may be changed in its place.
    pub fn push(&mut self, byte: u8) -> Option<&mut [u8]> {
        if core::mem::take(&mut self.done) {
            self.len = 0;
        }
        if byte == END {
            let whole = !core::mem::take(&mut self.broken) && !core::mem::take(&mut self.escaped);
            self.done = true;
            self.escaped = false;
            return if whole && self.len > 0 { self.bytes.get_mut(..self.len) } else { None };
        }
        let byte = match (core::mem::take(&mut self.escaped), byte) {
            (false, ESCAPE) => {
                self.escaped = true;
                return None;
            }
            (false, byte) => byte,
            (true, ESCAPED_END) => END,
            (true, ESCAPED_ESCAPE) => ESCAPE,
            (true, _) => {
                self.broken = true;
                return None;
            }
        };
        match self.bytes.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len = self.len.saturating_add(1);
            }
            None => self.broken = true,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn line(frames: &[&[u8]]) -> Vec<u8> {
        let mut line = Vec::new();
        for frame in frames {
            encode(&[frame], |byte| line.push(byte));
        }
        line
    }

    fn frames<const N: usize>(line: &[u8]) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::<N>::new();
        line.iter().filter_map(|byte| decoder.push(*byte).map(|frame| frame.to_vec())).collect()
    }

    #[test]
    fn all_bytes_survive() {
        let every: Vec<u8> = (0..=255).collect();
        let sent: [&[u8]; 4] = [&every, &[END], &[ESCAPE, ESCAPED_END, ESCAPE], b"x"];
        assert_eq!(frames::<256>(&line(&sent)), sent);
        assert!(line(&[&every])[1..258].iter().all(|byte| *byte != END), "the mark is in no frame");
    }

    #[test]
    fn parts_are_one_frame() {
        let mut line = Vec::new();
        encode(&[b"ab", &[END], b"", b"c"], |byte| line.push(byte));
        assert_eq!(frames::<8>(&line), [vec![b'a', b'b', END, b'c']]);
    }

    #[test]
    fn frames_that_are_too_long_are_dropped_alone() {
        assert_eq!(frames::<3>(&line(&[b"abc", b"abcd", b"", b"abc"])), [b"abc", b"abc"]);
    }

    #[test]
    fn noise_costs_one_frame() {
        let mut bytes = vec![b'?', ESCAPE];
        bytes.extend(line(&[b"first"]));
        bytes.extend([b'z', ESCAPE, b'!', b'z']);
        bytes.extend(line(&[b"second"]));
        assert_eq!(frames::<16>(&bytes), [b"first".to_vec(), b"second".to_vec()]);
        // A byte that is lost from each place in turn: the frame after the next mark is whole.
        let whole = line(&[b"a\xc0b", b"next", b"last"]);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes.remove(at);
            let got = frames::<16>(&bytes);
            let intact = got.iter().filter(|frame| [&b"a\xc0b"[..], b"next", b"last"].contains(&&frame[..]));
            assert!(intact.count() >= 2, "without byte {at}: {got:?}");
        }
    }
}
