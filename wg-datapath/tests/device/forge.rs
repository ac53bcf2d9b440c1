//! Handshake messages as an attacker, or a peer of his own making, might write them.

use core::net::SocketAddr;

use wg_datapath::memory::Datagram;
use wg_datapath::proto::noise::create_initiation;
use wg_datapath::proto::{Mac1Key, PrivateKey, PublicKey, SessionIndex, Tai64n, UnixTime};

/// An address that belongs to no end.
pub(crate) fn stranger() -> SocketAddr {
    ([198, 51, 100, 7], 777).into()
}

pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Datagram {
    Datagram { from, to, tos: 0, bytes: bytes.to_vec() }
}

/// The initiation of whoever holds `key`, stamped with `stamp`, with a right MAC1 and no MAC2.
pub(crate) fn initiation(key: &PrivateKey, to: &PublicKey, stamp: UnixTime, index: u32) -> [u8; 148] {
    let static_static = key.diffie_hellman(to).unwrap();
    let mut ephemeral = [7; 32];
    ephemeral[..4].copy_from_slice(&index.to_le_bytes());
    ephemeral[4..8].copy_from_slice(&stamp.nanos().to_le_bytes());
    let ephemeral = PrivateKey::from_bytes(ephemeral);
    let (stamp, index) = (Tai64n::from_unix(stamp), SessionIndex::new(index));
    let (_, mut message) =
        create_initiation(&key.public_key(), to, &static_static, stamp, ephemeral, index).unwrap();
    Mac1Key::new(to).write(&mut message);
    message
}

/// Bytes that pass for an initiation as far as MAC1 goes.
pub(crate) fn junk_initiation(to: &PublicKey, number: u32) -> [u8; 148] {
    let mut message = [0xa5; 148];
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    message[4..8].copy_from_slice(&number.to_le_bytes());
    message[132..].fill(0);
    with_mac1(to, message)
}

/// Bytes that pass for a response as far as MAC1 goes.
pub(crate) fn junk_response(to: &PublicKey, receiver_index: u32) -> [u8; 92] {
    let mut message = [0xa5; 92];
    message[..4].copy_from_slice(&[2, 0, 0, 0]);
    message[8..12].copy_from_slice(&receiver_index.to_le_bytes());
    message[76..].fill(0);
    with_mac1(to, message)
}

/// A message with its MAC1 made right for its receiver.
pub(crate) fn with_mac1<const N: usize>(to: &PublicKey, mut message: [u8; N]) -> [u8; N] {
    Mac1Key::new(to).write(&mut message);
    message
}
