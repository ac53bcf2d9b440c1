//! The error numbers of the protocol: those of Linux, by the meaning wireguard-go gives them.

use core::fmt;

/// Why a request failed, as the number the client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// `EIO`: the request was torn, or longer than is accepted.
    pub const IO: Self = Self(5);
    /// `EINVAL`: an unknown key, a key in the wrong section, or a bad value.
    pub const INVALID: Self = Self(22);
    /// `EPROTO`: a line without `=`.
    pub const PROTOCOL: Self = Self(71);
    /// `EADDRINUSE`: the port or the firewall mark was refused.
    pub const IN_USE: Self = Self(98);

    /// Takes an error number of the operating system; `None` unless it is positive.
    #[must_use]
    pub const fn new(code: i32) -> Option<Self> {
        if code > 0 { Some(Self(code)) } else { None }
    }

    /// Returns the number, always positive.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IO => f.write_str("request torn or too long (EIO)"),
            Self::INVALID => f.write_str("unknown key or bad value (EINVAL)"),
            Self::PROTOCOL => f.write_str("line without '=' (EPROTO)"),
            Self::IN_USE => f.write_str("port or mark refused (EADDRINUSE)"),
            Self(code) => write!(f, "error {code}"),
        }
    }
}

impl core::error::Error for Errno {}
