//! A transport AEAD that counts how often it was made to look at a tag.

use core::cell::Cell;

use wg_proto::aead::{Aead, AeadError};

thread_local! {
    static PASSES: Cell<u64> = const { Cell::new(0) };
}

/// Returns how many times a packet was opened on this thread: each is one pass of Poly1305, and one of ChaCha20 if the tag is
/// right.
#[must_use]
pub fn passes() -> u64 {
    PASSES.get()
}

/// An AEAD, counted.
#[derive(Debug)]
pub struct CountingAead<A>(A);

impl<A: Aead> Aead for CountingAead<A> {
    fn new(key: &[u8; 32]) -> Self {
        Self(A::new(key))
    }

    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        self.0.seal_in_place(counter, buffer)
    }

    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        PASSES.set(PASSES.get() + 1);
        self.0.open_in_place(counter, buffer)
    }

    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        PASSES.set(PASSES.get() + 1);
        self.0.open(counter, ciphertext, out)
    }
}
