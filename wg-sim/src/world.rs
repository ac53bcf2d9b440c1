//! The world: hosts, links, an adversary, and a virtual time that jumps from one thing that is due to the next.
//!
//! ```text
//!   operation --> packet, command ---.                       .--> delivered --> ledger (I2)
//!   deadline  --> timeout -----------+--> node --> outbox ---+--> dropped ----> accounts, explanation
//!   wire      --> datagram ----------'                       `--> sent -------> audit (I1, I4, I5) --> link --> wire
//! ```
//!
//! After each call of a node, all invariants are checked that it could have broken.

mod act;
mod arrival;
mod datagrams;
mod explain;
mod host;

use core::net::SocketAddr;

use wg_datapath::{DropReason, Now};
use wg_proto::wire::{Message, TRANSPORT_OVERHEAD};
use wg_proto::{Mac1Key, PublicKey};

use crate::adversary::{Adversary, Recorded};
use crate::audit::Birth;
use crate::clock::{SECOND, Time};
use crate::draw::{Draw, mix};
use crate::ledger::Ledger;
use crate::link::{HOLD, Link, Passage};
use crate::node::{Node, NodeSpec, Outbox};
use crate::report::{Counts, Report};
use crate::script::{NodeKind, Op, Script};
use crate::violation::{Invariant, Violation};
use crate::wire::{Happening, InFlight, Wire};
use datagrams::{Datagram, Datagrams, Fate, Kind};
use host::Host;

/// Makes the nodes of a world, at its beginning and when a host begins anew.
pub type Factory<'f> = dyn FnMut(NodeKind, NodeSpec) -> Box<dyn Node> + 'f;

/// An invariant that was broken, and how.
type Broken = (Invariant, String);
type Checked = Result<(), Broken>;

/// How soon traffic flows again after all faults have stopped: the 15.4 s after which silence is noticed, and twice the time
/// in which two that begin at once come together.
pub const RECOVERY: Time = 37 * SECOND;

/// What a call of a node was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Packet,
    Datagram,
    Other,
}

/// What a run may be ended early by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Nothing,
    /// A packet of this flow, from this number on, was delivered.
    Delivered(u8, u8, u64),
    /// Both hosts have completed a handshake with each other.
    Acquainted(u8, u8),
}

/// A world that a script acts on.
pub struct World<'f> {
    script: Script,
    factory: &'f mut Factory<'f>,
    time: Time,
    draw: Draw,
    hosts: Vec<Host>,
    links: Vec<Link>,
    wire: Wire,
    datagrams: Datagrams,
    ledger: Ledger,
    adversary: Adversary,
    mac1_keys: Vec<Mac1Key>,
    /// Configuration was changed so that peers need not agree.
    disagree: bool,
    report: Report,
    /// Whose datagram a host is at work on.
    partner: Option<u8>,
    /// What a panic now would mean.
    phase: Invariant,
    memory: Option<(fn() -> isize, isize)>,
    out: Outbox,
    packet: Vec<u8>,
    scratch: Vec<u8>,
}

impl core::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World")
            .field("time", &self.time)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl<'f> World<'f> {
    /// Makes the world of a script, in which nothing has happened yet. `factory` makes its nodes.
    pub fn new(script: &Script, factory: &'f mut Factory<'f>) -> Self {
        let script = Script::new(script.seed, &script.nodes);
        let count = script.nodes.len();
        let hosts: Vec<_> = (0u8..).take(count).map(|number| Host::new(&script, number, factory)).collect();
        let mac1_keys = hosts.iter().map(|host| Mac1Key::new(&host.public_key)).collect();
        let mut world = Self {
            draw: Draw::new(script.seed),
            script,
            factory,
            time: 0,
            hosts,
            links: (0..count * count).map(|_| Link::default()).collect(),
            wire: Wire::default(),
            datagrams: Datagrams::default(),
            ledger: Ledger::new(count),
            adversary: Adversary::default(),
            mac1_keys,
            disagree: false,
            report: Report::default(),
            partner: None,
            phase: Invariant::I11,
            memory: None,
            out: Outbox::default(),
            packet: Vec::new(),
            scratch: Vec::new(),
        };
        world.out.reserve();
        for at in 0..count {
            world.read_deadline(at);
        }
        world
    }

    /// Bounds the memory that a node may hold on to, measured by `live`, the bytes that this thread has allocated and not
    /// given back: no more than `bound` above what it had when it was made (I9).
    pub fn bound_memory(&mut self, live: fn() -> isize, bound: isize) {
        self.memory = Some((live, bound));
    }

    /// Returns the virtual time.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.time
    }

    /// Returns what was counted so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.report.counts
    }

    /// Returns how many packets of a flow were sent, and how many delivered.
    pub fn flow(&mut self, from: u8, to: u8) -> (u64, u64) {
        (self.ledger.sent(from, to), self.ledger.delivered(from, to))
    }

    /// Returns how many datagrams a host has sent.
    #[must_use]
    pub fn sent_by(&self, host: u8) -> u64 {
        self.hosts.get(usize::from(host)).map_or(0, |host| host.sent)
    }

    /// Returns the public key of a host.
    #[must_use]
    pub fn public_key(&self, host: u8) -> Option<PublicKey> {
        self.hosts.get(usize::from(host)).map(|host| host.public_key)
    }

    /// Does one operation, and all that comes of it at this time or, if time passes, until then.
    ///
    /// # Errors
    ///
    /// The invariant that was broken.
    pub fn apply(&mut self, op: Op) -> Result<(), Violation> {
        self.report.counts.ops += 1;
        let acted = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| self.act(op)));
        let broken = match acted {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(broken)) => broken,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                (self.phase, format!("panic: {}", text.unwrap_or("of something else than text")))
            }
        };
        let (invariant, what) = broken;
        let what = format!("{op}: {what}");
        Err(Violation {
            invariant,
            seed: self.script.seed,
            step: self.report.counts.steps,
            time: self.time,
            what,
        })
    }

    /// Ends all faults, sees that everybody reaches everybody, and closes the accounts.
    ///
    /// # Errors
    ///
    /// The invariant that was broken.
    pub fn finish(mut self) -> Result<Report, Violation> {
        self.apply(Op::Heal)?;
        // What is on the way arrives, be it late, and may move endpoints once more (C88).
        self.apply(Op::Advance { millis: 75_000 })?;
        self.apply(Op::Heal)?;
        let hosts = u8::try_from(self.hosts.len()).unwrap_or(0);
        let pairs: Vec<_> = (0..hosts)
            .flat_map(|from| (0..hosts).map(move |to| (from, to)))
            .filter(|(from, to)| self.script.acquainted(*from, *to))
            .collect();
        let mut recoveries = core::mem::take(&mut self.report.recoveries);
        for (from, to) in pairs {
            self.apply(Op::Reach { from, to, millis: u32::try_from(RECOVERY / 1_000_000).unwrap_or(0) })?;
        }
        core::mem::swap(&mut self.report.recoveries, &mut recoveries);
        self.apply(Op::Advance { millis: 1000 })?;
        self.close().map_err(|(invariant, what)| Violation {
            invariant,
            seed: self.script.seed,
            step: self.report.counts.steps,
            time: self.time,
            what,
        })?;
        Ok(self.report)
    }

    /// Balances the accounts.
    fn close(&mut self) -> Checked {
        let staged: u64 = self.hosts.iter_mut().map(|host| host.node.staged() as u64).sum();
        let counts = &mut self.report.counts;
        counts.staged = staged;
        counts.millis = self.time / 1_000_000;
        let explained = counts.delivered
            + counts.refused_at_source
            + counts.staged_overflow
            + counts.staged_dropped
            + counts.lost_in_restart
            + counts.lost_on_wire
            + counts.lost_on_the_way
            + counts.lost_at_sleeper
            + counts.corrupted
            + counts.refused_after_restart
            + counts.refused_superseded
            + counts.refused_expired
            + counts.refused_too_old
            + counts.refused_by_configuration
            + counts.in_flight
            + counts.staged;
        counts.unexplained = counts.packets.abs_diff(explained);
        if counts.unexplained > 0 {
            return Err((Invariant::Accounting, format!("{} unexplained: {counts:?}", counts.unexplained)));
        }
        Ok(())
    }

    // --- time ---

    /// Lets time pass until `end`, or until what is watched for has come about; tells whether it has.
    fn run_until(&mut self, end: Time, watch: Watch) -> Result<bool, Broken> {
        loop {
            if self.sees(watch) {
                return Ok(true);
            }
            let timers = self.hosts.iter().map(|host| host.away.map(|(until, _)| until).or(host.deadline));
            let next = timers.chain([self.wire.next()]).flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.time = self.time.max(next);
            for at in 0..self.hosts.len() {
                if self.hosts[at].away.is_some_and(|(until, _)| until <= self.time) {
                    self.wake(at)?;
                }
            }
            while let Some(happening) = self.wire.take_due(self.time) {
                match happening {
                    Happening::Arrival(copy) => self.arrive(copy)?,
                    Happening::Release { link, number } => {
                        if let Some(copy) = self.links[link].release(number) {
                            self.arrive(copy)?;
                        }
                    }
                }
            }
            for at in 0..self.hosts.len() {
                self.due(at)?;
            }
        }
        self.time = self.time.max(end);
        Ok(self.sees(watch))
    }

    fn sees(&mut self, watch: Watch) -> bool {
        match watch {
            Watch::Nothing => false,
            Watch::Delivered(from, to, number) => self.ledger.delivered_from(from, to, number),
            Watch::Acquainted(one, other) => [(one, other), (other, one)].into_iter().all(|(one, other)| {
                let key = self.hosts[usize::from(other)].public_key;
                self.hosts[usize::from(one)].node.last_handshake(&key).is_some()
            }),
        }
    }

    /// What is due at a host comes first.
    fn due(&mut self, at: usize) -> Checked {
        let host = &self.hosts[at];
        if host.away.is_some() || host.deadline.is_none_or(|deadline| deadline > self.time) {
            return Ok(());
        }
        let before = self.hosts[at].node.indices();
        self.call(at, Cause::Other, |node, now, out| node.timeout(now, out))?;
        let host = &mut self.hosts[at];
        if host.node.indices() < before {
            host.wiped = Some(self.time);
        }
        Ok(())
    }

    fn wake(&mut self, at: usize) -> Checked {
        self.hosts[at].away = None;
        self.read_deadline(at);
        self.due(at)?;
        while let Some(copy) = self.hosts[at].mailbox.pop_front() {
            self.arrive(copy)?;
        }
        Ok(())
    }

    fn read_deadline(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        host.deadline = host.node.next_timeout().and_then(|deadline| host.clock.time_of(deadline));
    }

    // --- calls of nodes ---

    /// Calls a node, and takes in what it did.
    fn call(&mut self, at: usize, cause: Cause, f: impl FnOnce(&mut dyn Node, Now, &mut Outbox)) -> Checked {
        self.call_node(at, f)?;
        let mut out = core::mem::take(&mut self.out);
        let taken = self.take_in(at, cause, &out);
        out.clear();
        self.out = out;
        taken?;
        self.check(at)
    }

    fn call_node(&mut self, at: usize, f: impl FnOnce(&mut dyn Node, Now, &mut Outbox)) -> Checked {
        self.report.counts.steps += 1;
        self.phase = Invariant::I11;
        let now = self.hosts[at].now(self.time);
        let before = self.memory.map(|(live, _)| live());
        f(&mut *self.hosts[at].node, now, &mut self.out);
        if let (Some((live, bound)), Some(before)) = (self.memory, before) {
            let host = &mut self.hosts[at];
            host.memory += live() - before;
            if host.memory > bound {
                return Err((
                    Invariant::I9,
                    format!("host {at} holds {} bytes more than at first", host.memory),
                ));
            }
        }
        Ok(())
    }

    /// Takes in what a node did without a datagram: drops and datagrams.
    fn take_in(&mut self, at: usize, cause: Cause, out: &Outbox) -> Checked {
        for (reason, count) in out.drops() {
            self.drop_packets(at, cause, reason, count);
        }
        if out.delivered().next().is_some() && cause != Cause::Datagram {
            return Err((Invariant::I2, format!("host {at} delivered a packet without a datagram")));
        }
        out.sent().try_for_each(|(to, datagram)| self.emit(at, to, datagram))
    }

    /// Counts drops of inner packets of this host, and tells whether they were such.
    fn drop_packets(&mut self, at: usize, cause: Cause, reason: DropReason, count: u64) -> bool {
        let counts = &mut self.report.counts;
        let counter = match reason {
            DropReason::StagedOverflow => &mut counts.staged_overflow,
            DropReason::StagedGiveUp
            | DropReason::StagedZeroed
            | DropReason::StagedDown
            | DropReason::StagedRemoved => &mut counts.staged_dropped,
            DropReason::OutNotIp
            | DropReason::OutTooShort
            | DropReason::OutTooLong
            | DropReason::NoPeerForDestination
            | DropReason::HomeBehind
            | DropReason::NoEndpoint
            | DropReason::LowOrderPeer
            | DropReason::SealFailed
            | DropReason::SendQueueFull
            | DropReason::SendRefused => &mut counts.refused_at_source,
            DropReason::DeviceDown | DropReason::NoBuffer if cause == Cause::Packet => {
                &mut counts.refused_at_source
            }
            _ => return false,
        };
        *counter += count;
        self.hosts[at].done += count;
        true
    }

    /// Checks what must hold after each call of a node.
    fn check(&mut self, at: usize) -> Checked {
        self.phase = Invariant::I3;
        let host = &mut self.hosts[at];
        host.node.check();
        self.phase = Invariant::I11;
        let (indices, peers) = (host.node.indices(), host.node.peers());
        if indices > 4 * peers {
            return Err((Invariant::I3, format!("host {at} has {indices} indices for {peers} peers")));
        }
        let now = host.clock.instant(self.time);
        if let Some(deadline) = host.node.next_timeout().filter(|deadline| *deadline <= now) {
            return Err((Invariant::I8, format!("host {at}: {deadline:?} is due, and it is {now:?}")));
        }
        let held = host.done + host.node.staged() as u64;
        if host.given != held {
            let what = format!("host {at} was given {} packets, of which {held} are known of", host.given);
            return Err((Invariant::Accounting, what));
        }
        self.read_deadline(at);
        Ok(())
    }

    // --- datagrams out ---

    /// A node hands a datagram to the network.
    fn emit(&mut self, at: usize, to: SocketAddr, bytes: &[u8]) -> Checked {
        let datagram = self.audit(at, bytes)?;
        self.report.counts.datagrams += 1;
        self.hosts[at].sent += 1;
        self.trace(at, to, bytes);
        let place = self.datagrams.insert(datagram);
        let from = self.hosts[at].address();
        if self.adversary.recording {
            self.record(Recorded { bytes: bytes.to_vec(), from, to, datagram: place });
        }
        let copy = |wire: &mut Wire| InFlight {
            bytes: wire.copy(bytes),
            from,
            to,
            datagram: Some(place),
            altered: false,
            counts: true,
        };
        let Some(receiver) = self.hosts.iter().position(|host| host.is_at(to)) else {
            self.datagrams.copy_done(place, Fate::LostOnTheWay, &mut self.report.counts);
            return Ok(());
        };
        let link = at * self.hosts.len() + receiver;
        let copies = self.links[link].copies(&mut self.draw);
        self.report.counts.faults_duplicate += u64::from(copies - 1);
        self.datagrams.get(place).copies = copies;
        for _ in 0..copies {
            match self.links[link].passage(bytes.len(), &mut self.draw) {
                Passage::Lost => {
                    self.report.counts.faults_loss += 1;
                    self.datagrams.copy_done(place, Fate::LostOnWire, &mut self.report.counts);
                    continue;
                }
                Passage::Passes { after, corrupt } => {
                    let mut copy = copy(&mut self.wire);
                    if corrupt {
                        self.corrupt(&mut copy, bytes);
                    }
                    self.wire.put(self.time + after, Happening::Arrival(copy));
                    self.links[link].count_passed();
                }
                Passage::Held { others, corrupt } => {
                    self.report.counts.faults_reorder += 1;
                    let mut copy = copy(&mut self.wire);
                    if corrupt {
                        self.corrupt(&mut copy, bytes);
                    }
                    let number = self.draw.any();
                    // It overtakes those that are held already, as soon as it is released.
                    self.links[link].count_passed();
                    self.links[link].hold(number, others, copy);
                    self.wire.put(self.time + HOLD, Happening::Release { link, number });
                }
            }
            let at = self.time + self.links[link].delay();
            while let Some(copy) = self.links[link].overtaken() {
                self.wire.put(at, Happening::Arrival(copy));
            }
        }
        Ok(())
    }

    /// Holds a datagram to the rules of its sender, and writes down what it is.
    fn audit(&mut self, at: usize, bytes: &[u8]) -> Result<Datagram, Broken> {
        let parsed = Message::parse(bytes);
        let message =
            parsed.map_err(|error| (Invariant::I6, format!("host {at} sent what is no message: {error}")))?;
        let mut datagram = Datagram {
            kind: Kind::Data,
            origin: self.hosts[at].number,
            intended: None,
            emitted: self.time,
            number: self.report.counts.datagrams + 1,
            index: 0,
            sender_index: 0,
            counter: 0,
            copies: 1,
            held: 0,
            fate: Fate::InFlight,
            counted: false,
            arrived: None,
            accepted: None,
        };
        let now = self.hosts[at].clock.instant(self.time);
        match message {
            Message::Initiation(message) => {
                self.report.counts.initiations += 1;
                datagram.kind = Kind::Initiation;
                datagram.index = message.sender_index().get();
                let for_whom = self.mac1_keys.iter().position(|key| key.verify(bytes));
                datagram.intended = for_whom.and_then(|host| u8::try_from(host).ok());
                let wall = self.hosts[at].now(self.time).wall;
                self.hosts[at].stamped = self.hosts[at].stamped.max(wall);
                if let Some(peer) = datagram.intended {
                    self.hosts[at].audit.initiation(peer, now)?;
                    self.born(at, datagram.index, peer, now);
                }
            }
            Message::Response(message) => {
                self.report.counts.responses += 1;
                datagram.kind = Kind::Response;
                datagram.index = message.receiver_index().get();
                datagram.sender_index = message.sender_index().get();
                // Who answers an initiation that the world has forgotten answers its sender all the same.
                datagram.intended = self.owner(datagram.index, at).or(self.partner);
                self.hosts[at].audit.derived(datagram.index, now);
                if let Some(peer) = datagram.intended {
                    self.hosts[at].audit.response(peer, now);
                    self.born(at, datagram.sender_index, peer, now);
                }
            }
            Message::CookieReply(message) => {
                self.report.counts.cookie_replies += 1;
                datagram.kind = Kind::CookieReply;
                datagram.index = message.receiver_index().get();
                datagram.intended = self.owner(datagram.index, at);
            }
            Message::TransportData(message) => {
                datagram.index = message.receiver_index().get();
                datagram.counter = message.counter();
                datagram.intended = self.owner(datagram.index, at);
                if bytes.len() == TRANSPORT_OVERHEAD {
                    self.report.counts.keepalives += 1;
                    datagram.kind = Kind::Keepalive;
                } else {
                    self.hosts[at].done += 1;
                }
                self.hosts[at].audit.data(datagram.index, datagram.counter, now)?;
            }
        }
        Ok(datagram)
    }

    /// A host takes part in a handshake under this index.
    fn born(&mut self, at: usize, index: u32, peer: u8, now: wg_proto::Instant) {
        let host = &mut self.hosts[at];
        let count = &mut host.handshakes[usize::from(peer)];
        *count += 1;
        let (epoch, number) = (host.epoch, *count);
        let birth = Birth {
            peer,
            epoch,
            number,
            at: now,
            time: self.time,
            newest: None,
            answered: false,
            cookie: false,
        };
        host.births.insert(index, birth);
    }

    /// Whose index it is, of those who may hear from a host.
    fn owner(&self, index: u32, from: usize) -> Option<u8> {
        let mine = |host: &&Host| host.births.get(index).is_some_and(|birth| usize::from(birth.peer) == from);
        self.hosts.iter().find(mine).map(|host| host.number)
    }

    fn record(&mut self, recorded: Recorded) {
        self.datagrams.get(recorded.datagram).held += 1;
        if let Some(old) = self.adversary.record(recorded) {
            self.datagrams.replay_done(old.datagram, Fate::InFlight, &mut self.report.counts);
        }
    }

    /// Corrupts a copy: one bit, one byte, a run of bytes, all bytes, or its length.
    fn corrupt(&mut self, copy: &mut InFlight, original: &[u8]) {
        let draw = &mut self.draw;
        let len = copy.bytes.len();
        match draw.below(6) {
            0 | 1 => copy.bytes[draw.index(len)] ^= 1 << draw.below(8),
            2 => copy.bytes[draw.index(len)] = draw.any().to_le_bytes()[0],
            3 => {
                let start = draw.index(len);
                let end = start + draw.index(len - start) + 1;
                draw.fill(&mut copy.bytes[start..end]);
            }
            4 => draw.fill(&mut copy.bytes),
            _ if draw.happens(500) => copy.bytes.truncate(draw.index(len)),
            _ => {
                let more = 1 + draw.index(40);
                copy.bytes.resize(len + more, draw.any().to_le_bytes()[0]);
            }
        }
        self.report.counts.faults_corrupt += 1;
        copy.altered = !means_the_same(&copy.bytes, original);
    }

    fn trace(&mut self, at: usize, to: SocketAddr, bytes: &[u8]) {
        let mut hash = mix(self.time, at as u64 ^ (u64::from(to.port()) << 16));
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
        }
        self.report.trace = mix(self.report.trace, hash);
    }
}

/// Whether a receiver that is not under load must take one for the other: they are equal but for MAC2, which it does not look
/// at (C105).
fn means_the_same(one: &[u8], other: &[u8]) -> bool {
    let covered = match other.first() {
        Some(1 | 2) => other.len() - 16,
        _ => other.len(),
    };
    one.len() == other.len() && one[..covered] == other[..covered]
}
