//! Operations, done.

use core::net::SocketAddr;
use core::time::Duration;

use wg_proto::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};
use wg_proto::{PresharedKey, Tai64n};

use super::host::{peer_spec, private_key};
use super::{Cause, Checked, Watch, World, means_the_same};
use crate::adversary::{self, Victim};
use crate::clock::{MILLISECOND, Time};
use crate::node::Command;
use crate::packet;
use crate::script::{Fault, Forgery, Op};
use crate::violation::Invariant;
use crate::wire::{Happening, InFlight};

/// The longest packet of a drawn length.
const LONGEST: u64 = 1420;

impl World<'_> {
    pub(super) fn act(&mut self, op: Op) -> Checked {
        match op {
            Op::Send { from, to, count, size } => {
                let (from, to) = (self.host(from), self.host(to));
                (0..count).try_for_each(|_| self.send(from, to, size))
            }
            Op::Stream { from, to, count, micros } => {
                let (from, to) = (self.host(from), self.host(to));
                for _ in 0..count {
                    self.send(from, to, 0)?;
                    self.pass(Time::from(micros) * 1000)?;
                }
                Ok(())
            }
            Op::Advance { millis } => self.pass(Time::from(millis) * MILLISECOND),
            Op::Late { host, millis } => self.leave(host, millis, false),
            Op::Suspend { host, millis, counts } => {
                let at = self.host(host);
                if !counts && self.hosts[at].away.is_none() {
                    self.hosts[at].clock.lose(Duration::from_millis(millis.into()));
                    self.disturb_clock(at);
                }
                self.leave(host, millis, true)
            }
            Op::Link { from, to, fault, amount } => {
                let link = self.host(from) * self.hosts.len() + self.host(to);
                self.links[link].set(fault, amount);
                Ok(())
            }
            Op::Rebind { host, dies } => {
                self.rebind(self.host(host), dies);
                Ok(())
            }
            Op::Restart { host } => {
                let at = self.host(host);
                self.restart(at)
            }
            Op::Step { host, clock, seconds } => {
                let at = self.host(host);
                self.hosts[at].clock.step(clock, seconds);
                self.disturb_clock(at);
                Ok(())
            }
            Op::Stop { host, clock, stop } => {
                let at = self.host(host);
                self.hosts[at].clock.stop(clock, stop, self.time);
                self.disturb_clock(at);
                Ok(())
            }
            Op::Correct { host } => {
                let at = self.host(host);
                self.hosts[at].clock.correct();
                self.disturb_clock(at);
                Ok(())
            }
            Op::Entropy { host, broken } => {
                let at = self.host(host);
                self.hosts[at].entropy.set_broken(broken);
                self.report.counts.faults_clock += 1;
                Ok(())
            }
            Op::Record { on } => {
                self.adversary.recording = on;
                Ok(())
            }
            Op::Twin { host, count, source } => {
                let at = self.host(host);
                self.hosts[at].twins = (count, source);
                Ok(())
            }
            Op::Replay { .. }
            | Op::Truncate { .. }
            | Op::Extend { .. }
            | Op::Splice { .. }
            | Op::Flip { .. } => self.attack(op),
            Op::Forge { host, what, count } => {
                let at = self.host(host);
                (0..count).try_for_each(|_| self.forge(at, what))
            }
            Op::Reach { from, to, millis } => self.reach(self.host(from), self.host(to), millis),
            Op::Settle { one, other, millis } => self.settle(self.host(one), self.host(other), millis),
            Op::Heal => self.heal(),
            _ => self.configure(op),
        }
    }

    fn host(&self, number: u8) -> usize {
        usize::from(number) % self.hosts.len()
    }

    fn number(&self, at: usize) -> u8 {
        self.hosts[at].number
    }

    fn pass(&mut self, time: Time) -> Checked {
        self.run_until(self.time + time, Watch::Nothing).map(|_| ())
    }

    // --- traffic ---

    fn send(&mut self, from: usize, to: usize, size: u16) -> Checked {
        if from == to || self.hosts[from].away.is_some() {
            return Ok(());
        }
        self.due(from)?;
        let len = if size == 0 { self.draw.below(LONGEST + 1) } else { size.into() };
        let (source, destination) = (self.number(from), self.number(to));
        let number = self.ledger.send(source, destination);
        let mut packet = core::mem::take(&mut self.packet);
        packet::write(&mut packet, source, destination, number, usize::try_from(len).unwrap_or(0));
        self.report.counts.packets += 1;
        self.hosts[from].given += 1;
        let called = self.call(from, Cause::Packet, |node, now, out| node.packet(&packet, now, out));
        self.packet = packet;
        called
    }

    /// One host must reach another.
    fn reach(&mut self, from: usize, to: usize, millis: u32) -> Checked {
        let (source, destination) = (self.number(from), self.number(to));
        if !self.script.acquainted(source, destination) {
            return Ok(());
        }
        let start = self.time;
        let end = start + Time::from(millis) * MILLISECOND;
        let watch = Watch::Delivered(source, destination, self.ledger.sent(source, destination));
        loop {
            self.send(from, to, 100)?;
            let next = (self.time + 100 * MILLISECOND).min(end);
            if self.run_until(next, watch)? {
                self.recovered(start);
                return Ok(());
            }
            if self.time >= end {
                let what = format!("host {source} did not reach host {destination} in {millis} ms");
                return Err((Invariant::I10, what));
            }
        }
    }

    /// Two hosts must come together without traffic.
    fn settle(&mut self, one: usize, other: usize, millis: u32) -> Checked {
        let (a, b) = (self.number(one), self.number(other));
        let start = self.time;
        let end = start + Time::from(millis) * MILLISECOND;
        if !self.script.acquainted(a, b) {
            return Ok(());
        }
        if self.run_until(end, Watch::Acquainted(a, b))? {
            self.recovered(start);
            return Ok(());
        }
        Err((Invariant::I10, format!("hosts {a} and {b} had no session in {millis} ms")))
    }

    fn recovered(&mut self, start: Time) {
        let millis = (self.time - start).div_ceil(MILLISECOND);
        self.report.recoveries.push(u32::try_from(millis).unwrap_or(u32::MAX));
    }

    // --- clocks and lives ---

    fn leave(&mut self, host: u8, millis: u32, asleep: bool) -> Checked {
        let at = self.host(host);
        self.report.counts.faults_clock += 1;
        if self.hosts[at].away.is_none() {
            self.hosts[at].away = Some((self.time + Time::from(millis) * MILLISECOND, asleep));
        }
        Ok(())
    }

    fn disturb_clock(&mut self, at: usize) {
        self.report.counts.faults_clock += 1;
        // By its clock it cannot know when that was any more.
        self.hosts[at].audit.forget_handshakes();
        self.read_deadline(at);
    }

    fn restart(&mut self, at: usize) -> Checked {
        let counts = &mut self.report.counts;
        counts.faults_configuration += 1;
        let host = &mut self.hosts[at];
        let staged = host.node.staged() as u64;
        counts.lost_in_restart += staged;
        host.done += staged;
        let known: Vec<_> = (0u8..)
            .zip(0..self.hosts.len())
            .map(|(number, other)| {
                let acquainted = self.script.acquainted(self.number(at), number);
                acquainted.then(|| self.hosts[other].address())
            })
            .collect();
        let host = &mut self.hosts[at];
        host.restart(&self.script, &known, self.time, self.factory);
        host.endpoints = known;
        self.read_deadline(at);
        Ok(())
    }

    fn rebind(&mut self, at: usize, dies: bool) {
        self.report.counts.faults_rebind += 1;
        let host = &mut self.hosts[at];
        let count = u16::try_from(self.report.counts.faults_rebind % 20_000).unwrap_or(0);
        let address = SocketAddr::from(([203, 0, 113, host.number + 1], 10_000 + count));
        if dies {
            host.addresses.clear();
        }
        host.addresses.push(address);
        // As many as a NAT may remember.
        if host.addresses.len() > 4 {
            host.addresses.remove(0);
        }
    }

    // --- configuration ---

    fn configure(&mut self, op: Op) -> Checked {
        let hosts = self.hosts.len();
        let seed = self.script.seed;
        let (at, command) = match op {
            Op::Key { host, which } => {
                let at = self.host(host);
                self.disagree = true;
                let key = (which != u8::MAX).then(|| private_key(seed, self.number(at), which));
                (at, Command::SetPrivateKey(key))
            }
            Op::Psk { host, peer, which } => {
                self.disagree = true;
                (
                    self.host(host),
                    Command::SetPresharedKey(self.key(peer), PresharedKey::from_bytes([which; 32])),
                )
            }
            Op::Endpoint { host, peer, right } => {
                let at = self.host(host);
                let to = if right { self.hosts[self.host(peer)].address() } else { adversary::address(99) };
                (at, Command::SetEndpoint(self.key(peer), to))
            }
            Op::Keepalive { host, peer, seconds } => {
                (self.host(host), Command::SetPersistentKeepalive(self.key(peer), seconds.into()))
            }
            Op::Know { host, peer, add } => {
                let at = self.host(host);
                let other = self.host(peer);
                if !self.script.acquainted(self.number(at), self.number(other)) {
                    return Ok(());
                }
                self.disagree = true;
                if add {
                    let spec = peer_spec(seed, self.number(other), self.hosts[other].address());
                    (at, Command::AddPeer(spec))
                } else {
                    (at, Command::RemovePeer(self.key(peer)))
                }
            }
            Op::Allow { host, peer, whose, allow } => {
                self.disagree = true;
                let inner = packet::inner(self.number(self.host(whose)));
                (self.host(host), Command::AllowIp(self.key(peer), inner, allow))
            }
            Op::Up { host, up } => {
                self.disagree = true;
                (self.host(host), Command::SetUp(up))
            }
            Op::Mtu { host, mtu } => (self.host(host), Command::SetMtu(mtu)),
            Op::Zero { host } => (self.host(host), Command::ZeroKeys),
            Op::Generation { host } => (self.host(host), Command::GenerationChanged),
            Op::Load { host, under } => (self.host(host), Command::SetUnderLoad(under)),
            Op::Initiate { host, peer } => (self.host(host), Command::Initiate(self.key(peer))),
            Op::Exhaust { host, peer, last, before } => {
                let limit = if last { REJECT_AFTER_MESSAGES } else { REKEY_AFTER_MESSAGES };
                (self.host(host), Command::SetCounter(self.key(peer), limit - u64::from(before)))
            }
            other => unreachable!("{other} is done elsewhere"),
        };
        debug_assert!(at < hosts);
        self.command(at, command)
    }

    fn key(&self, host: u8) -> wg_proto::PublicKey {
        self.hosts[self.host(host)].public_key
    }

    fn command(&mut self, at: usize, command: Command) -> Checked {
        if self.hosts[at].away.is_some() {
            return Ok(());
        }
        self.due(at)?;
        let under_load = match command {
            Command::SetUnderLoad(under) => Some(under),
            _ => None,
        };
        let kills = matches!(command, Command::ZeroKeys | Command::SetUp(false) | Command::RemovePeer(_));
        let cuts =
            matches!(command, Command::GenerationChanged | Command::AddPeer(_) | Command::SetPrivateKey(_));
        if !matches!(command, Command::Initiate(_)) {
            self.report.counts.faults_configuration += 1;
        }
        let mut known = false;
        if kills {
            self.hosts[at].begin_anew();
        }
        if kills || cuts {
            self.hosts[at].cut_handshakes();
        }
        self.call(at, Cause::Other, |node, now, out| known = node.command(command, now, out))?;
        self.report.counts.unsupported += u64::from(!known);
        if let Some(under) = under_load.filter(|_| known) {
            self.hosts[at].under_load = under;
        }
        for other in 0..self.hosts.len() {
            let _moved_by_command = self.read_endpoint(at, other);
        }
        Ok(())
    }

    fn heal(&mut self) -> Checked {
        let hosts = self.hosts.len();
        for link in 0..self.links.len() {
            self.links[link].set(Fault::None, 0);
            let late = self.time + self.links[link].delay();
            for copy in self.links[link].release_all() {
                self.wire.put(late, Happening::Arrival(copy));
            }
        }
        for at in 0..hosts {
            let host = &mut self.hosts[at];
            host.twins = (0, 0);
            host.entropy.set_broken(false);
            host.clock.correct();
            host.audit.forget_handshakes();
            self.read_deadline(at);
            if self.hosts[at].away.is_some() {
                self.wake(at)?;
            }
        }
        self.forgive_stamps()?;
        for at in 0..hosts {
            let number = self.number(at);
            self.repair(at, Command::SetUnderLoad(false))?;
            if self.disagree {
                self.repair(at, Command::SetPrivateKey(Some(private_key(self.script.seed, number, 0))))?;
            }
            self.repair(at, Command::SetUp(true))?;
            self.repair(at, Command::SetMtu(1420))?;
            for other in 0..hosts {
                let peer = self.number(other);
                if !self.script.acquainted(number, peer) {
                    continue;
                }
                let key = self.hosts[other].public_key;
                let spec = peer_spec(self.script.seed, peer, self.hosts[other].address());
                if self.disagree {
                    self.repair(at, Command::AddPeer(spec))?;
                    self.repair(at, Command::SetPresharedKey(key, PresharedKey::default()))?;
                    for whose in (0..hosts).filter(|whose| *whose != other) {
                        let inner = packet::inner(self.number(whose));
                        self.repair(at, Command::AllowIp(key, inner, false))?;
                    }
                    self.repair(at, Command::AllowIp(key, spec.inner, true))?;
                }
                self.repair(at, Command::SetPersistentKeepalive(key, 0))?;
                self.repair(at, Command::SetEndpoint(key, spec.endpoint))?;
            }
        }
        Ok(())
    }

    /// Who began a handshake with a wall clock that was ahead, and has forgotten since that he did, is refused until the
    /// clock has caught up, by those who remember: the protocol knows no other remedy than that they forget, too (C34).
    fn forgive_stamps(&mut self) -> Checked {
        let hosts = 0..self.hosts.len();
        let burnt = |at: usize| {
            let host = &self.hosts[at];
            let forgot = host.restarted.is_some() || self.disagree;
            forgot && host.stamped >= host.now(self.time).wall
        };
        let burnt: Vec<_> = hosts.clone().filter(|at| burnt(*at)).collect();
        for at in hosts.filter(|at| burnt.iter().any(|other| other != at)) {
            self.restart(at)?;
        }
        Ok(())
    }

    /// A command that undoes a fault and is none itself.
    fn repair(&mut self, at: usize, command: Command) -> Checked {
        let before = (self.report.counts.faults_configuration, self.report.counts.unsupported);
        let done = self.command(at, command);
        (self.report.counts.faults_configuration, self.report.counts.unsupported) = before;
        done
    }

    // --- the adversary ---

    /// Puts something on the wire that arrives at once.
    fn inject(&mut self, copy: InFlight) -> Checked {
        self.arrive(copy)
    }

    fn attack(&mut self, op: Op) -> Checked {
        let (Op::Replay { record, .. }
        | Op::Truncate { record, .. }
        | Op::Extend { record, .. }
        | Op::Flip { record, .. }
        | Op::Splice { head: record, .. }) = op
        else {
            return Ok(());
        };
        let Some(recorded) = self.adversary.recall(record).cloned() else { return Ok(()) };
        let mut bytes = recorded.bytes.clone();
        let mut from = recorded.from;
        match op {
            Op::Replay { source: 0, .. } => {}
            Op::Replay { source, .. } => from = adversary::address(source),
            Op::Truncate { len, .. } => bytes.truncate(len.into()),
            Op::Extend { by, .. } => {
                let len = bytes.len();
                bytes.resize(len + usize::from(by), 0);
                self.draw.fill(&mut bytes[len..]);
            }
            Op::Flip { bit, .. } if !bytes.is_empty() => {
                let bit = usize::from(bit) % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Op::Splice { tail, at, .. } => {
                let at = usize::from(at);
                bytes.truncate(at);
                if let Some(other) = self.adversary.recall(tail) {
                    bytes.extend_from_slice(other.bytes.get(at..).unwrap_or_default());
                    if means_the_same(&bytes, &other.bytes) {
                        // All of the other: a replay of that.
                        return self.put_again(bytes, other.from, other.to, other.datagram, false);
                    }
                }
            }
            _ => {}
        }
        let altered = !means_the_same(&bytes, &recorded.bytes);
        self.put_again(bytes, from, recorded.to, recorded.datagram, altered)
    }

    fn put_again(
        &mut self,
        bytes: Vec<u8>,
        from: SocketAddr,
        to: SocketAddr,
        place: u32,
        altered: bool,
    ) -> Checked {
        let counts = &mut self.report.counts;
        *(if altered { &mut counts.faults_mangle } else { &mut counts.faults_replay }) += 1;
        self.datagrams.get(place).held += 1;
        self.inject(InFlight { bytes, from, to, datagram: Some(place), altered, counts: false })
    }

    fn forge(&mut self, at: usize, what: Forgery) -> Checked {
        let host = &self.hosts[at];
        let victim =
            Victim { public_key: host.public_key, index: host.births.newest().map_or(0, |(index, _)| index) };
        let stamp = Tai64n::from_unix(host.now(self.time).wall);
        let bytes = adversary::forge(what, &victim, stamp, &mut self.draw);
        self.report.counts.faults_forge += 1;
        let (from, to) = (adversary::address(self.draw.any().to_le_bytes()[0]), host.address());
        self.inject(InFlight { bytes, from, to, datagram: None, altered: true, counts: false })?;
        self.pass(MILLISECOND)
    }
}
