//! A batch of transport data messages of one size under one key.

use core::array;

use wg_proto::aead::{Aead, OpenJob, SealJob};
use wg_proto::{RecvKey, SendKey, SessionIndex};

/// Messages in a batch.
pub const BATCH: usize = 64;

/// Plaintext sizes: the smallest packets, voice or DNS, and a full MTU.
pub const SIZES: [usize; 3] = [64, 256, 1420];

/// Bytes of a message in front of what the AEAD seals.
const HEADER: usize = 16;
/// Bytes of header and tag.
const OVERHEAD: usize = 32;

/// Buffers and keys for sealing and opening [`BATCH`] messages in place.
#[derive(Debug)]
pub struct Batch<A> {
    send: SendKey<A>,
    recv: RecvKey<A>,
    message_len: usize,
    counter: u64,
    sealed: Vec<u8>,
    work: Vec<u8>,
}

impl<A: Aead> Batch<A> {
    /// Makes a batch of packets of `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let key = [7; 32];
        let message_len = size + OVERHEAD;
        let mut batch = Self {
            send: SendKey::new(&key, SessionIndex::new(1)),
            recv: RecvKey::new(&key),
            message_len,
            counter: 0,
            sealed: Vec::new(),
            work: vec![0; message_len * BATCH],
        };
        batch.seal();
        batch.sealed.clone_from(&batch.work);
        batch
    }

    /// Writes the headers and seals the batch: the counters go on from the last call.
    ///
    /// # Panics
    ///
    /// If a packet cannot be sealed.
    pub fn seal(&mut self) {
        let first = self.counter;
        let mut messages = (first..).zip(self.work.chunks_exact_mut(self.message_len));
        let mut jobs: [_; BATCH] = array::from_fn(|_| {
            let (counter, message) = messages.next().expect("a batch of messages");
            let buffer = self.send.begin_seal(counter, message).expect("room for header and tag");
            SealJob { key: self.send.cipher(), counter, buffer, result: Ok(()) }
        });
        A::seal_batch(&mut jobs);
        assert!(jobs.iter().all(|job| job.result.is_ok()));
        self.counter += BATCH as u64;
    }

    /// Puts the sealed messages where [`Batch::open`] opens them; to be left out of the measurement.
    pub fn refill(&mut self) {
        self.work.copy_from_slice(&self.sealed);
    }

    /// Opens the batch.
    ///
    /// # Panics
    ///
    /// If a packet does not open: call [`Batch::refill`] first.
    pub fn open(&mut self) {
        let mut messages = (0..).zip(self.work.chunks_exact_mut(self.message_len));
        let mut jobs: [_; BATCH] = array::from_fn(|_| {
            let (counter, message) = messages.next().expect("a batch of messages");
            OpenJob { key: self.recv.cipher(), counter, buffer: &mut message[HEADER..], result: Ok(()) }
        });
        A::open_batch(&mut jobs);
        assert!(jobs.iter().all(|job| job.result.is_ok()));
    }
}

#[cfg(test)]
mod tests {
    use wg_proto::aead::{RingAead, RustCryptoAead};

    use super::*;

    #[test]
    fn both_backends_seal_the_same_and_open_it() {
        for size in SIZES {
            let (mut ring, mut portable) = (Batch::<RingAead>::new(size), Batch::<RustCryptoAead>::new(size));
            assert_eq!(ring.sealed, portable.sealed);
            ring.refill();
            ring.open();
            portable.refill();
            portable.open();
            assert_eq!(ring.work, portable.work);
            assert_ne!(ring.work, ring.sealed);
        }
    }
}
