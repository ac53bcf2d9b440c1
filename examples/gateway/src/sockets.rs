//! The UDP sockets as the gateway sees them: open while the interface is up, and a port and mark to remember while it is not.

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, UdpIo};
use wg_sys_linux::{Downgrade, Error, Offloads, Poller, Token, Udp};

/// What a datagram is refused with while there is no socket: `ENETDOWN`.
const DOWN: i32 = 100;

/// The sockets of an interface, if it is up.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    udp: Option<Udp>,
    /// The port to open them on; 0 until one was chosen.
    port: u16,
    mark: u32,
    offloads: Offloads,
}

impl Sockets {
    /// No sockets yet; those to come use these offloads.
    pub(crate) fn new(offloads: Offloads) -> Self {
        Self { offloads, ..Self::default() }
    }

    /// Takes the next news of an offload that the kernel refused.
    pub(crate) fn take_downgrade(&mut self) -> Option<Downgrade> {
        self.udp.as_mut().and_then(Udp::take_downgrade)
    }

    /// The port in use, or to be used; 0 if none was chosen yet.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The mark of outgoing packets; 0 is none.
    pub(crate) const fn mark(&self) -> u32 {
        self.mark
    }

    /// Opens the sockets.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        if self.udp.is_none() {
            let udp = Udp::bind_with(self.port, self.mark, self.offloads)?;
            self.port = udp.port();
            self.udp = Some(udp);
        }
        Ok(())
    }

    /// Closes the sockets; the port is kept for the next time.
    pub(crate) fn close(&mut self) {
        self.udp = None;
    }

    /// Moves to another port. A failure leaves everything as it was (C93).
    pub(crate) fn set_port(&mut self, port: u16) -> Result<(), Error> {
        self.port = match &mut self.udp {
            Some(udp) => udp.rebind(port)?,
            None => port,
        };
        Ok(())
    }

    /// Sets the mark. A failure leaves the old one.
    pub(crate) fn set_mark(&mut self, mark: u32) -> Result<(), Error> {
        if let Some(udp) = &mut self.udp {
            udp.set_fwmark(mark)?;
        }
        self.mark = mark;
        Ok(())
    }

    /// Brings the poller up to date.
    pub(crate) fn register(&mut self, poller: &Poller, token: Token) -> Result<(), Error> {
        self.udp.as_mut().map_or(Ok(()), |udp| udp.register(poller, token))
    }

    /// The sockets were reported writable.
    pub(crate) const fn writable(&mut self) {
        if let Some(udp) = &mut self.udp {
            udp.writable();
        }
    }
}

impl UdpIo for Sockets {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        self.udp.as_mut().map_or(Err(IoError::WouldBlock), |udp| udp.recv(slots))
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        match &mut self.udp {
            Some(udp) => udp.send(transmit),
            None => SendReport { sent: 0, status: SendStatus::Dropped(DOWN) },
        }
    }

    fn take_stale_source(&mut self) -> bool {
        self.udp.as_mut().is_some_and(UdpIo::take_stale_source)
    }
}
