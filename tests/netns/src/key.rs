//! Keys of the nodes. Made here and not with `wg genkey`, so that the demo needs no `wg`.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// 32 bytes that print as `wg` shows them, in base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 32 random bytes.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("randomness of the system");
        Self(bytes)
    }

    /// The public key that belongs to this private key.
    #[must_use]
    pub fn public(&self) -> Self {
        Self(x25519_dalek::x25519(self.0, x25519_dalek::X25519_BASEPOINT_BYTES))
    }

    /// This private key as X25519 uses it, and as programs show it: bits 0, 1, 2 and 255 cleared, bit 254 set.
    #[must_use]
    pub const fn clamped(mut self) -> Self {
        self.0[0] &= 0xf8;
        self.0[31] = self.0[31] & 0x7f | 0x40;
        self
    }

    /// Reads the 44 characters that `wg` prints.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The 64 digits that the UAPI reads and prints.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads the 64 digits that the UAPI prints.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A private key and its public key.
#[derive(Clone, Copy, Debug)]
pub struct KeyPair {
    /// The private key.
    pub private: Key,
    /// The public key.
    pub public: Key,
}

impl KeyPair {
    /// A new pair, clamped.
    pub fn generate() -> Self {
        let private = Key::random().clamped();
        Self { private, public: private.public() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_back() {
        let key = Key::random();
        assert_eq!(Key::parse(&key.to_string()), Some(key));
        assert_eq!(Key::parse_hex(&key.hex()), Some(key));
        assert_eq!(key.to_string().len(), 44);
        assert_eq!(Key::parse_hex("zz"), None);
        assert_eq!(Key::parse("AAAA"), None);
    }

    #[test]
    fn public_key_is_the_one_of_rfc_7748() {
        // Section 5.2, the first step of the iteration: scalar and point are both 9.
        let private = Key::parse_hex(&format!("09{}", "00".repeat(31))).unwrap();
        assert_eq!(
            private.public().hex(),
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
        );
    }
}
