//! What is taken in at once is what would be taken in one by one.

extern crate std;

use std::format;
use std::vec::Vec;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wg_proto::aead::RustCryptoAead;
use wg_proto::wire::RESPONSE_LEN;
use wg_proto::{Instant, Mac1Key, PrivateKey, UnixTime};

use super::*;
use crate::device::Config;

type TestDevice = Device<RustCryptoAead, ChaCha8Rng>;

const KEY: [u8; 32] = [7; 32];

fn now() -> Now {
    Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) }
}

fn device(handshake_queue: usize) -> TestDevice {
    let config = Config { handshake_queue, ..Config::default() };
    let Ok(mut device) = TestDevice::new(config, ChaCha8Rng::seed_from_u64(1));
    device.set_private_key(Some(PrivateKey::from_bytes(KEY)), now());
    device.set_up(true, now());
    device
}

/// A datagram of any kind but data: most of them messages whose MAC1 is right, some with a second MAC, which proves nothing.
fn any_datagram(rng: &mut ChaCha8Rng, to: &Mac1Key) -> Vec<u8> {
    let choice = rng.next_u32();
    let (kind, len) = match choice % 16 {
        0..=8 => (1, INITIATION_LEN),
        9..=12 => (2, RESPONSE_LEN),
        13 => (3, 64),
        14 => (1, 147),
        _ => (2, 2),
    };
    let mut bytes = std::vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes.iter_mut().zip([kind, 0, 0, 0]).for_each(|(byte, head)| *byte = head);
    if len > 64 && len != 147 {
        to.write(&mut bytes);
        let mac2 = len - 16;
        if choice >> 8 & 3 != 0 {
            bytes[mac2..].fill(0);
        }
        if choice >> 12 & 3 == 0 {
            let at = usize::try_from(choice >> 16).unwrap() % (mac2 - 4) + 4;
            bytes[at] ^= 1;
        }
    }
    bytes
}

#[test]
fn messages_taken_in_at_once_fare_as_one_by_one() {
    // C17, C104-C106
    let to = Mac1Key::new(&PrivateKey::from_bytes(KEY).public_key());
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let from = |number: usize| {
        let host = u8::try_from(number % 5).unwrap();
        Endpoint::new(([192, 0, 2, host], 1000).into())
    };
    for (case, queue) in [8, 16, 40, 100, 1024].into_iter().cycle().take(60).enumerate() {
        let (mut at_once, mut one_by_one) = (device(queue), device(queue));
        for size in [1, 3, 64, 17, 130] {
            let datagrams: Vec<_> =
                (0..size).map(|number| (any_datagram(&mut rng, &to), from(number))).collect();
            let datagrams: Vec<_> = datagrams.iter().map(|(bytes, from)| (&bytes[..], *from)).collect();
            at_once.take_handshakes(&datagrams, now());
            datagrams.iter().for_each(|datagram| one_by_one.take_handshakes(&[*datagram], now()));
            assert_eq!(format!("{:?}", at_once.drops), format!("{:?}", one_by_one.drops), "case {case}");
            assert_eq!(
                format!("{:?}", at_once.handshakes),
                format!("{:?}", one_by_one.handshakes),
                "case {case}"
            );
        }
        let seen = |reason| at_once.drops.get(reason) > 0;
        assert!(seen(DropReason::InvalidMac1) && seen(DropReason::WrongMessageLength), "{:?}", at_once.drops);
        assert_eq!(seen(DropReason::HandshakeQueueFull), queue < 1024, "{:?}", at_once.drops);
    }
}
