//! What is wrong with a configuration file, and where: no text of the file is in it.

use core::fmt;

use super::ResolveError;

/// An error with the line it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfError {
    /// The line, from 1 on.
    pub line: u32,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No section, no key that is known, or no `=`.
    Unrecognized,
    /// A key that is known, but not in this section.
    WrongSection,
    /// A key that only `wg-quick` reads.
    WgQuickOnly,
    /// A key without a value.
    EmptyValue,
    /// Not a key of 44 base64 characters.
    BadKey,
    /// Neither a port nor the name of a service.
    BadPort,
    /// Not `off`, decimal or hexadecimal up to 2^32-1.
    BadFirewallMark,
    /// Not `off` and not 0 to 65535.
    BadKeepalive,
    /// Not an IP address, or not a mask that it can have.
    BadAllowedIp,
    /// Not `host:port` or `[address]:port`.
    BadEndpoint,
    /// A `[Peer]` section, at this line, without `PublicKey`.
    MissingPublicKey,
    /// The file is longer than [`MAX_FILE_LEN`](super::MAX_FILE_LEN).
    TooLong,
    /// More than 65,536 `[Peer]` sections, 2^20 allowed IPs in all, or 65,536 names that later lines replace.
    TooMany,
    /// A name that could not be resolved.
    Resolve(ResolveError),
}

impl From<ResolveError> for ErrorKind {
    fn from(error: ResolveError) -> Self {
        Self::Resolve(error)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unrecognized => "neither a section nor a known key with a value",
            Self::WrongSection => "this key does not belong to this section",
            Self::WgQuickOnly => {
                "this key is for wg-quick: use `wg-quick up`, or pass what `wg-quick strip` prints"
            }
            Self::EmptyValue => "the value is missing",
            Self::BadKey => "not a key: 44 base64 characters, the last of them '='",
            Self::BadPort => "neither a port from 0 to 65535 nor the name of a service",
            Self::BadFirewallMark => "not `off`, and not a number from 0 to 0xffffffff",
            Self::BadKeepalive => "not `off`, and not a number from 0 to 65535",
            Self::BadAllowedIp => "not a list of IP addresses with masks, separated by commas",
            Self::BadEndpoint => "not an endpoint: `host:port` or `[address]:port`",
            Self::MissingPublicKey => "this peer has no PublicKey",
            Self::TooLong => "the file is longer than 16 MiB",
            Self::TooMany => {
                "more than 65536 peers, 1048576 allowed IPs, or 65536 names that later lines replace"
            }
            Self::Resolve(error) => return error.fmt(f),
        })
    }
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

impl core::error::Error for ConfError {}
