//! One suite for every backend.

extern crate std;

use std::format;

use proptest::prelude::*;

use super::*;
use crate::key::{DhError, PublicKey};

macro_rules! backend {
    ($name:ident, $backend:ty) => {
        mod $name {
            use super::*;

            #[test]
            fn computes_the_published_answers() {
                published_answers::<$backend>();
            }

            #[test]
            fn iterates_as_published() {
                iteration::<$backend>();
            }

            #[test]
            fn low_order_points_are_refused() {
                low_order::<$backend>();
            }

            #[test]
            fn unusual_public_keys_are_taken_as_they_are() {
                unusual_public_keys::<$backend>();
            }

            #[test]
            fn gives_back_its_key_and_prints_none() {
                holds_its_key::<$backend>();
            }
        }
    };
}

#[cfg(feature = "aws-lc")]
backend!(aws_lc, AwsLcDh);
backend!(dalek, PrivateKey);

#[cfg(feature = "aws-lc")]
proptest! {
    #[test]
    fn backends_agree(private: [u8; 32], public: [u8; 32]) {
        // C22: any 32 bytes are a public key, on the curve or on its twist.
        let (ours, theirs) = (PrivateKey::from_bytes(private), AwsLcDh::new(PrivateKey::from_bytes(private)));
        let public = PublicKey::from_bytes(public);
        prop_assert_eq!(ours.public_key(), StaticIdentity::public_key(&theirs));
        prop_assert_eq!(shared(&ours, &public), shared(&theirs, &public));
    }
}

fn shared(key: &impl Dh, their: &PublicKey) -> Result<[u8; 32], DhError> {
    StaticIdentity::diffie_hellman(key, their).map(|shared| *shared.as_bytes())
}

fn key<D: Dh>(bytes: &str) -> D {
    D::new(PrivateKey::from_bytes(unhex(bytes)))
}

fn unhex(text: &str) -> [u8; 32] {
    core::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

fn published_answers<D: Dh>() {
    // RFC 7748, section 5.2; the second public key has its highest bit set, which does not count.
    for (private, public, expected) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(shared(&key::<D>(private), &PublicKey::from_bytes(unhex(public))), Ok(unhex(expected)));
    }
    // Section 6.1.
    let alice: D = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob: D = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let publics = [alice.public_key(), bob.public_key()].map(|public| *public.as_bytes());
    assert_eq!(publics[0], unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(publics[1], unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let expected = Ok(unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
    assert_eq!(shared(&alice, &bob.public_key()), expected);
    assert_eq!(shared(&bob, &alice.public_key()), expected);
}

fn iteration<D: Dh>() {
    // RFC 7748, section 5.2: the key is the secret of the round before, the point the key of the round before.
    let mut private = [0; 32];
    private[0] = 9;
    let mut public = private;
    for round in 1..=1000 {
        let next = shared(&D::new(PrivateKey::from_bytes(private)), &PublicKey::from_bytes(public)).unwrap();
        (private, public) = (next, private);
        if round == 1 {
            assert_eq!(private, unhex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
        }
    }
    assert_eq!(private, unhex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

/// The prime of the field, little-endian, plus a small number.
fn prime_plus(more: i8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed_u8.wrapping_add_signed(more);
    bytes[31] = 0x7f;
    bytes
}

fn low_order<D: Dh>() {
    // C20: orders 1, 2, 4 and 8, each in every encoding there is, with the highest bit clear and set.
    let number = |value: u8| {
        let mut bytes = [0; 32];
        bytes[0] = value;
        bytes
    };
    let points = [
        number(0),
        number(1),
        unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        prime_plus(-1),
        prime_plus(0),
        prime_plus(1),
    ];
    let key = D::new(PrivateKey::from_bytes([7; 32]));
    for mut point in points {
        for high in [0, 0x80] {
            point[31] = point[31] & 0x7f | high;
            assert_eq!(shared(&key, &PublicKey::from_bytes(point)), Err(DhError::LowOrder), "{point:02x?}");
        }
    }
}

fn unusual_public_keys<D: Dh>() {
    // C22: a number above the prime is what it is modulo the prime; the highest bit is not looked at.
    let key = D::new(PrivateKey::from_bytes([7; 32]));
    for small in 2..=18_u8 {
        let mut canonical = [0; 32];
        canonical[0] = small;
        let expected = shared(&key, &PublicKey::from_bytes(canonical));
        assert!(expected.is_ok(), "{small}");
        let mut above = prime_plus(small.try_into().unwrap());
        assert_eq!(shared(&key, &PublicKey::from_bytes(above)), expected, "{small}");
        above[31] |= 0x80;
        assert_eq!(shared(&key, &PublicKey::from_bytes(above)), expected, "{small}");
    }
}

fn holds_its_key<D: Dh + core::fmt::Debug>() {
    // C23, S3
    let key = D::new(PrivateKey::from_bytes([0xab; 32]));
    assert!(*key.as_private_key() == PrivateKey::from_bytes([0xab; 32]));
    let text = format!("{key:?} {key:#?} {key:x?}").to_lowercase();
    assert!(!text.contains("ab") && !text.contains("171"), "{text}");
}
