//! The tunnel: one peer, one socket, and everything a caller owes a [`Peer`]. This file is the example.
//!
//! Packets and datagrams come in by one channel, so that the wait for them can end at exactly the peer's deadline. Order of
//! every turn: what is due, what came, what happened, what is to be sent.

use core::error::Error;
use core::net::{Ipv4Addr, SocketAddr};
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use getrandom::SysRng;
use rustix::time::{ClockId, clock_gettime};
use wg_proto::aead::RustCryptoAead;
use wg_proto::limits::UNDER_LOAD_HOLD;
use wg_proto::{Config, Endpoint, Event, Handled, Instant, Load, Peer, PrivateKey, SealError, UnixTime};

use crate::packet;

/// Packets kept while there is no session; the oldest goes first.
const MAX_STAGED: usize = 128;

/// Handshake messages in a second above which senders must prove their address.
const MAX_HANDSHAKES: u32 = 100;

/// What comes in.
pub(crate) enum Input {
    /// An IP packet of this host, to be sent through the tunnel.
    Packet(Vec<u8>),
    /// A datagram, and where it came from.
    Datagram(Vec<u8>, SocketAddr),
}

/// One end of a tunnel.
pub(crate) struct Tunnel {
    peer: Peer<PrivateKey, RustCryptoAead>,
    /// The address that packets of the peer must bear.
    peer_inner: Ipv4Addr,
    socket: UdpSocket,
    staged: VecDeque<Vec<u8>>,
    /// Handshake messages since the second began.
    handshakes: (Instant, u32),
}

impl Tunnel {
    pub(crate) fn new(
        identity: PrivateKey,
        config: Config,
        peer_inner: Ipv4Addr,
        socket: UdpSocket,
    ) -> Result<Self, Box<dyn Error>> {
        let peer = Peer::new(identity, config, &mut SysRng)?;
        Ok(Self { peer, peer_inner, socket, staged: VecDeque::new(), handshakes: (monotonic(), 0) })
    }

    /// Runs until nothing can come in any more; `deliver` gets the IP packets of the peer.
    pub(crate) fn run(
        &mut self,
        inputs: &Receiver<Input>,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), SealError> {
        loop {
            self.send_what_is_wanted()?;
            let input = match self.peer.poll_timeout() {
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => inputs.recv_timeout(at.saturating_duration_since(monotonic())),
            };
            if self.peer.poll_timeout().is_some_and(|at| at <= monotonic()) {
                self.peer.handle_timeout(monotonic());
            }
            match input {
                Ok(Input::Packet(packet)) => self.send(packet)?,
                Ok(Input::Datagram(mut datagram, from)) => self.receive(&mut datagram, from, &mut deliver),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Sends a packet, or keeps it until there is a session.
    fn send(&mut self, packet: Vec<u8>) -> Result<(), SealError> {
        let mut datagram = vec![0; self.peer.sealed_len(packet.len())];
        match self.peer.seal(&packet, &mut datagram, monotonic()) {
            Ok(len) => self.transmit(&datagram[..len], self.peer.endpoint().copied()),
            Err(SealError::NoSession) => {
                self.staged.push_back(packet);
                if self.staged.len() > MAX_STAGED {
                    self.staged.pop_front();
                }
                self.peer.initiate(monotonic());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Opens a datagram. Whatever is wrong with it, its sender gets no answer and this host no log line.
    fn receive(&mut self, datagram: &mut [u8], from: SocketAddr, deliver: &mut impl FnMut(&[u8])) {
        let load = self.load(datagram);
        let from = Endpoint::new(SocketAddr::new(from.ip().to_canonical(), from.port()));
        let Ok(Handled::Packet(content)) =
            self.peer.handle(datagram, from, load, monotonic(), wall(), &mut SysRng)
        else {
            return;
        };
        // Behind the packet is padding, and a peer may send only what comes from its own address.
        let Some(packet) = packet::trim(content) else { return };
        if packet::source(packet) == Some(self.peer_inner) {
            deliver(packet);
        }
    }

    /// Counts handshake messages: many of them in a second are a flood.
    fn load(&mut self, datagram: &[u8]) -> Load {
        let (since, count) = &mut self.handshakes;
        if monotonic().saturating_duration_since(*since) >= UNDER_LOAD_HOLD {
            (*since, *count) = (monotonic(), 0);
        }
        *count += u32::from(matches!(datagram.first(), Some(1 | 2)));
        if *count > MAX_HANDSHAKES { Load::UnderLoad } else { Load::Normal }
    }

    /// Follows events, then sends what the peer itself has to say.
    fn send_what_is_wanted(&mut self) -> Result<(), SealError> {
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Established => {
                    for packet in core::mem::take(&mut self.staged) {
                        self.send(packet)?;
                    }
                }
                Event::GaveUp | Event::Expired => self.staged.clear(),
                _ => {}
            }
        }
        let mut out = [0; 148];
        while let Some(sent) = self.peer.poll_transmit(&mut out, monotonic(), wall(), &mut SysRng)? {
            self.transmit(&out[..sent.len], Some(sent.endpoint));
        }
        Ok(())
    }

    /// A datagram that cannot be sent is a datagram lost: the protocol sees to it.
    fn transmit(&self, datagram: &[u8], to: Option<Endpoint>) {
        let _lost = to.map(|to| self.socket.send_to(datagram, to.remote));
    }
}

/// The clock of the timers: it must count the time a machine sleeps.
fn monotonic() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    Instant::from_nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// The clock of the timestamps in initiations.
fn wall() -> UnixTime {
    let time = clock_gettime(ClockId::Realtime);
    UnixTime::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
