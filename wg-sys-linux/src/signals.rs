//! SIGINT and SIGTERM as a readable descriptor (U4).

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use crate::Error;

/// Catches SIGINT and SIGTERM for as long as it lives.
///
/// Once one has been made, these signals no longer end the process by themselves, not even after the drop.
#[derive(Debug)]
pub struct Signals {
    reader: UnixStream,
    registered: [SigId; 2],
}

impl Signals {
    /// Starts to catch SIGINT and SIGTERM.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn catch_termination() -> Result<Self, Error> {
        let catch = || {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            let on_interrupt = pipe::register(SIGINT, writer.try_clone()?)?;
            let on_terminate = pipe::register(SIGTERM, writer)?;
            Ok(Self { reader, registered: [on_interrupt, on_terminate] })
        };
        catch().map_err(|error: std::io::Error| Error::new("catch signals", error))
    }

    /// Tells whether a signal came since the last call.
    pub fn received(&mut self) -> bool {
        let mut came = false;
        let mut marks = [0; 64];
        while matches!(self.reader.read(&mut marks), Ok(1..)) {
            came = true;
        }
        came
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered {
            unregister(id);
        }
    }
}
