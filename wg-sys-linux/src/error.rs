//! The error of this crate: what was tried, and what the kernel said.

use core::fmt;
use std::io;

/// A failed operation: its name and the error of the system.
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    source: io::Error,
}

impl Error {
    /// Names the operation that failed with `source`.
    #[must_use]
    pub fn new(operation: &'static str, source: impl Into<io::Error>) -> Self {
        Self { operation, source: source.into() }
    }

    /// A function for `map_err` that names the operation.
    pub(crate) fn during<E: Into<io::Error>>(operation: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::new(operation, source)
    }

    /// Returns the name of the operation, such as "bind the IPv4 socket".
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Returns the error of the system.
    #[must_use]
    pub const fn io_error(&self) -> &io::Error {
        &self.source
    }

    /// Returns the kind of the error of the system.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns the error number, if the kernel gave one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.operation, self.source)
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_errno_and_names_the_operation() {
        let error = Error::new("bind the IPv4 socket", rustix::io::Errno::ADDRINUSE);
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with("cannot bind the IPv4 socket: "), "{error}");
    }
}
