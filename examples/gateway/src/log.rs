//! Diagnostics: what `LOG_LEVEL` means, and how a peer is named without giving its whole key.
//!
//! Lines go to standard error. No secret is ever formatted: the key types print their names only.

use core::fmt;
use std::io::{self, IsTerminal};

use base64ct::{Base64, Encoding};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use wg_proto::PublicKey;

/// How much is said, as `LOG_LEVEL` gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// Errors and warnings.
    #[default]
    Error,
    /// Also what happens to peers, handshakes and configuration.
    Debug,
}

impl LogLevel {
    /// Reads the value of `LOG_LEVEL`; anything unknown means errors only, as in wireguard-go.
    #[must_use]
    pub fn from_value(value: &str) -> Self {
        match value {
            "verbose" | "debug" => Self::Debug,
            "silent" => Self::Silent,
            _ => Self::Error,
        }
    }
}

/// Starts logging for the whole process; every line carries the name of the interface.
///
/// A second call changes nothing.
pub fn start(level: LogLevel, interface: &str) {
    let filter = match level {
        LogLevel::Silent => return,
        LogLevel::Error => LevelFilter::WARN,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_timer(Stamp { interface: interface.to_owned() })
        .with_writer(io::stderr)
        .finish();
    // The only error is that logging was started before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The start of each line: the interface, then the time.
struct Stamp {
    interface: String,
}

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "({}) ", self.interface)?;
        SystemTime.format_time(writer)
    }
}

/// Names a peer in a log line by the ends of its key in base64: `peer(AbCd…WxYz)`.
#[derive(Clone, Copy, Debug)]
pub struct PeerName<'a>(pub &'a PublicKey);

impl fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 44 characters, the last of which is always '='.
        let text = Base64::encode_string(self.0.as_bytes());
        write!(f, "peer({}…{})", &text[..4], &text[39..43])
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn levels_are_those_of_wireguard_go() {
        for (value, level) in [
            ("verbose", LogLevel::Debug),
            ("debug", LogLevel::Debug),
            ("error", LogLevel::Error),
            ("silent", LogLevel::Silent),
            ("VERBOSE", LogLevel::Error),
            ("", LogLevel::Error),
        ] {
            assert_eq!(LogLevel::from_value(value), level, "{value:?}");
        }
    }

    #[test]
    fn a_peer_is_named_by_both_ends_of_its_key() {
        let mut bytes = [0; 32];
        bytes[..3].copy_from_slice(&[0x01, 0xb0, 0x9d]);
        bytes[29..].copy_from_slice(&[0x5b, 0x1c, 0xbf]);
        let key = PublicKey::from_bytes(bytes);
        let text = STANDARD.encode(bytes);
        assert!(text.starts_with("AbCd") && text.ends_with("bHL8="), "{text}");
        assert_eq!(PeerName(&key).to_string(), "peer(AbCd…bHL8)");
    }
}
