//! One peer that answers pings: everything a caller owes a [`Peer`], with no allocator and no operating system.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;

use rand_core::TryCryptoRng;
use wg_proto::aead::RustCryptoAead;
use wg_proto::limits::UNDER_LOAD_HOLD;
use wg_proto::{
    Config, DhError, Endpoint, Event, Handled, Instant, Load, Peer, PrivateKey, SealError, UnixTime,
};

use crate::echo::answer;
use crate::settings::Settings;

/// Windows of 32 words, which are 1984 packets wide: a serial line has no more on the way, and it saves 2.2 KiB.
const WINDOW_WORDS: usize = 32;

/// Keeps the way through address translators open, and the session alive.
const PERSISTENT_KEEPALIVE: Duration = Duration::from_secs(25);

/// Handshake messages in a second above which senders must prove their address: each takes this processor some 100 ms.
const MAX_HANDSHAKES: u32 = 4;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Of the timers: it must count the time the board sleeps.
    pub monotonic: Instant,
    /// Of the timestamps in initiations: after a restart it must not be behind where it was.
    pub wall: UnixTime,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Sessions that came about: the first, and the rekeys.
    pub sessions: u32,
    /// Pings that were answered.
    pub pings: u32,
    /// Datagrams that were dropped, by the protocol.
    pub dropped: u32,
    /// Packets that were dropped, as they were no ping or there was no session to answer with.
    pub ignored: u32,
}

/// The peer and what goes with it. `R` is the entropy source of the board.
#[derive(Debug)]
pub struct Node<R> {
    peer: Peer<PrivateKey, RustCryptoAead, WINDOW_WORDS>,
    own: Ipv4Addr,
    other: Ipv4Addr,
    entropy: R,
    counts: Counts,
    /// Handshake messages since the second began.
    handshakes: (Instant, u32),
}

impl<R: TryCryptoRng> Node<R> {
    /// What a peer takes, its answers that wait included.
    pub const PEER_SIZE: usize = size_of::<Peer<PrivateKey, RustCryptoAead, WINDOW_WORDS>>();

    /// Makes a node that will ask for a session with the first [`Self::poll`].
    ///
    /// # Errors
    ///
    /// Those of [`Peer::sized`].
    pub fn new(settings: Settings, mut entropy: R, now: Now) -> Result<Self, DhError> {
        let config = Config {
            endpoint: Some(settings.endpoint.into()),
            persistent_keepalive: PERSISTENT_KEEPALIVE,
            ..Config::new(settings.peer_key)
        };
        Ok(Self {
            peer: Peer::sized(settings.private_key, config, &mut entropy)?,
            own: settings.own,
            other: settings.peer,
            entropy,
            counts: Counts::default(),
            handshakes: (now.monotonic, 0),
        })
    }

    /// Takes a datagram in. If it holds a ping, the answer is written to `out`, and its length returned, to be sent to
    /// where it says.
    pub fn receive(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddrV4,
        now: Now,
        out: &mut [u8],
    ) -> Option<(usize, SocketAddrV4)> {
        self.handle_timeout(now);
        let load = self.load(datagram, now);
        let from = Endpoint::new(from.into());
        let content = match self.peer.handle(datagram, from, load, now.monotonic, now.wall, &mut self.entropy)
        {
            Ok(Handled::Packet(content)) => content,
            Ok(Handled::Keepalive | Handled::Handshake) => return None,
            Err(_) => {
                // Its sender gets no answer.
                self.counts.dropped = self.counts.dropped.saturating_add(1);
                return None;
            }
        };
        let sealed = match answer(content, self.own, self.other) {
            Some(packet) => self.peer.seal(packet, out, now.monotonic),
            // As good as no session: there is nothing to send.
            None => Err(SealError::NoSession),
        };
        match sealed {
            Ok(len) => {
                self.counts.pings = self.counts.pings.saturating_add(1);
                to(self.peer.endpoint()).map(|to| (len, to))
            }
            // An answer that cannot be sent now is not kept: who pings will ask again.
            Err(_) => {
                self.counts.ignored = self.counts.ignored.saturating_add(1);
                None
            }
        }
    }

    /// Does what is due and writes a datagram to `out` that is to be sent, if there is one. To be called until there is
    /// none, after every datagram and at [`Self::deadline`].
    pub fn poll(&mut self, now: Now, out: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
        self.handle_timeout(now);
        while let Some(event) = self.peer.poll_event() {
            self.counts.sessions =
                self.counts.sessions.saturating_add(u32::from(event == Event::Established));
        }
        let sent = self.peer.poll_transmit(out, now.monotonic, now.wall, &mut self.entropy).ok()??;
        to(Some(&sent.endpoint)).map(|to| (sent.len, to))
    }

    /// Returns when [`Self::poll`] is to be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Instant> {
        self.peer.poll_timeout()
    }

    /// Returns what happened so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.peer.poll_timeout().is_some_and(|at| at <= now.monotonic) {
            self.peer.handle_timeout(now.monotonic);
        }
    }

    /// Counts handshake messages: many of them in a second are a flood.
    fn load(&mut self, datagram: &[u8], now: Now) -> Load {
        let (since, count) = &mut self.handshakes;
        if now.monotonic.saturating_duration_since(*since) >= UNDER_LOAD_HOLD {
            (*since, *count) = (now.monotonic, 0);
        }
        *count = count.saturating_add(u32::from(matches!(datagram.first(), Some(1 | 2))));
        if *count > MAX_HANDSHAKES { Load::UnderLoad } else { Load::Normal }
    }
}

/// The line carries IPv4 alone.
fn to(endpoint: Option<&Endpoint>) -> Option<SocketAddrV4> {
    match endpoint?.remote {
        SocketAddr::V4(remote) => Some(remote),
        SocketAddr::V6(_) => None,
    }
}
