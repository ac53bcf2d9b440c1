//! The key log: **gives the secrets of every session away**, so that other programs can decrypt a capture of it.
//!
//! It exists only when the crate is built with the feature `key-log`, which is never on by default and has no place in a
//! program that serves users. Even then nothing is logged before a program sets a [`KeyLog`]. Who reads a log reads all
//! traffic recorded beside it, and with the static key in it can pose as its owner.
//!
//! Written out line by line, the records are what tshark takes with `-o wg.keylog_file:FILE`. It needs the static private
//! key of one of the two sides: if both are held outside of memory ([`crate::StaticIdentity`]), a log of ephemeral keys
//! decrypts nothing.

use core::fmt;

use crate::key::{KEY_LEN, PresharedKey, PrivateKey, PublicKey};

/// Takes secrets away to where a test can use them. See the warning of [`KeyLogRecord`].
pub trait KeyLog: Sync {
    /// Takes a record. Records of one peer must be kept in order; none may be torn apart.
    fn log(&self, record: KeyLogRecord<'_>);
}

/// Secrets on their way out, together because they only mean something together.
///
/// **To format one is to write private keys.** `Display` gives lines of the form `NAME = base64`, each with its end;
/// `Debug` shows nothing.
#[derive(Clone, Copy)]
pub enum KeyLogRecord<'a> {
    /// A peer was configured, or the static key of this side changed.
    Static {
        /// The static private key of this side, if it is in memory.
        local_private: Option<&'a PrivateKey>,
        /// The static public key of the peer.
        remote_public: &'a PublicKey,
    },
    /// A handshake message was created, or the pre-shared key changed while one waits for its answer.
    Handshake {
        /// The ephemeral private key of this side.
        ephemeral_private: &'a PrivateKey,
        /// The pre-shared key the handshake will end with; all zero for none.
        preshared: &'a PresharedKey,
    },
}

impl fmt::Display for KeyLogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, key: &[u8; KEY_LEN]| writeln!(f, "{name} = {}", Base64(key));
        match self {
            Self::Static { local_private, remote_public } => {
                if let Some(key) = local_private {
                    line("LOCAL_STATIC_PRIVATE_KEY", key.as_bytes())?;
                }
                line("REMOTE_STATIC_PUBLIC_KEY", remote_public.as_bytes())
            }
            Self::Handshake { ephemeral_private, preshared } => {
                line("LOCAL_EPHEMERAL_PRIVATE_KEY", ephemeral_private.as_bytes())?;
                line("PRESHARED_KEY", preshared.as_bytes())
            }
        }
    }
}

impl fmt::Debug for KeyLogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static { .. } => "Static(..)",
            Self::Handshake { .. } => "Handshake(..)",
        })
    }
}

/// The place where a log is kept: none until one is set.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hook(Option<&'static dyn KeyLog>);

impl Hook {
    pub(crate) const fn new(log: Option<&'static dyn KeyLog>) -> Self {
        Self(log)
    }

    pub(crate) fn log(self, record: KeyLogRecord<'_>) {
        if let Some(log) = self.0 {
            log.log(record);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "KEYS ARE LOGGED" } else { "none" })
    }
}

/// A key in base64, with padding (RFC 4648, section 4). By table: what is on its way into a file has no timing to hide.
struct Base64<'a>(&'a [u8; KEY_LEN]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for group in self.0.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for digit in 0..4 {
                let sextet = (bits >> (18 - 6 * digit)) & 0x3f;
                let letter = ALPHABET.get(sextet as usize).filter(|_| digit <= group.len());
                f.write_char(letter.map_or('=', |letter| char::from(*letter)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString as _;
    use std::{format, vec};

    use super::*;

    #[test]
    fn records_are_the_lines_that_tshark_reads() {
        let private = PrivateKey::from_bytes([0x40; 32]);
        let public = PublicKey::from_bytes(core::array::from_fn(|at| u8::try_from(at).unwrap()));
        let psk = PresharedKey::from_bytes([0xff; 32]);
        let known = KeyLogRecord::Static { local_private: Some(&private), remote_public: &public };
        assert_eq!(
            known.to_string(),
            "LOCAL_STATIC_PRIVATE_KEY = QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=\n\
             REMOTE_STATIC_PUBLIC_KEY = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        );
        let outside = KeyLogRecord::Static { local_private: None, remote_public: &public };
        assert_eq!(outside.to_string().lines().count(), 1, "no line for a key that is not in memory");
        let handshake = KeyLogRecord::Handshake { ephemeral_private: &private, preshared: &psk };
        assert_eq!(
            handshake.to_string(),
            "LOCAL_EPHEMERAL_PRIVATE_KEY = QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=\n\
             PRESHARED_KEY = //////////////////////////////////////////8=\n"
        );
        assert_eq!(format!("{known:?} {handshake:?}"), "Static(..) Handshake(..)");
    }

    #[test]
    fn hook_without_a_log_takes_nothing_and_shows_nothing() {
        struct Count(std::sync::Mutex<vec::Vec<std::string::String>>);
        impl KeyLog for Count {
            fn log(&self, record: KeyLogRecord<'_>) {
                self.0.lock().unwrap().push(format!("{record:?}"));
            }
        }
        static COUNT: Count = Count(std::sync::Mutex::new(vec![]));
        let public = PublicKey::from_bytes([1; 32]);
        for hook in [Hook::default(), Hook::new(Some(&COUNT))] {
            hook.log(KeyLogRecord::Static { local_private: None, remote_public: &public });
        }
        assert_eq!(*COUNT.0.lock().unwrap(), ["Static(..)"]);
        assert_eq!(format!("{:?} {:?}", Hook::default(), Hook::new(Some(&COUNT))), "none KEYS ARE LOGGED");
    }
}
