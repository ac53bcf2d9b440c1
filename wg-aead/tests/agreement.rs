//! Every backend gives the bytes of RustCrypto's `chacha20poly1305`, in every form, length, place and company.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use wg_aead::{AeadError, Backend, Checksum, Key, OpenJob, SealJob, Sum, TAG_LEN};

/// Lengths around every boundary of a kernel: words, blocks of both ciphers, passes, and what users send.
fn lengths() -> impl Iterator<Item = usize> {
    (0..330).chain([511, 512, 513, 1023, 1024, 1025, 1419, 1420, 1421, 1452, 2047, 2048, 2049, 8900, 9000])
}

fn backends() -> Vec<Backend> {
    Backend::available().flat_map(|backend| [backend, backend.pure()]).collect()
}

/// So many cases, or a few of them where an emulator runs the test.
fn cases(all: usize) -> usize {
    if std::env::var_os("WG_FEWER_CASES").is_some() { all.div_ceil(10) } else { all }
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn key_bytes(seed: usize) -> [u8; 32] {
    bytes(32, seed + 77).try_into().unwrap()
}

/// The oracle: ciphertext and tag.
fn sealed(key: usize, counter: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    let mut out = plaintext.to_vec();
    let cipher = ChaCha20Poly1305::new(&key_bytes(key).into());
    let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], out.as_mut_slice().into()).unwrap();
    out.extend_from_slice(&tag);
    out
}

#[test]
fn one_packet_of_every_length() {
    for backend in backends() {
        for len in lengths().chain([65_535]) {
            let (key, counter) = (Key::new(&key_bytes(len)), u64::MAX - len as u64);
            let plain = bytes(len, len);
            let expected = sealed(len, counter, &plain);
            let mut buffer = plain.clone();
            buffer.resize(len + TAG_LEN, 0xee);
            let mut jobs = [SealJob::in_place(&key, counter, &mut buffer)];
            backend.seal_batch(&mut jobs);
            assert_eq!(jobs[0].result(), Ok(()));
            assert!(buffer == expected, "{backend:?} seals {len} bytes");
            let mut jobs = [OpenJob::in_place(&key, counter, &mut buffer)];
            backend.open_batch(&mut jobs);
            assert_eq!(jobs[0].result(), Ok(()), "{backend:?} opens {len} bytes");
            assert!(buffer[..len] == plain, "{backend:?} opens {len} bytes");
        }
    }
}

/// What a batch is made of.
struct Case {
    key: usize,
    counter: u64,
    len: usize,
}

/// How much of a member of a batch stands apart from the rest.
fn head_len(at: usize, plain: &[u8]) -> usize {
    (at * 13 % 131).min(plain.len())
}

/// Seals and opens a batch in every form on every backend, with a forged member here and there.
fn batch(cases: &[Case]) {
    let keys: Vec<Key> = cases.iter().map(|case| Key::new(&key_bytes(case.key))).collect();
    let plain: Vec<Vec<u8>> = cases.iter().enumerate().map(|(at, case)| bytes(case.len, at)).collect();
    let expected: Vec<Vec<u8>> =
        cases.iter().zip(&plain).map(|(case, plain)| sealed(case.key, case.counter, plain)).collect();
    for backend in backends() {
        // In place, from one buffer into another, gathered, and behind a head that is there, each with room before and behind.
        for form in 0..4 {
            let mut outs: Vec<Vec<u8>> = plain
                .iter()
                .enumerate()
                .map(|(at, plain)| {
                    let mut out = vec![0xee; at % 7];
                    out.extend_from_slice(match form {
                        0 => plain,
                        3 => &plain[..head_len(at, plain)],
                        _ => &[],
                    });
                    out.resize(at % 7 + plain.len() + TAG_LEN + 9, 0xee);
                    out
                })
                .collect();
            let mut jobs: Vec<SealJob<'_>> = Vec::new();
            for (at, out) in outs.iter_mut().enumerate() {
                let len = plain[at].len();
                let out = &mut out[at % 7..][..len + TAG_LEN];
                let (key, counter) = (&keys[at], cases[at].counter);
                jobs.push(match form {
                    0 => SealJob::in_place(key, counter, out),
                    1 => SealJob::copy(key, counter, &plain[at], out),
                    2 => {
                        let (head, body) = plain[at].split_at(head_len(at, &plain[at]));
                        SealJob::gather(key, counter, head, body, out)
                    }
                    _ => {
                        let head_len = head_len(at, &plain[at]);
                        SealJob::append(key, counter, out, head_len, &plain[at][head_len..])
                    }
                });
            }
            backend.seal_batch(&mut jobs);
            assert!(jobs.iter().all(|job| job.result() == Ok(())));
            for (at, out) in outs.iter().enumerate() {
                let (before, rest) = out.split_at(at % 7);
                let (text, behind) = rest.split_at(expected[at].len());
                assert!(text == expected[at], "{backend:?}, form {form}, member {at} of {}", cases.len());
                assert!(before.iter().chain(behind).all(|byte| *byte == 0xee), "{backend:?} writes outside");
            }
        }
        for copying in [false, true] {
            let mut sealed = expected.clone();
            for (at, sealed) in sealed.iter_mut().enumerate() {
                if at % 5 == 3 {
                    let bit = at * 37 % (8 * sealed.len());
                    sealed[bit / 8] ^= 1 << (bit % 8);
                }
            }
            let before = sealed.clone();
            let mut outs: Vec<Vec<u8>> = plain.iter().map(|plain| vec![0x77; plain.len() + 3]).collect();
            let mut jobs: Vec<OpenJob<'_>> = Vec::new();
            for (at, (sealed, out)) in sealed.iter_mut().zip(&mut outs).enumerate() {
                let (key, counter) = (&keys[at], cases[at].counter);
                jobs.push(if copying {
                    OpenJob::copy(key, counter, sealed, out).summing()
                } else {
                    OpenJob::in_place(key, counter, sealed).summing()
                });
            }
            backend.open_batch(&mut jobs);
            let results: Vec<_> = jobs.iter().map(|job| (job.result(), job.sum())).collect();
            for (at, (result, sum)) in results.into_iter().enumerate() {
                let len = plain[at].len();
                let got = if copying { &outs[at][..len] } else { &sealed[at][..len] };
                if at % 5 == 3 {
                    assert_eq!(result, Err(AeadError::TagMismatch), "{backend:?}, member {at}");
                    let unchanged = if copying { &[0x77; 70_000][..len] } else { &before[at][..len] };
                    assert!(got == unchanged || got.iter().all(|byte| *byte == 0), "{backend:?}: plaintext");
                    assert_eq!(sum, None);
                } else {
                    assert_eq!(result, Ok(()), "{backend:?}, member {at} of {}", cases.len());
                    assert!(got == plain[at], "{backend:?}, member {at} of {}", cases.len());
                    assert_eq!(sum, Some(Sum::of(&plain[at])), "{backend:?}, member {at}");
                }
                if copying {
                    assert_eq!(outs[at][len..], [0x77; 3], "{backend:?} writes outside");
                }
            }
        }
    }
}

#[test]
fn batches_of_one_length() {
    let counts = [1, 4, 17, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 31, 32, 33, 64, 65, 130];
    for count in counts.into_iter().take(cases(counts.len())) {
        for len in [0, 1, 15, 16, 17, 48, 63, 64, 65, 127, 128, 129, 200, 256, 1420, 1452] {
            let cases: Vec<Case> = (0..count).map(|at| Case { key: 1, counter: at as u64, len }).collect();
            batch(&cases);
        }
    }
}

#[test]
fn batches_of_mixed_lengths_and_keys() {
    for seed in 0..cases(150) {
        let draw = bytes(200, seed);
        let count = 1 + usize::from(draw[0]) % 70;
        let longest = [70, 300, 1500, 5000][seed % 4];
        let cases: Vec<Case> = (0..count)
            .map(|at| {
                let len = usize::from(draw[at + 1]) * usize::from(draw[at + 2]) % longest;
                Case {
                    key: usize::from(draw[at + 3]) % 5,
                    counter: (u64::MAX / 3).wrapping_mul(at as u64),
                    len,
                }
            })
            .collect();
        batch(&cases);
    }
}

#[test]
fn checksum_is_put_where_it_belongs() {
    for backend in backends() {
        let lens = [28, 40, 41, 60, 63, 64, 65, 100, 128, 131, 575, 1400, 1420];
        for (start, offset) in [(20, 6), (20, 16), (40, 6), (40, 16), (60, 16), (21, 6), (62, 2), (0, 10)] {
            for form in 0..4 {
                let key = Key::new(&key_bytes(9));
                let plain: Vec<Vec<u8>> = lens
                    .iter()
                    .filter(|len| **len >= start + offset + 2)
                    .map(|len| bytes(*len, *len))
                    .collect();
                let mut outs: Vec<Vec<u8>> = plain
                    .iter()
                    .map(|plain| {
                        let mut out = plain.clone();
                        // Padding to 16, as the datapath does; in place it is the caller who pads.
                        out.resize(plain.len().next_multiple_of(16) + TAG_LEN, 0);
                        out
                    })
                    .collect();
                let mut jobs: Vec<SealJob<'_>> = outs
                    .iter_mut()
                    .zip(&plain)
                    .enumerate()
                    .map(|(at, (out, plain))| {
                        let job = match form {
                            0 => SealJob::in_place(&key, at as u64, out),
                            1 => SealJob::copy(&key, at as u64, plain, out),
                            2 => {
                                let (head, body) = plain.split_at(40.min(plain.len()));
                                SealJob::gather(&key, at as u64, head, body, out)
                            }
                            _ => {
                                let head_len = 40.min(plain.len());
                                SealJob::append(&key, at as u64, out, head_len, &plain[head_len..])
                            }
                        };
                        job.with_checksum(Checksum { start, offset })
                    })
                    .collect();
                backend.seal_batch(&mut jobs);
                assert!(jobs.iter().all(|job| job.result() == Ok(())));
                for (at, (out, plain)) in outs.iter().zip(&plain).enumerate() {
                    let mut with = plain.clone();
                    let checksum = Sum::of(&plain[start..]).checksum();
                    with[start + offset..][..2].copy_from_slice(&checksum);
                    with.resize(plain.len().next_multiple_of(16), 0);
                    let expected = sealed(9, at as u64, &with);
                    assert!(*out == expected, "{backend:?}, form {form}, {} bytes from {start}", plain.len());
                }
            }
        }
    }
}

#[test]
fn head_that_is_there_is_as_one_that_is_gathered() {
    let key = Key::new(&key_bytes(3));
    let plain = bytes(400, 8);
    for backend in backends() {
        for head_len in 0..=192 {
            for (body, padding) in [(0, 0), (0, 5), (1, 15), (63, 0), (64, 1), (65, 70), (200, 16)] {
                let (head, rest) = plain.split_at(head_len);
                let mut gathered = vec![0xee; head_len + body + padding + TAG_LEN];
                let mut appended = gathered.clone();
                appended[..head_len].copy_from_slice(head);
                let mut jobs = [
                    SealJob::gather(&key, 5, head, &rest[..body], &mut gathered),
                    SealJob::append(&key, 5, &mut appended, head_len, &rest[..body]),
                ];
                backend.seal_batch(&mut jobs);
                assert_eq!(jobs.each_ref().map(SealJob::result), [Ok(()), Ok(())]);
                let mut text = plain[..head_len + body].to_vec();
                text.resize(head_len + body + padding, 0);
                assert!(gathered == appended, "{backend:?}, {head_len} and {body} bytes, {padding} zeros");
                assert!(
                    appended == sealed(3, 5, &text),
                    "{backend:?}, {head_len} and {body}, {padding} zeros"
                );
            }
        }
    }
}

#[test]
fn checksum_in_the_padding_is_outside() {
    let (key, plain) = (Key::new(&key_bytes(3)), bytes(100, 8));
    for len in [0, 1, 2, 30, 62, 63, 64, 65, 100] {
        for head_len in [0, 1, 20, 64] {
            let head_len = head_len.min(len);
            let (head, body) = plain[..len].split_at(head_len);
            for end in len.saturating_sub(2).max(2)..len + 40 {
                let checksum = Checksum { start: 0, offset: end - 2 };
                let mut outs =
                    [vec![0; len + 48 + TAG_LEN], vec![0; len + 48 + TAG_LEN], vec![0; len + 48 + TAG_LEN]];
                let [copied, gathered, appended] = &mut outs;
                appended[..head_len].copy_from_slice(head);
                let jobs = [
                    SealJob::copy(&key, 5, &plain[..len], copied),
                    SealJob::gather(&key, 5, head, body, gathered),
                    SealJob::append(&key, 5, appended, head_len, body),
                ];
                let mut jobs = jobs.map(|job| job.with_checksum(checksum));
                Backend::best().seal_batch(&mut jobs);
                let expected = if end <= len { Ok(()) } else { Err(AeadError::ChecksumOutside) };
                let results = jobs.each_ref().map(SealJob::result);
                assert_eq!(results, [expected; 3], "{head_len} of {len} bytes, checksum up to {end}");
            }
        }
    }
}

#[test]
fn head_that_no_buffer_holds_is_refused() {
    let key = Key::new(&key_bytes(3));
    let mut out = [0xee; 64];
    for head_len in [47, 48, 64, 65, usize::MAX - 17, usize::MAX] {
        let mut jobs = [SealJob::append(&key, 5, &mut out, head_len, &[1, 2])];
        Backend::best().seal_batch(&mut jobs);
        let need = head_len.saturating_add(2 + TAG_LEN).min(u32::MAX as usize);
        assert_eq!(jobs[0].result(), Err(AeadError::BufferTooSmall { need, have: 64 }));
    }
    assert_eq!(out, [0xee; 64], "nothing is written");
    let mut long = vec![0xee; wg_aead::MAX_LEN + 1 + TAG_LEN];
    let mut jobs = [SealJob::append(&key, 5, &mut long, 20, &[1, 2])];
    Backend::best().seal_batch(&mut jobs);
    assert_eq!(jobs[0].result(), Err(AeadError::TooLong { have: wg_aead::MAX_LEN + 1 }));
    assert!(long.iter().all(|byte| *byte == 0xee), "nothing is written");
}
