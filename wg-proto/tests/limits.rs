//! Numbers that others rely on, pinned from outside the crate against literals, and the sizes of what a caller keeps.

use wg_proto::aead::{RingAead, RustCryptoAead};
use wg_proto::limits::*;
use wg_proto::wire::{
    COOKIE_REPLY_LEN, INITIATION_LEN, KEEPALIVE_LEN, MAX_DATAGRAM, RESPONSE_LEN, TAG_LEN,
    TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD,
};
use wg_proto::{
    Control, Inline, KEY_LEN, Keypair, Peer, PrivateKey, RateLimiter, RecvKey, ReplayWindow, SendKey,
    Sessions, noise, padded_len,
};

#[test]
fn constants_of_the_protocol() {
    assert_eq!(REKEY_AFTER_MESSAGES, 1_152_921_504_606_846_976); // C57
    assert_eq!(REJECT_AFTER_MESSAGES, 18_446_744_073_709_543_423); // C58
    assert_eq!((REPLAY_WINDOW, REPLAY_WORDS), (8_128, 128)); // C77
    assert_eq!(MAX_RETRANSMISSIONS, 19); // C118
    let millis = [
        (REKEY_AFTER_TIME, 120_000),
        (REJECT_AFTER_TIME, 180_000),
        (REKEY_ATTEMPT_TIME, 90_000),
        (REKEY_TIMEOUT, 5_000),
        (KEEPALIVE_TIMEOUT, 10_000),
        (COOKIE_SECRET_MAX_AGE, 120_000),
        (COOKIE_LIFETIME, 115_000),
        (MAX_JITTER, 333),
        (REKEY_ON_RECEIVE_AFTER, 165_000),
        (NO_ANSWER_TIMEOUT, 15_000),
        (ZERO_KEYS_AFTER, 540_000),
        (INITIATION_INTERVAL, 20),
        (CROSSING_DELAY, 2_500),
        (CROSSING_JITTER, 2_500),
        (UNDER_LOAD_HOLD, 1_000),
    ];
    for (number, (constant, expected)) in millis.into_iter().enumerate() {
        assert_eq!(constant.as_millis(), expected, "row {number}");
        assert_eq!(constant.subsec_nanos() % 1_000_000, 0, "row {number}");
    }
    assert_eq!((LIMITER_PER_SECOND, LIMITER_BURST), (20, 5)); // C113
}

#[test]
fn one_side_that_yields_is_out_of_the_others_reach() {
    // C39: for one-way delays of 1 s and more, both jitters included.
    let last_try = REKEY_TIMEOUT + MAX_JITTER;
    let first_yield = REKEY_TIMEOUT + CROSSING_DELAY;
    assert!(first_yield - last_try > core::time::Duration::from_secs(2));
}

#[test]
fn lengths_on_the_wire() {
    // C2-C5, C66
    assert_eq!((INITIATION_LEN, RESPONSE_LEN, COOKIE_REPLY_LEN, KEEPALIVE_LEN), (148, 92, 64, 32));
    assert_eq!((TAG_LEN, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD), (16, 16, 32));
    assert_eq!((KEY_LEN, MAX_DATAGRAM), (32, 65_527));
    assert_eq!((noise::CONSTRUCTION.len(), noise::IDENTIFIER.len()), (37, 34)); // C10
}

#[test]
fn padding() {
    // C65
    let table = [(0, 0), (1, 16), (17, 32), (84, 96), (1408, 1408), (1409, 1420), (1420, 1420), (1421, 1436)];
    for (len, padded) in table {
        assert_eq!(padded_len(len, 1420), padded, "{len}");
    }
    assert_eq!(padded_len(1300, 1300), 1300);
    for mtu in [0, 1, 15, 16, 17, 576, 1280, 1420, 65_503] {
        for len in 0..4000 {
            let padded = padded_len(len, mtu);
            assert!(padded >= len && padded - len < 16, "{len} at {mtu}");
            assert!(mtu == 0 || len > mtu || padded <= mtu, "{len} at {mtu}");
        }
    }
}

#[test]
fn sizes_are_bounded() {
    // Without an allocator every one of these is somebody's memory.
    type Pair<A> = Keypair<SendKey<A>, RecvKey<A>>;
    let sizes = [
        ("Peer, ring", size_of::<Peer<PrivateKey, RingAead>>(), 5632),
        ("Peer, RustCrypto", size_of::<Peer<PrivateKey, RustCryptoAead>>(), 5632),
        ("Peer, RustCrypto, small windows", size_of::<Peer<PrivateKey, RustCryptoAead, 32>>(), 3328),
        ("Control", size_of::<Control>(), 448),
        ("Sessions, in place", size_of::<Sessions<Inline<Pair<RingAead>>>>(), 3712),
        ("Sessions, boxed", size_of::<Sessions<Box<Pair<RingAead>>>>(), 192),
        ("Keypair", size_of::<Pair<RingAead>>(), 1152),
        ("ReplayWindow", size_of::<ReplayWindow>(), 1032),
        ("RateLimiter of 16", size_of::<RateLimiter<16>>(), 512),
    ];
    for (what, size, bound) in sizes {
        println!("{what}: {size} bytes");
        assert!(size <= bound, "{what}: {size} bytes, where {bound} were meant");
    }
}
