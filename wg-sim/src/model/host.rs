//! One side of a model: a peer, and a caller that does what a caller must; or makes one mistake, to see that it is found.

use core::hash::{Hash, Hasher};
use core::time::Duration;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::sync::Arc;

use wg_proto::aead::RingAead;
use wg_proto::limits::REKEY_TIMEOUT;
use wg_proto::{
    Config, Endpoint, Event, Fingerprint, Handled, Instant, Load, Named, Peer, ReceiveError, Role, Tai64n,
    UnixTime,
};

use crate::model::digest::Sink;
use crate::model::entropy::Entropy;
use crate::model::ledger::{KeyRecord, Ledger, Rule, Violation};
use crate::model::side::Side;
use crate::model::static_key::StaticKey;
use crate::model::wire::{Flying, Kind};

/// Where the monotonic clocks begin: anywhere but at zero.
const ORIGIN: u64 = 1_000_000_000_000_000;

/// Where the wall clock begins, in seconds.
const EPOCH: u64 = 1_700_000_000;

/// The second in the label of [`EPOCH`].
const LABEL: u64 = 0x4000_0000_0000_000a + EPOCH;

/// The number of the initiation that a timestamp was made for.
pub(super) fn serial_of(stamp: Tai64n) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *stamp.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) - LABEL
}

/// A mistake of a host, planted to show that the check finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// None: the host does what it must.
    #[default]
    None,
    /// It is restored from a snapshot and does not say so: `on_vm_generation_change` is not called (C61).
    RestoredInSilence,
    /// Its clock does not count the time it sleeps (C62).
    ClockStopsInSleep,
    /// It does not ask for a session when it answered an initiation lately: one is under way, it thinks (C39).
    ForgetsItsWish,
    /// It resets its peer before it asks for a session, so that nobody knows when it last did (C45).
    ForgetsItsPause,
    /// It keeps the state from before a packet that came, as if the replay window was never written (C76).
    ForgetsWhatCame,
    /// It answers what it refuses (C7).
    AnswersStrangers,
}

/// What a host reaches beyond itself.
pub(super) struct Outside {
    pub(super) now: Duration,
    /// How many handshake messages were ever made.
    pub(super) messages: u32,
    pub(super) sent: Vec<Flying>,
}

/// What came in a datagram that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Packet(Vec<u8>),
    Keepalive,
    Handshake,
}

/// What makes a host.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) side: Side,
    pub(super) key: StaticKey,
    pub(super) remote: wg_proto::PublicKey,
    pub(super) jitter: u16,
    pub(super) persistent_keepalive: Duration,
    pub(super) mistake: Mistake,
}

#[derive(Clone)]
pub(super) struct Host {
    side: Side,
    mistake: Mistake,
    pub(super) peer: Peer<StaticKey, RingAead>,
    /// Packets that found no session, the oldest first.
    pub(super) staged: VecDeque<u32>,
    pub(super) ledger: Ledger,
    /// What a restored machine goes on from.
    pub(super) snapshot: Option<Arc<Self>>,
    /// How far its clock is behind.
    pub(super) behind: Duration,
    /// How often it was told to drop what it kept back.
    pub(super) gave_up: u32,
    /// What all of this is known by, since it last changed.
    state: u128,
}

impl Host {
    pub(super) fn new(identity: &Identity) -> Self {
        let config = Config {
            endpoint: Some(identity.side.other().address()),
            persistent_keepalive: identity.persistent_keepalive,
            ..Config::new(identity.remote)
        };
        let Ok(mut peer) = Peer::new(identity.key.clone(), config, &mut Entropy::new(0)) else {
            unreachable!("the private key is here, so it answers")
        };
        peer.fix_jitter(identity.jitter);
        Self {
            side: identity.side,
            mistake: identity.mistake,
            peer,
            staged: VecDeque::new(),
            ledger: Ledger::default(),
            snapshot: None,
            behind: Duration::ZERO,
            gave_up: 0,
            state: 0,
        }
    }

    pub(super) const fn side(&self) -> Side {
        self.side
    }

    /// What its state is known by: two hosts of one scenario with the same do the same at the same time.
    pub(super) const fn state(&self) -> u128 {
        self.state
    }

    pub(super) fn instant(&self, now: Duration) -> Instant {
        let nanos = u64::try_from((now - self.behind).as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(ORIGIN.saturating_add(nanos))
    }

    /// When its timers are next to be polled.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let since = |at: Instant| Duration::from_nanos(at.as_nanos().saturating_sub(ORIGIN));
        self.peer.poll_timeout().map(|at| since(at) + self.behind)
    }

    // --- what happens to it ---

    /// It has a packet to send.
    pub(super) fn send(&mut self, packet: u32, outside: &mut Outside) -> Result<(), Violation> {
        if self.seal(packet, outside)? {
            return Ok(());
        }
        self.staged.push_back(packet);
        let spoke = self.ledger.handshake_sent.is_some_and(|last| outside.now - last < REKEY_TIMEOUT);
        match self.mistake {
            Mistake::ForgetsItsWish if spoke => return Ok(()),
            Mistake::ForgetsItsPause => self.peer.reset(),
            _ => {}
        }
        self.peer.initiate(self.instant(outside.now));
        Ok(())
    }

    /// A datagram comes.
    pub(super) fn handle(
        &mut self,
        datagram: &[u8],
        from: core::net::SocketAddr,
        outside: &mut Outside,
    ) -> Result<Came, ReceiveError> {
        let before = (self.mistake == Mistake::ForgetsWhatCame).then(|| self.peer.clone());
        let mut buffer = datagram.to_vec();
        let mut entropy = Entropy::new(outside.messages);
        let now = self.instant(outside.now);
        let wall = wall(outside.messages);
        let came =
            match self.peer.handle(&mut buffer, Endpoint::new(from), Load::Normal, now, wall, &mut entropy) {
                Ok(Handled::Packet(content)) => Ok(Came::Packet(content.to_vec())),
                Ok(Handled::Keepalive) => Ok(Came::Keepalive),
                Ok(Handled::Handshake) => Ok(Came::Handshake),
                Err(error) => Err(error),
            };
        outside.messages += u32::from(entropy.drawn());
        if let (Some(before), Ok(Came::Packet(_))) = (before, &came) {
            self.peer = before;
        }
        if self.mistake == Mistake::AnswersStrangers && came.is_err() {
            outside.sent.push(Flying {
                from: self.side,
                kind: Kind::CookieReply,
                copies: 1,
                bytes: datagram.into(),
            });
        }
        came
    }

    /// Its timers are polled.
    pub(super) fn poll(&mut self, outside: &Outside) {
        self.peer.handle_timeout(self.instant(outside.now));
    }

    /// It starts anew.
    pub(super) fn restart(&mut self, identity: &Identity) {
        // The keys of a snapshot may come back, with what they were used for.
        let keys = core::mem::take(&mut self.ledger.keys);
        let ledger = Ledger { keys, handshake_sent: None };
        *self = Self { snapshot: self.snapshot.take(), behind: self.behind, ledger, ..Self::new(identity) };
    }

    /// It goes on from its snapshot.
    pub(super) fn restore(&mut self) {
        let Some(snapshot) = self.snapshot.take() else { return };
        self.peer = snapshot.peer.clone();
        self.staged.clone_from(&snapshot.staged);
        // What it knows of its own past is what the snapshot knew; the keys that it used stay used.
        self.ledger.handshake_sent = None;
        if self.mistake != Mistake::RestoredInSilence {
            self.peer.on_vm_generation_change();
        }
    }

    // --- what a caller does after every call ---

    pub(super) fn settle(&mut self, outside: &mut Outside) -> Result<(), Violation> {
        self.note_keys(outside.now)?;
        loop {
            if let Some(event) = self.peer.poll_event() {
                match event {
                    Event::Established => self.flush(outside)?,
                    Event::GaveUp | Event::Expired => {
                        self.staged.clear();
                        self.gave_up += 1;
                    }
                    _ => {}
                }
                continue;
            }
            let mut out = [0; 148];
            let mut entropy = Entropy::new(outside.messages);
            let (now, wall) = (self.instant(outside.now), wall(outside.messages));
            let transmit = self.peer.poll_transmit(&mut out, now, wall, &mut entropy);
            outside.messages += u32::from(entropy.drawn());
            match transmit {
                Ok(Some(transmit)) => self.transmit(&out[..transmit.len], None, outside)?,
                Ok(None) => break,
                Err(error) => return Err(Violation::new(Rule::Panic, error.to_string())),
            }
        }
        self.note_keys(outside.now)?;
        match self.deadline() {
            Some(at) if at <= outside.now => {
                let what = format!("{:?} has a deadline {:?} ago", self.side, outside.now - at);
                Err(Violation::new(Rule::Deadline, what))
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self, outside: &mut Outside) -> Result<(), Violation> {
        while let Some(packet) = self.staged.front().copied() {
            if !self.seal(packet, outside)? {
                break;
            }
            self.staged.pop_front();
        }
        Ok(())
    }

    fn seal(&mut self, packet: u32, outside: &mut Outside) -> Result<bool, Violation> {
        let content = content(self.side, packet);
        let mut out = [0; 64];
        match self.peer.seal(&content, &mut out, self.instant(outside.now)) {
            Ok(len) => self.transmit(&out[..len], Some(packet), outside).map(|()| true),
            Err(wg_proto::SealError::NoSession) => Ok(false),
            Err(error) => Err(Violation::new(Rule::Panic, error.to_string())),
        }
    }

    fn transmit(
        &mut self,
        datagram: &[u8],
        packet: Option<u32>,
        outside: &mut Outside,
    ) -> Result<(), Violation> {
        let Some(kind) = Kind::of(datagram, packet) else {
            return Err(Violation::new(Rule::Panic, format!("{:?} sends no message", self.side)));
        };
        match kind {
            Kind::Initiation { .. } => self.ledger.initiation(self.side, outside.now)?,
            Kind::Response { .. } => self.ledger.response(outside.now),
            Kind::Data { receiver, counter, .. } => {
                let local = self.peer.sessions().current().map(|key| key.local_index().get());
                self.ledger.data(self.side, local, receiver, counter, outside.now)?;
            }
            Kind::CookieReply => {
                return Err(Violation::new(Rule::Silence, "a cookie without load"));
            }
        }
        outside.sent.push(Flying { from: self.side, kind, copies: 1, bytes: datagram.into() });
        Ok(())
    }

    /// Looks at the keypairs: writes down those that are new, forgets those that are gone, counts them.
    fn note_keys(&mut self, now: Duration) -> Result<(), Violation> {
        let sessions = self.peer.sessions();
        let mut indices: Vec<u32> = sessions.local_indices().map(|index| index.get()).collect();
        for index in sessions.local_indices() {
            let Some(key) = sessions.keypair(index) else { continue };
            let (local, remote) = (index.get(), key.remote_index().get());
            if !self.ledger.keys.iter().any(|known| known.local == local && known.remote == remote) {
                let (initiated, used) = (key.role() == Role::Initiator, Vec::new());
                self.ledger.keys.push(KeyRecord { local, remote, initiated, born: now, used, heard: false });
            }
        }
        let kept = self.snapshot.as_deref();
        let in_snapshot = |local| {
            kept.is_some_and(|host| host.ledger.keys.iter().any(|key: &KeyRecord| key.local == local))
        };
        self.ledger.keys.retain(|key| indices.contains(&key.local) || in_snapshot(key.local));
        let keypairs = indices.len();
        indices.extend(self.peer.control().pending_index().map(|index| index.get()));
        indices.sort_unstable();
        indices.dedup();
        let pending = usize::from(self.peer.control().pending_index().is_some());
        if keypairs > 3 || indices.len() != keypairs + pending {
            let what =
                format!("{:?} has {keypairs} keypairs and {pending} handshake as {indices:?}", self.side);
            return Err(Violation::new(Rule::Indices, what));
        }
        Ok(())
    }

    /// The state of the peer as it is, to compare with another of the same host.
    pub(super) fn exact(&self, now: Duration) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.write_peer(now, &mut hasher);
        hasher.finish()
    }

    fn write_peer(&self, now: Duration, into: &mut dyn Hasher) {
        let mut names = |named: Named<'_>| match named {
            Named::LocalIndex(index) | Named::RemoteIndex(index) => index.get().into(),
            Named::Mac1([a, b, c, d, e, f, g, h, ..]) => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            Named::StampSent(stamp) | Named::GreatestStamp(stamp) => serial_of(stamp),
        };
        self.peer.fingerprint(&mut Fingerprint::new(self.instant(now), &mut names, into));
    }

    /// Notes what its state is known by, after it changed.
    pub(super) fn seal_state(&mut self, now: Duration) {
        let mut sink = Sink::default();
        // Everything in it is relative to this.
        now.hash(&mut sink);
        self.side.hash(&mut sink);
        self.write_peer(now, &mut sink);
        self.staged.hash(&mut sink);
        self.ledger.hash(&mut sink);
        self.behind.hash(&mut sink);
        self.gave_up.hash(&mut sink);
        self.snapshot.as_ref().map(|snapshot| snapshot.state).hash(&mut sink);
        self.state = sink.digest();
    }
}

/// The wall clock when that many messages were made: later for each.
fn wall(messages: u32) -> UnixTime {
    UnixTime::new(EPOCH + u64::from(messages), 0)
}

/// The content of a packet.
pub(super) fn content(from: Side, packet: u32) -> [u8; 16] {
    let mut content = *b"packet  ....of ?";
    content[8..12].copy_from_slice(&packet.to_be_bytes());
    content[15] = b'A' + from as u8;
    content
}
