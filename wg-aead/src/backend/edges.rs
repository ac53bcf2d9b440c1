//! Poly1305 at its edges, on every kernel: numbers next to the modulus, limbs that are full, carries through all of them.
//!
//! A one-time key comes out of ChaCha20, so none with a wanted *r* can be had from outside. Each kernel therefore has, for these
//! tests alone, a function `one_time_tags` that takes such keys; the last number of a sum can be chosen through the ciphertext,
//! and is, through the front door.

mod field;

extern crate std;

use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use self::field::{Element, P, SHORT_OF_P, raw_tag};
use super::Backend;
#[cfg(target_arch = "x86_64")]
use crate::arch;
use crate::{Key, OpenJob, SealJob, portable};

/// A kernel's Poly1305: writes the tag of each text under its one-time key, with zeros up to the end of the last block and the
/// block of the lengths behind it, as the AEAD has it. It takes as many as it is given.
type OneTimeTags = Box<dyn Fn(&[[u8; 32]], &[&[u8]], &mut [[u8; 16]])>;

/// The Poly1305 of every kernel of this machine, by the name of its backend.
fn kernels() -> Vec<(&'static str, OneTimeTags)> {
    let mut kernels: Vec<(&'static str, OneTimeTags)> = vec![("portable", Box::new(portable::one_time_tags))];
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = arch::avx512::Avx512::detect() {
        kernels.push(("avx512", Box::new(move |keys, texts, tags| kernel.one_time_tags(keys, texts, tags))));
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = arch::avx2::Avx2::detect() {
        kernels.push(("avx2", Box::new(move |keys, texts, tags| kernel.one_time_tags(keys, texts, tags))));
    }
    // What has few lanes has its own cipher only.
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
    kernels.push(("sse2", Box::new(portable::one_time_tags)));
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    kernels.push(("neon", Box::new(portable::one_time_tags)));
    kernels
}

#[test]
fn every_kernel_is_here() {
    let kernels = kernels();
    for backend in Backend::available().filter(|backend| !matches!(backend.name(), "ring" | "rustcrypto")) {
        assert!(kernels.iter().any(|(name, _)| *name == backend.name()), "{backend} has no one_time_tags");
    }
}

/// Key, text and tag of RFC 8439: section 2.5.2, and appendix A.3, numbers 1 to 11. There is no block of lengths in these.
const RFC_8439: [(&str, &str, &str); 12] = [
    (
        "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
        "43727970746f6772617068696320466f72756d2052657365617263682047726f7570",
        "a8061dc1305136c6c22b8baf0c0127a9",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
         000000000000000000000000000000",
        "00000000000000000000000000000000",
    ),
    (
        "0000000000000000000000000000000036e5f6b5c5e06070f0efca96227a863e",
        IETF,
        "36e5f6b5c5e06070f0efca96227a863e",
    ),
    (
        "36e5f6b5c5e06070f0efca96227a863e00000000000000000000000000000000",
        IETF,
        "f3477e7cd95417af89a6b8794c310cf0",
    ),
    (
        "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
        "2754776173206272696c6c69672c20616e642074686520736c6974687920746f7665730a446964206779726520616e6420\
         67696d626c6520696e2074686520776162653a0a416c6c206d696d737920776572652074686520626f726f676f7665732c\
         0a416e6420746865206d6f6d65207261746873206f757467726162652e",
        "4541669a7eaaee61e708dc7cbcc5eb62",
    ),
    (
        "0200000000000000000000000000000000000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffff",
        "03000000000000000000000000000000",
    ),
    (
        "02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
        "02000000000000000000000000000000",
        "03000000000000000000000000000000",
    ),
    (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000",
        "05000000000000000000000000000000",
    ),
    (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101",
        "00000000000000000000000000000000",
    ),
    (
        "0200000000000000000000000000000000000000000000000000000000000000",
        "fdffffffffffffffffffffffffffffff",
        "faffffffffffffffffffffffffffffff",
    ),
    (
        "0100000000000000040000000000000000000000000000000000000000000000",
        "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000000001\
         000000000000000000000000000000",
        "14000000000000005500000000000000",
    ),
    (
        "0100000000000000040000000000000000000000000000000000000000000000",
        "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
        "13000000000000000000000000000000",
    ),
];

/// The text of A.3, numbers 2 and 3.
const IETF: &str = "416e79207375626d697373696f6e20746f20746865204945544620696e74656e6465642062792074686520436f6e747269\
    6275746f7220666f72207075626c69636174696f6e20617320616c6c206f722070617274206f6620616e204945544620496e7465726e65742d\
    4472616674206f722052464320616e6420616e792073746174656d656e74206d6164652077697468696e2074686520636f6e74657874206f66\
    20616e204945544620616374697669747920697320636f6e7369646572656420616e20224945544620436f6e747269627574696f6e222e2053\
    7563682073746174656d656e747320696e636c756465206f72616c2073746174656d656e747320696e20494554462073657373696f6e732c20\
    61732077656c6c206173207772697474656e20616e6420656c656374726f6e696320636f6d6d756e69636174696f6e73206d61646520617420\
    616e792074696d65206f7220706c6163652c207768696368206172652061646472657373656420746f";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn key(hex: &str) -> [u8; 32] {
    bytes(hex).try_into().unwrap()
}

/// The tag with the block of the lengths, by the oracle.
fn expected(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let mut blocks = text.to_vec();
    blocks.resize(text.len().next_multiple_of(16) + 8, 0);
    blocks.extend((text.len() as u64).to_le_bytes());
    raw_tag(key, &blocks)
}

/// Every kernel gives the tags of the oracle, whatever the lane and the company.
fn agree(cases: &[([u8; 32], Vec<u8>)]) {
    // In company of other lengths, and of the same.
    let mut sorted = cases.to_vec();
    sorted.sort_by_key(|(_, text)| text.len());
    for (name, one_time_tags) in kernels() {
        for count in [1, 3, 8, 16] {
            for cases in cases.chunks(count).chain(sorted.chunks(count)) {
                let keys: Vec<[u8; 32]> = cases.iter().map(|(key, _)| *key).collect();
                let texts: Vec<&[u8]> = cases.iter().map(|(_, text)| &**text).collect();
                let mut tags = vec![[0; 16]; cases.len()];
                one_time_tags(&keys, &texts, &mut tags);
                for ((key, text), tag) in cases.iter().zip(tags) {
                    let len = text.len();
                    assert!(tag == expected(key, text), "{name}, {len} bytes among {count}, key {key:02x?}");
                }
            }
        }
    }
}

#[test]
fn oracle_gives_the_tags_of_rfc_8439() {
    for (key_hex, text, tag) in RFC_8439 {
        assert_eq!(raw_tag(&key(key_hex), &bytes(text))[..], bytes(tag), "{text}");
    }
}

#[test]
fn keys_and_texts_of_rfc_8439() {
    let keys: Vec<[u8; 32]> = RFC_8439.iter().map(|(hex, ..)| key(hex)).collect();
    let texts: Vec<Vec<u8>> = RFC_8439.iter().map(|(_, hex, _)| bytes(hex)).collect();
    let cases: Vec<_> =
        keys.iter().flat_map(|key| texts.iter().map(move |text| (*key, text.clone()))).collect();
    agree(&cases);
}

/// Halves of keys: *r* that is clamped to nothing, small, full, full in one limb of 26 or 44 bits; *s* likewise.
fn edge_keys() -> Vec<[u8; 32]> {
    let mut rs: Vec<u128> = vec![0, 1, 2, 4, 5, u128::MAX, 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff];
    for bits in [26, 44, 64] {
        for limb in 0..128_u32.div_ceil(bits) {
            rs.push(((1 << bits) - 1) << (bits * limb));
            rs.push(1 << (bits * limb));
        }
    }
    let ss = [0, 1, u128::MAX, u128::from(u64::MAX), 1 << 64, u128::MAX - 4];
    let mut keys = Vec::new();
    for (at, r) in rs.into_iter().enumerate() {
        for s in [ss[at % ss.len()], ss[(at / 2 + 2) % ss.len()]] {
            let mut key = [0; 32];
            key[..16].copy_from_slice(&r.to_le_bytes());
            key[16..].copy_from_slice(&s.to_le_bytes());
            keys.push(key);
        }
    }
    keys
}

#[test]
fn full_and_empty_limbs() {
    let lens = [0, 1, 15, 16, 17, 31, 32, 47, 48, 49, 63, 64, 65, 80, 127, 128, 129, 160, 255, 256, 1000];
    let mut cases = Vec::new();
    for (at, key) in edge_keys().into_iter().enumerate() {
        for byte in [0, 1, 0x7f, 0x80, 0xfb, 0xfe, 0xff] {
            // Another order for each key, so that lengths meet in many ways.
            for turn in 0..lens.len() {
                cases.push((key, vec![byte; lens[(turn * (1 + at % 5) + at) % lens.len()]]));
            }
        }
    }
    agree(&cases);
}

/// Numbers that the sum is to have before *s* is added: next to 0, to *p* and to the powers of two between the limbs.
fn edge_sums() -> Vec<Element> {
    let small = [0, 1, 2, 3, 4, 5, 6, u128::MAX, u128::MAX - 1, u128::MAX - 4];
    let mut sums: Vec<Element> = small.into_iter().map(Element::from).collect();
    sums.extend(SHORT_OF_P.map(|less| Element::from(0).minus(Element::from(less))));
    for bits in [26, 44, 52, 64, 78, 88, 104] {
        sums.extend([(1 << bits) - 1, 1 << bits].map(Element::from));
    }
    sums.extend([Element::from(1 << 127).double(), Element::from(1 << 127).double().double()]);
    sums
}

/// The block that brings a sum to what is wanted, once *r* has been multiplied and the lengths added; `None` if no block does.
fn last_block(before: Element, r: Element, wanted: Element, lengths: Element) -> Option<[u8; 16]> {
    let inverse = r.inverse();
    let number = ((wanted * inverse).minus(lengths) * inverse).minus(before);
    number.without_mark()
}

#[test]
fn sums_next_to_the_modulus() {
    // Ciphertexts that bring the sum of a real key to a chosen number, sealed and opened by every backend.
    let mut packets: Vec<(u64, Vec<u8>, [u8; 16])> = Vec::new();
    let secret = [0x42; 32];
    let (our_key, mut counter) = (Key::new(&secret), 0);
    for wanted in edge_sums() {
        for len in [32_u8, 48, 64, 80, 112, 240] {
            counter += 1;
            let one_time = portable::one_time_key(&our_key, counter);
            let r = Element::clamped(&one_time);
            let lengths = Element::from(1 << 127).double() + Element::from(u128::from(len) << 64);
            // One in four numbers is a block: what stands before it is changed until it is.
            let (text, tag) = (0_u8..=255)
                .find_map(|tried| {
                    let mut text: Vec<u8> = (0..len - 16).map(|at| tried.wrapping_add(at)).collect();
                    let before = field::sum(r, &text);
                    text.extend(last_block(before, r, wanted, lengths)?);
                    Some((text, field::tag(wanted, &one_time)))
                })
                .unwrap();
            assert_eq!(expected(&one_time, &text), tag, "the oracle agrees with the choice");
            packets.push((counter, text, tag));
        }
    }
    for backend in Backend::available().map(Backend::pure) {
        let mut sealed: Vec<Vec<u8>> = packets.iter().map(|(_, text, tag)| [&**text, tag].concat()).collect();
        let before = sealed.clone();
        let counters = || packets.iter().map(|(counter, ..)| *counter);
        let mut jobs: Vec<_> = counters()
            .zip(&mut sealed)
            .map(|(counter, packet)| OpenJob::in_place(&our_key, counter, packet))
            .collect();
        backend.open_batch(&mut jobs);
        let refused = jobs.iter().filter(|job| job.result().is_err()).count();
        assert_eq!(refused, 0, "{backend} of {}", packets.len());
        let mut jobs: Vec<_> = counters()
            .zip(&mut sealed)
            .map(|(counter, packet)| SealJob::in_place(&our_key, counter, packet))
            .collect();
        backend.seal_batch(&mut jobs);
        assert!(sealed == before, "{backend}");
    }
}

#[test]
fn numbers_of_the_field_are_reduced() {
    let minus_one = Element::from(0).minus(Element::from(1));
    assert_eq!(minus_one + Element::from(1), Element::from(0));
    assert_eq!(minus_one * minus_one, Element::from(1));
    assert_eq!(Element::from(77) * Element::from(77).inverse(), Element::from(1));
    let hex: String = P.iter().rev().map(|word| format!("{word:016x}")).collect();
    assert_eq!(hex, "0000000000000003fffffffffffffffffffffffffffffffb");
}
