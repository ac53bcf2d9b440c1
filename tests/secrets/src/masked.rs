//! Secrets to look for, kept so that who looks for them does not find this list.
//!
//! A secret is known here only combined with a mask, byte by byte, and travels so from the process that learned it.

use core::fmt;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What every byte is combined with. None of the forms looked for ([`Form`]) is another form under it.
const MASK: u8 = 0xc3;

/// The bytes that are looked for at once: so many in a row cannot stand anywhere by chance.
pub const WINDOW: usize = 8;

/// What kind of secret; tells how long it may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The static private key of a side.
    StaticPrivate,
    /// A pre-shared key.
    Preshared,
    /// The static-static secret.
    StaticStatic,
    /// An ephemeral private key.
    Ephemeral,
    /// A Diffie-Hellman result with an ephemeral key: es, ee, se.
    Shared,
    /// A chaining key that a secret was mixed into.
    ChainingKey,
    /// The hash, after the pre-shared key was mixed in; before, it can be computed from the wire.
    Hash,
    /// A key of the handshake's AEAD, or the value that the pre-shared key puts into the hash.
    HandshakeKey,
    /// A transport key.
    Transport,
    /// A cookie.
    Cookie,
    /// The secret that cookies are made with.
    CookieSecret,
    /// Keystream of a packet, as it is applied, or by words of the state.
    Keystream,
    /// A one-time key of Poly1305, its powers, or the sum before the second half is added.
    OneTimeKey,
    /// What is in a packet.
    Plaintext,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::StaticPrivate,
        Self::Preshared,
        Self::StaticStatic,
        Self::Ephemeral,
        Self::Shared,
        Self::ChainingKey,
        Self::Hash,
        Self::HandshakeKey,
        Self::Transport,
        Self::Cookie,
        Self::CookieSecret,
        Self::Keystream,
        Self::OneTimeKey,
        Self::Plaintext,
    ];
}

/// In what form a secret might have been left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// Combined with the inner pad of HMAC.
    InnerPad,
    /// Combined with the outer pad of HMAC.
    OuterPad,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::InnerPad, Self::OuterPad];

    const fn pad(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::InnerPad => 0x36,
            Self::OuterPad => 0x5c,
        }
    }
}

/// A secret that is not there.
#[derive(Clone, PartialEq, Eq)]
pub struct Masked {
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub name: String,
    bytes: Vec<u8>,
}

impl Masked {
    /// Masks a secret. To be called in the process that learns, not in the one that looks.
    #[must_use]
    pub fn new(kind: Kind, name: &str, secret: &[u8]) -> Self {
        Self { kind, name: name.to_owned(), bytes: secret.iter().map(|byte| byte ^ MASK).collect() }
    }

    /// Reads the line that `Display` writes.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let kind = Kind::ALL.into_iter().nth(words.next()?.parse().ok()?)?;
        let digits = words.next()?;
        let bytes =
            (0..digits.len() / 2).map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok());
        Some(Self { kind, bytes: bytes.collect::<Option<_>>()?, name: words.next()?.to_owned() })
    }

    /// Whether a text shows four bytes of the secret in a row, or eight digits of it in base64.
    #[must_use]
    pub fn is_shown_in(&self, text: &Text) -> bool {
        let secret: Vec<u8> = self.bytes.iter().map(|byte| byte ^ MASK).collect();
        let base64 = STANDARD.encode(&secret);
        secret.windows(4).any(|window| text.bytes.contains(window))
            || base64.as_bytes().windows(8).any(|window| text.base64.contains(window))
    }

    /// The masked windows of the secret in a form.
    pub fn windows(&self, form: Form) -> impl Iterator<Item = u64> + '_ {
        let pad = u64::from_ne_bytes([form.pad(); WINDOW]);
        self.bytes.windows(WINDOW).filter_map(move |window| {
            let masked = u64::from_ne_bytes(window.try_into().ok()?);
            Some(masked ^ pad)
        })
    }
}

/// A text, as what it might show: every four bytes in a row, written in hex or as a list of numbers, and every eight digits
/// that could be base64.
#[derive(Debug, Default)]
pub struct Text {
    bytes: HashSet<Vec<u8>>,
    base64: HashSet<Vec<u8>>,
}

impl Text {
    /// Takes a text apart.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut shown = Self::default();
        let words: Vec<&str> =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        for radix in [10, 16] {
            // Numbers that follow each other are a list; what is no number ends it.
            let numbers =
                words.iter().map(|word| u8::from_str_radix(word.trim_start_matches("0x"), radix).ok());
            let numbers: Vec<Option<u8>> = numbers.collect();
            shown.bytes.extend(numbers.windows(4).filter_map(|four| four.iter().copied().collect()));
        }
        for word in words {
            // Digits run together, with whatever stands in front of them.
            shown.bytes.extend(word.as_bytes().windows(8).filter_map(|digits| {
                let digits = core::str::from_utf8(digits).ok()?;
                (0..4).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()).collect()
            }));
        }
        shown.base64.extend(text.as_bytes().windows(8).map(<[u8]>::to_vec));
        shown
    }
}

/// Masks what was read from memory, as the windows are.
#[must_use]
pub const fn mask(window: u64) -> u64 {
    window ^ u64::from_ne_bytes([MASK; WINDOW])
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind as usize)?;
        for byte in &self.bytes {
            write!(f, "{byte:02x}")?;
        }
        write!(f, " {}", self.name)
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_hold_no_secret() {
        let secret: Vec<u8> = (1..=32).collect();
        let masked = Masked::new(Kind::Cookie, "of a run", &secret);
        let line = masked.to_string();
        assert_eq!(Masked::parse(&line), Some(masked.clone()));
        assert!(!line.contains("0102030405"), "{line}");
        assert_eq!(masked.windows(Form::Plain).count(), 25);
        let first = u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(masked.windows(Form::Plain).next(), Some(mask(first)));
        let padded = first ^ u64::from_ne_bytes([0x36; 8]);
        assert_eq!(masked.windows(Form::InnerPad).next(), Some(mask(padded)));
        let shown =
            [format!("{secret:?}"), format!("{secret:#?}"), format!("{secret:x?}"), format!("{secret:02X?}")];
        let others = ["x0a0B0c0Dx".to_owned(), STANDARD.encode(&secret)];
        for text in shown.iter().chain(&others) {
            assert!(masked.is_shown_in(&Text::new(text)), "{text}");
        }
        assert!(!masked.is_shown_in(&Text::new("Peer { control: .. }, 10, 12, 13")));
        assert!(Masked::parse("99 00 x").is_none() && Masked::parse("1 0x x").is_none());
    }
}
