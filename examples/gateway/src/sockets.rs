//! The UDP sockets as the gateway sees them: open while the interface is up, and a port and mark to remember while it is not.

use core::net::SocketAddr;

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, UdpIo};
use wg_sys_linux::{Downgrade, Error, Offloads, Poller, Steering, Token, Udp};

/// What a datagram is refused with while there is no socket: `ENETDOWN`.
const DOWN: i32 = 100;

/// The sockets of a home, if the interface is up.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    udp: Option<Udp>,
}

/// The port of an interface, and how its sockets are to be: a pair for each home.
#[derive(Debug)]
pub(crate) struct Port {
    /// The port to open them on; 0 until one was chosen.
    number: u16,
    mark: u32,
    offloads: Offloads,
    steering: Steering,
}

impl Port {
    /// No port yet.
    pub(crate) const fn new(offloads: Offloads, steering: Steering) -> Self {
        Self { number: 0, mark: 0, offloads, steering }
    }

    /// The port in use, or to be used; 0 if none was chosen yet.
    pub(crate) const fn number(&self) -> u16 {
        self.number
    }

    /// The mark of outgoing packets; 0 is none.
    pub(crate) const fn mark(&self) -> u32 {
        self.mark
    }

    /// How datagrams are steered.
    pub(crate) const fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Has datagrams steered by their counters, to those that receive for each home, or not any more. A failure leaves it as it was.
    pub(crate) fn split(
        &mut self,
        homes: &[&mut Sockets],
        receivers: Option<&[Vec<usize>]>,
    ) -> Result<(), Error> {
        let steering = match receivers {
            Some(lists) => self.steering.split_among(|home| lists.get(home).cloned().unwrap_or_default()),
            None => self.steering.split(false),
        };
        if let Some(udp) = homes.iter().find_map(|sockets| sockets.udp.as_ref()) {
            udp.steer(&steering, &self.steering)?;
        }
        self.steering = steering;
        Ok(())
    }

    /// Opens the sockets of all homes, as far as they are not.
    pub(crate) fn open(&mut self, homes: &mut [&mut Sockets]) -> Result<(), Error> {
        if homes.iter().any(|sockets| sockets.udp.is_none()) {
            self.number = self.replace(homes, self.number)?;
        }
        Ok(())
    }

    /// Closes the sockets; the port is kept for the next time.
    pub(crate) fn close(homes: &mut [&mut Sockets]) {
        homes.iter_mut().for_each(|sockets| sockets.udp = None);
    }

    /// Moves to another port. A failure leaves everything as it was (C93).
    pub(crate) fn set_number(&mut self, homes: &mut [&mut Sockets], port: u16) -> Result<(), Error> {
        let is_open = homes.iter().any(|sockets| sockets.udp.is_some());
        // The port it has already is no change.
        if is_open && (port == 0 || port != self.number) {
            self.number = self.replace(homes, port)?;
        } else {
            self.number = port;
        }
        Ok(())
    }

    /// Opens new sockets for all homes, and closes the old ones after that.
    fn replace(&self, homes: &mut [&mut Sockets], port: u16) -> Result<u16, Error> {
        let members = Udp::bind_group(port, self.mark, self.offloads, &self.steering)?;
        let port = members.first().map_or(port, Udp::port);
        for (sockets, udp) in homes.iter_mut().zip(members) {
            sockets.udp = Some(udp);
        }
        Ok(port)
    }

    /// Sets the mark. A failure leaves the old one.
    pub(crate) fn set_mark(&mut self, homes: &mut [&mut Sockets], mark: u32) -> Result<(), Error> {
        let mut open = homes.iter_mut().filter_map(|sockets| sockets.udp.as_mut());
        if let Some(error) = open.find_map(|udp| udp.set_fwmark(mark).err()) {
            for udp in homes.iter_mut().filter_map(|sockets| sockets.udp.as_mut()) {
                let _ = udp.set_fwmark(self.mark);
            }
            return Err(error);
        }
        self.mark = mark;
        Ok(())
    }
}

impl Sockets {
    /// Takes the next news of an offload that the kernel refused.
    pub(crate) fn take_downgrade(&mut self) -> Option<Downgrade> {
        self.udp.as_mut().and_then(Udp::take_downgrade)
    }

    /// How many datagrams, or trains of them, are received at most until all that wait now have been.
    pub(crate) fn most_waiting(&self) -> usize {
        self.udp.as_ref().map_or(0, Udp::most_waiting)
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

    fn is_drained(&self) -> bool {
        self.udp.as_ref().is_some_and(UdpIo::is_drained)
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

    fn unsent(&self) -> Option<usize> {
        self.udp.as_ref()?.unsent()
    }

    fn waits_at(&self, home: usize) -> bool {
        self.udp.as_ref().is_some_and(|udp| udp.waits_at(home))
    }

    fn take_path_mtu(&mut self) -> Option<(SocketAddr, u16)> {
        self.udp.as_mut()?.take_path_mtu()
    }
}
