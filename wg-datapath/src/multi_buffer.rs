//! The transport AEAD over whole batches: `wg-aead` behind the protocol's trait.

use wg_aead::{Backend, Key, OpenJob, SealJob};
use wg_proto::aead::{Aead, AeadError};
use wg_proto::aead::{OpenJob as ProtoOpenJob, SealJob as ProtoSealJob};

use crate::batch::CRYPT_SEGMENTS;
use crate::batch_aead::{BatchAead, OpenSegment, SealSegment, check};

/// A key of the multi-buffer backend: packets of a batch share the lanes of SIMD registers. Wiped on drop.
///
/// The kernel is chosen at run time, and tested before it is trusted: see [`wg_aead::Backend`]. With the feature `ring`, packets
/// that stand alone go to `ring`.
#[cfg_attr(feature = "test-util", derive(Clone))]
pub struct MultiBufferAead(Key);

impl MultiBufferAead {
    /// The name of the kernel that this machine takes.
    #[must_use]
    pub fn kernel() -> &'static str {
        Backend::best().name()
    }

    /// The names of all kernels that this machine has and that pass their test, the best first.
    pub fn kernels() -> impl Iterator<Item = &'static str> {
        Backend::available().map(Backend::name)
    }

    /// Has the whole process take another kernel: to compare them, or because one is not trusted. `false` if this machine has none
    /// of that name, see [`Self::kernels`].
    #[must_use]
    pub fn take_kernel(name: &str) -> bool {
        let found = Backend::available().find(|backend| backend.name() == name);
        found.inspect(|backend| backend.make_best()).is_some()
    }
}

impl Aead for MultiBufferAead {
    fn new(key: &[u8; 32]) -> Self {
        Self(Key::new(key))
    }

    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        self.0.seal_in_place(counter, buffer).map_err(translate)
    }

    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        self.0.open_in_place(counter, buffer).map_err(translate)
    }

    fn seal(&self, counter: u64, plaintext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        self.0.seal(counter, plaintext, out).map_err(translate)
    }

    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        self.0.open(counter, ciphertext, out).map_err(translate)
    }

    fn seal_batch(jobs: &mut [ProtoSealJob<'_, Self>]) {
        let backend = Backend::best();
        for jobs in jobs.chunks_mut(CRYPT_SEGMENTS) {
            let mut batch = heapless::Vec::<SealJob<'_>, CRYPT_SEGMENTS>::new();
            batch.extend(jobs.iter_mut().map(|job| SealJob::in_place(&job.key.0, job.counter, job.buffer)));
            backend.seal_batch(&mut batch);
            let mut results = [Ok(()); CRYPT_SEGMENTS];
            for (result, job) in results.iter_mut().zip(&batch) {
                *result = job.result();
            }
            drop(batch);
            for (job, result) in jobs.iter_mut().zip(results) {
                job.result = result.map_err(translate);
            }
        }
    }

    fn open_batch(jobs: &mut [ProtoOpenJob<'_, Self>]) {
        let backend = Backend::best();
        for jobs in jobs.chunks_mut(CRYPT_SEGMENTS) {
            let mut batch = heapless::Vec::<OpenJob<'_>, CRYPT_SEGMENTS>::new();
            batch.extend(jobs.iter_mut().map(|job| OpenJob::in_place(&job.key.0, job.counter, job.buffer)));
            backend.open_batch(&mut batch);
            let mut results = [Ok(()); CRYPT_SEGMENTS];
            for (result, job) in results.iter_mut().zip(&batch) {
                *result = job.result();
            }
            drop(batch);
            for (job, result) in jobs.iter_mut().zip(results) {
                job.result = result.map_err(translate);
            }
        }
    }
}

impl BatchAead for MultiBufferAead {
    fn seal_segments(jobs: &mut [SealSegment<'_, Self>]) {
        let backend = Backend::best();
        for jobs in jobs.chunks_mut(CRYPT_SEGMENTS) {
            let mut batch = heapless::Vec::<SealJob<'_>, CRYPT_SEGMENTS>::new();
            let mut results = heapless::Vec::<_, CRYPT_SEGMENTS>::new();
            for job in jobs {
                job.result = check(job);
                let SealSegment { key, counter, out, head_len, body, checksum, result } = job;
                // What cannot be done is refused before anything is copied.
                if result.is_err() {
                    continue;
                }
                let sealed = SealJob::append(&key.0, *counter, out, *head_len, body);
                let added = batch
                    .push(match *checksum {
                        Some(checksum) => sealed.with_checksum(checksum),
                        None => sealed,
                    })
                    .is_ok()
                    && results.push(result).is_ok();
                debug_assert!(added, "no more than there is room for");
            }
            backend.seal_batch(&mut batch);
            for (result, job) in results.iter_mut().zip(&batch) {
                **result = job.result().map_err(translate);
            }
        }
    }

    fn open_segments(jobs: &mut [OpenSegment<'_, Self>]) {
        let backend = Backend::best();
        for jobs in jobs.chunks_mut(CRYPT_SEGMENTS) {
            let mut batch = heapless::Vec::<OpenJob<'_>, CRYPT_SEGMENTS>::new();
            let mut results = heapless::Vec::<_, CRYPT_SEGMENTS>::new();
            for job in jobs {
                let OpenSegment { key, counter, buffer, sum, result } = job;
                let added = batch.push(OpenJob::in_place(&key.0, *counter, buffer).summing()).is_ok()
                    && results.push((result, sum)).is_ok();
                debug_assert!(added, "no more than there is room for");
            }
            backend.open_batch(&mut batch);
            for ((result, sum), job) in results.iter_mut().zip(&batch) {
                **result = job.result().map_err(translate);
                **sum = job.sum().unwrap_or_default();
            }
        }
    }
}

impl core::fmt::Debug for MultiBufferAead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MultiBufferAead(..)")
    }
}

/// The same error, in the words of the protocol.
const fn translate(error: wg_aead::AeadError) -> AeadError {
    match error {
        wg_aead::AeadError::BufferTooSmall { need, have } => AeadError::BufferTooSmall { need, have },
        wg_aead::AeadError::TooLong { have } => AeadError::TooLong { have },
        // What is left is for checksums, which were looked at before, and for jobs that were not run.
        _ => AeadError::TagMismatch,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use wg_proto::aead::{RingAead, RustCryptoAead};
    use wg_proto::wire::TAG_LEN;

    use super::*;

    fn text(len: usize) -> Vec<u8> {
        let mut text: Vec<u8> = (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap_or(0)).collect();
        text.resize(len + TAG_LEN, 0);
        text
    }

    #[test]
    fn every_form_gives_what_the_portable_one_gives() {
        let (ours, theirs) = (MultiBufferAead::new(&[7; 32]), RustCryptoAead::new(&[7; 32]));
        for len in (0..200).chain([1420, 65_535]) {
            let plain = text(len);
            let mut expected = plain.clone();
            theirs.seal_in_place(5, &mut expected).unwrap();
            let (mut in_place, mut copied) = (plain.clone(), vec![0xee; len + TAG_LEN + 1]);
            ours.seal_in_place(5, &mut in_place).unwrap();
            assert_eq!(in_place, expected);
            assert_eq!(ours.seal(5, &plain[..len], &mut copied), Ok(len + TAG_LEN));
            assert_eq!(copied[..len + TAG_LEN], expected);
            let mut opened = vec![0xee; len];
            assert_eq!(ours.open(5, &expected, &mut opened), Ok(len));
            assert_eq!(opened, plain[..len]);
            ours.open_in_place(5, &mut in_place).unwrap();
            assert_eq!(in_place[..len], plain[..len]);
        }
    }

    #[test]
    fn batch_of_any_size_reports_for_each() {
        let keys = [MultiBufferAead::new(&[1; 32]), MultiBufferAead::new(&[2; 32])];
        let theirs = [RingAead::new(&[1; 32]), RingAead::new(&[2; 32])];
        for count in [1, 2, 15, 17, 64, 65, 150] {
            let mut buffers: Vec<Vec<u8>> = (0..count).map(|at| text(at * 31 % 1500)).collect();
            // A buffer that holds no tag, beside others.
            buffers[count / 2].truncate(TAG_LEN - 1);
            let pending = Err(AeadError::TagMismatch);
            let mut jobs: Vec<_> = buffers
                .iter_mut()
                .enumerate()
                .map(|(at, buffer)| ProtoSealJob {
                    key: &keys[at % 2],
                    counter: at as u64,
                    buffer,
                    result: pending,
                })
                .collect();
            MultiBufferAead::seal_batch(&mut jobs);
            let too_small = Err(AeadError::BufferTooSmall { need: TAG_LEN, have: TAG_LEN - 1 });
            for (at, job) in jobs.iter().enumerate() {
                assert_eq!(job.result, if at == count / 2 { too_small } else { Ok(()) }, "{at} of {count}");
            }
            drop(jobs);
            for (at, buffer) in buffers.iter().enumerate().filter(|(at, _)| *at != count / 2) {
                let len = at * 31 % 1500;
                let mut opened = buffer.clone();
                theirs[at % 2].open_in_place(at as u64, &mut opened).unwrap();
                assert_eq!(opened[..len], text(len)[..len]);
            }
            // Every third is forged, and its neighbours do not suffer for it.
            for buffer in buffers.iter_mut().step_by(3) {
                if let Some(byte) = buffer.last_mut() {
                    *byte ^= 1;
                }
            }
            let mut jobs: Vec<_> = buffers
                .iter_mut()
                .enumerate()
                .map(|(at, buffer)| ProtoOpenJob {
                    key: &keys[at % 2],
                    counter: at as u64,
                    buffer,
                    result: Ok(()),
                })
                .collect();
            MultiBufferAead::open_batch(&mut jobs);
            for (at, job) in jobs.iter().enumerate() {
                let expected = match at {
                    _ if at == count / 2 => too_small,
                    _ if at % 3 == 0 => Err(AeadError::TagMismatch),
                    _ => Ok(()),
                };
                assert_eq!(job.result, expected, "{at} of {count}");
            }
        }
    }

    #[test]
    fn a_kernel_is_taken_by_its_name() {
        let best = MultiBufferAead::kernel();
        // Other tests run meanwhile, and all give the same bytes.
        for name in MultiBufferAead::kernels().collect::<Vec<_>>() {
            assert!(MultiBufferAead::take_kernel(name));
            assert_eq!(MultiBufferAead::kernel(), name);
        }
        assert!(!MultiBufferAead::take_kernel("quick"));
        assert!(
            MultiBufferAead::take_kernel(best) && MultiBufferAead::kernels().any(|name| name == "portable")
        );
    }

    #[test]
    fn what_no_packet_can_be_is_refused() {
        let key = MultiBufferAead::new(&[7; 32]);
        let mut buffer = text(65_536);
        let before = buffer.clone();
        assert_eq!(key.seal_in_place(0, &mut buffer), Err(AeadError::TooLong { have: 65_536 }));
        assert_eq!(key.open_in_place(0, &mut buffer), Err(AeadError::TooLong { have: 65_536 }));
        assert_eq!(buffer, before);
    }
}
