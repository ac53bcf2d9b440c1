//! What the board must know: its key, the key and endpoint of its peer, the addresses inside.
//!
//! The emulator hands them over as the command line of the program; a product has them in its flash.

use core::net::{Ipv4Addr, SocketAddrV4};

use wg_proto::{PrivateKey, PublicKey};

/// The settings of a [`Node`](crate::Node).
#[derive(Debug)]
pub struct Settings {
    /// The private key of the board.
    pub private_key: PrivateKey,
    /// The public key of its peer.
    pub peer_key: PublicKey,
    /// Where the peer is reached.
    pub endpoint: SocketAddrV4,
    /// The address of the board inside the tunnel.
    pub own: Ipv4Addr,
    /// The address of the peer inside the tunnel, the only one it may send from.
    pub peer: Ipv4Addr,
}

/// The line is no line of settings: that word is missing, or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsError(pub &'static str);

impl Settings {
    /// Reads `NAME PRIVATE_KEY PEER_KEY ENDPOINT OWN_ADDRESS PEER_ADDRESS`, keys in hexadecimal.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] names the first word that is missing or cannot be read.
    pub fn parse(line: &str) -> Result<Self, SettingsError> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let mut next = |name| words.next().ok_or(SettingsError(name));
        let key = |word, name| hex(word).ok_or(SettingsError(name));
        Ok(Self {
            private_key: PrivateKey::from_bytes(key(next("private key")?, "private key")?),
            peer_key: PublicKey::from_bytes(key(next("key of the peer")?, "key of the peer")?),
            endpoint: next("endpoint")?.parse().map_err(|_| SettingsError("endpoint"))?,
            own: next("own address")?.parse().map_err(|_| SettingsError("own address"))?,
            peer: next("address of the peer")?.parse().map_err(|_| SettingsError("address of the peer"))?,
        })
    }
}

fn hex(word: &str) -> Option<[u8; 32]> {
    let (digits, rest) = word.as_bytes().as_chunks::<2>();
    let digits: &[[u8; 2]; 32] = digits.try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut key = [0; 32];
    for (byte, [high, low]) in key.iter_mut().zip(digits) {
        *byte = u8::try_from(value(*high)? << 4 | value(*low)?).ok()?;
    }
    rest.is_empty().then_some(key)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    #[test]
    fn words_are_read_in_their_order() {
        let (private, peer) = ("08".repeat(32), "aF".repeat(32));
        let line = format!("wg {private} {peer} 192.0.2.1:51820 10.1.0.2 10.1.0.1");
        let settings = Settings::parse(&line).unwrap();
        // C23: clamped.
        assert_eq!((settings.private_key.as_bytes()[1], settings.private_key.as_bytes()[31]), (8, 0x48));
        assert_eq!(settings.peer_key.as_bytes(), &[0xaf; 32]);
        assert_eq!(settings.endpoint, "192.0.2.1:51820".parse().unwrap());
        assert_eq!((settings.own, settings.peer), ([10, 1, 0, 2].into(), [10, 1, 0, 1].into()));
    }

    #[test]
    fn the_word_at_fault_is_named() {
        let key = "08".repeat(32);
        let error = |line: &str| Settings::parse(line).unwrap_err().0;
        assert_eq!(error(""), "private key");
        assert_eq!(error(&format!("wg {}", &key[1..])), "private key");
        assert_eq!(error(&format!("wg {key}0")), "private key");
        assert_eq!(error(&format!("wg {key} {}g", &key[1..])), "key of the peer");
        assert_eq!(error(&format!("wg {key} {key} 192.0.2.1")), "endpoint");
        assert_eq!(error(&format!("wg {key} {key} 192.0.2.1:1 x")), "own address");
        assert_eq!(error(&format!("wg {key} {key} 192.0.2.1:1 10.1.0.2")), "address of the peer");
    }
}
