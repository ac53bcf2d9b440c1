//! One suite for every backend.

extern crate std;

use std::vec::Vec;
use std::{format, vec};

use super::*;

macro_rules! backend {
    ($name:ident, $backend:ty) => {
        mod $name {
            use super::*;

            #[test]
            fn seals_and_opens_every_length_in_every_form() {
                every_form::<$backend>();
            }

            #[test]
            fn forgery_gives_no_plaintext() {
                forgery::<$backend>();
            }

            #[test]
            fn small_buffers_change_nothing() {
                small_buffers::<$backend>();
            }

            #[test]
            fn agrees_with_the_transport_vector() {
                known_answer::<$backend>();
            }

            #[test]
            fn debug_shows_no_key() {
                assert!(!format!("{:?}", <$backend>::new(&[0x61; 32])).contains("61"));
            }
        }
    };
}

#[cfg(feature = "ring")]
backend!(ring, RingAead);
#[cfg(feature = "rustcrypto")]
backend!(rustcrypto, RustCryptoAead);

#[cfg(all(feature = "ring", feature = "rustcrypto"))]
#[test]
fn backends_agree() {
    let (ours, theirs) = (RustCryptoAead::new(&[3; 32]), RingAead::new(&[3; 32]));
    for len in (0..330).chain([1420, 1452, 9000]) {
        let (mut a, mut b) = (vec![0x5a; len + TAG_LEN], vec![0x5a; len + TAG_LEN]);
        ours.seal_in_place(len as u64, &mut a).unwrap();
        theirs.seal_in_place(len as u64, &mut b).unwrap();
        assert_eq!(a, b, "length {len}");
    }
}

fn every_form<A: Aead>() {
    let key = A::new(&[7; 32]);
    for len in (0..130).chain([1419, 1420, 65_535]) {
        let plain: Vec<u8> = (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        let mut in_place = plain.clone();
        in_place.resize(len + TAG_LEN, 0);
        key.seal_in_place(len as u64, &mut in_place).unwrap();
        let mut out = vec![0xee; len + TAG_LEN + 3];
        assert_eq!(key.seal(len as u64, &plain, &mut out), Ok(len + TAG_LEN));
        assert_eq!(out[..len + TAG_LEN], in_place);
        assert_eq!(out[len + TAG_LEN..], [0xee; 3], "nothing is written behind the tag");
        let mut batched = plain.clone();
        batched.resize(len + TAG_LEN, 0);
        let mut jobs = [SealJob {
            key: &key,
            counter: len as u64,
            buffer: &mut batched,
            result: Err(AeadError::TagMismatch),
        }];
        A::seal_batch(&mut jobs);
        assert_eq!(jobs[0].result, Ok(()));
        assert_eq!(batched, in_place);

        let mut opened = vec![0xee; len + 2];
        assert_eq!(key.open(len as u64, &in_place, &mut opened), Ok(len));
        assert_eq!(opened[..len], plain);
        let mut jobs = [OpenJob {
            key: &key,
            counter: len as u64,
            buffer: &mut batched,
            result: Err(AeadError::TagMismatch),
        }];
        A::open_batch(&mut jobs);
        assert_eq!(jobs[0].result, Ok(()));
        assert_eq!(batched[..len], plain);
        key.open_in_place(len as u64, &mut in_place).unwrap();
        assert_eq!(in_place[..len], plain);
    }
}

fn forgery<A: Aead>() {
    // C26: zero or untouched, and no other counter opens it.
    let key = A::new(&[7; 32]);
    let mut sealed = vec![0xaa; 100 + TAG_LEN];
    key.seal_in_place(5, &mut sealed).unwrap();
    for bit in [0, 8 * 99, 8 * 100, 8 * 115 + 7] {
        let mut forged = sealed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let before = forged.clone();
        assert_eq!(key.open_in_place(5, &mut forged), Err(AeadError::TagMismatch));
        assert!(forged[..100] == before[..100] || forged[..100] == [0; 100]);
        let mut out = [0x77; 100];
        assert_eq!(key.open(5, &before, &mut out), Err(AeadError::TagMismatch));
        assert!(out == [0x77; 100] || out == [0; 100]);
    }
    let mut replayed = sealed.clone();
    assert_eq!(key.open_in_place(6, &mut replayed), Err(AeadError::TagMismatch));
}

fn small_buffers<A: Aead>() {
    let key = A::new(&[7; 32]);
    for len in 0..TAG_LEN {
        let mut buffer = vec![9; len];
        let expected = Err(AeadError::BufferTooSmall { need: TAG_LEN, have: len });
        assert_eq!(key.seal_in_place(0, &mut buffer), expected);
        assert_eq!(key.open_in_place(0, &mut buffer), expected);
        assert_eq!(buffer, vec![9; len]);
    }
    let mut out = [9; 20];
    assert_eq!(key.seal(0, &[1; 5], &mut out), Err(AeadError::BufferTooSmall { need: 21, have: 20 }));
    assert_eq!(key.open(0, &[1; 40], &mut out), Err(AeadError::BufferTooSmall { need: 24, have: 20 }));
    assert_eq!(out, [9; 20]);
}

fn known_answer<A: Aead>() {
    // `key_initiator_to_responder` and `keepalive_counter1` of the handshake vector.
    let key = [
        0xe2, 0x60, 0x4f, 0xac, 0x80, 0x2d, 0xaa, 0x85, 0x26, 0xcd, 0x69, 0x75, 0xb3, 0x58, 0x7a, 0xe9, 0xcc,
        0x56, 0x3a, 0x60, 0x1c, 0x22, 0xc7, 0x07, 0xf7, 0x59, 0xc6, 0x0b, 0x7d, 0x22, 0x24, 0x98,
    ];
    let mut tag = [0; TAG_LEN];
    A::new(&key).seal_in_place(1, &mut tag).unwrap();
    assert_eq!(
        tag,
        [0x08, 0x11, 0x61, 0x0f, 0x1e, 0x92, 0xb7, 0x92, 0x24, 0x71, 0xf8, 0xee, 0x77, 0x1c, 0xb2, 0x0e]
    );
}
