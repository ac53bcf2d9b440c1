//! The bytes of a fuzzer, read as choices from front to back. Reading never fails: behind the end all is zero.
//!
//! The order is ours and not that of a library for arbitrary values, so that [`crate::seeds`] can write the bytes of an input
//! that means something.

/// What is left of an input.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next bytes; fewer at the end.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// Everything that is left.
    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let head = self.take(N);
        array[..head.len()].copy_from_slice(head);
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A choice among a few.
    pub(crate) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    /// Bytes with their length, a byte, before them.
    pub(crate) fn counted(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.take(len.into())
    }
}

/// Changes bytes as the input says: flips, overwrites, cuts off, adds, or leaves as they are.
pub(crate) fn mutate(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..input.below(4) {
        let at = usize::from(input.u16()) % bytes.len().max(1);
        match input.below(5) {
            0 => {
                let mask = input.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            1 => {
                let new = input.counted();
                for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
                    *byte = *new;
                }
            }
            2 => bytes.truncate(at),
            3 => bytes.extend_from_slice(input.counted()),
            _ => {
                let (a, b) = (usize::from(input.byte()), usize::from(input.byte()));
                if a < bytes.len() && b < bytes.len() {
                    bytes.swap(a, b);
                }
            }
        }
    }
}
