//! One host of a world: its node, its clocks, its addresses, and what the world knows of it.

use core::net::SocketAddr;
use std::collections::VecDeque;

use wg_proto::{Instant, PrivateKey, PublicKey, UnixTime};

use super::Factory;
use crate::audit::{Audit, Birth, Recent};
use crate::clock::{Clock, Time};
use crate::draw::{Entropy, mix};
use crate::node::{Node, NodeSpec, PeerSpec};
use crate::packet;
use crate::script::Script;
use crate::wire::InFlight;

/// Datagrams that wait in the socket of a host that is late, at most.
pub(super) const MAILBOX: usize = 1024;

pub(super) struct Host {
    pub(super) node: Box<dyn Node>,
    pub(super) number: u8,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) public_key: PublicKey,
    /// Where it is seen, the latest last.
    pub(super) addresses: Vec<SocketAddr>,
    /// Until when nobody polls it, and whether it sleeps.
    pub(super) away: Option<(Time, bool)>,
    pub(super) mailbox: VecDeque<InFlight>,
    /// So many datagrams of a session come to it with a copy, and from where that comes.
    pub(super) twins: (u16, u8),
    /// When it is next to be polled.
    pub(super) deadline: Option<Time>,
    /// How often it began anew: its sessions before are gone.
    pub(super) epoch: u32,
    /// Its process was begun anew at this time.
    pub(super) restarted: Option<Time>,
    /// When it last wiped keys and handshakes for age (C60).
    pub(super) wiped: Option<Time>,
    pub(super) under_load: bool,
    pub(super) audit: Audit,
    pub(super) births: Recent<Birth>,
    /// Handshakes with each host.
    pub(super) handshakes: Vec<u64>,
    /// When an initiation of each host was last taken.
    pub(super) initiation_taken: Vec<Option<Instant>>,
    /// The newest initiation of each host that came.
    pub(super) newest_initiation: Vec<u64>,
    /// Where it takes each host to be.
    pub(super) endpoints: Vec<Option<SocketAddr>>,
    /// The latest wall time at which it began a handshake, in all its lives.
    pub(super) stamped: UnixTime,
    /// Datagrams that it sent.
    pub(super) sent: u64,
    /// Inner packets that it was given, and what it is known to have done with them.
    pub(super) given: u64,
    pub(super) done: u64,
    /// Bytes that its node has allocated and not given back.
    pub(super) memory: isize,
}

/// The private key of a host; `which` is 0 for the one that others know.
pub(super) fn private_key(seed: u64, host: u8, which: u8) -> PrivateKey {
    let mut bytes = [which; 32];
    bytes[..8].copy_from_slice(&mix(seed, 0x6b65_7900 + u64::from(host)).to_le_bytes());
    bytes[8] = host;
    PrivateKey::from_bytes(bytes)
}

/// Where a host is at first.
pub(super) fn first_address(host: u8) -> SocketAddr {
    ([192, 0, 2, host.wrapping_add(1)], 51_820).into()
}

/// What a host is told of another.
pub(super) fn peer_spec(seed: u64, host: u8, endpoint: SocketAddr) -> PeerSpec {
    PeerSpec { public_key: private_key(seed, host, 0).public_key(), endpoint, inner: packet::inner(host) }
}

impl Host {
    /// Whether it was told so, or may have found out for itself.
    pub(super) fn may_be_under_load(&self) -> bool {
        self.under_load || self.node.decides_load()
    }

    pub(super) fn new(script: &Script, number: u8, factory: &mut Factory<'_>) -> Self {
        let hosts = script.nodes.len();
        let (clock, entropy) =
            (Clock::new(number), Entropy::new(mix(script.seed, 0x656e_7400 + u64::from(number))));
        let endpoints: Vec<_> = (0u8..)
            .take(hosts)
            .map(|other| script.acquainted(number, other).then(|| first_address(other)))
            .collect();
        let node = make(script, number, &endpoints, &clock, 0, entropy.clone(), factory);
        Self {
            node,
            number,
            clock,
            entropy,
            public_key: private_key(script.seed, number, 0).public_key(),
            addresses: vec![first_address(number)],
            away: None,
            mailbox: VecDeque::new(),
            twins: (0, 0),
            deadline: None,
            epoch: 0,
            restarted: None,
            wiped: None,
            under_load: false,
            audit: Audit::default(),
            births: Recent::default(),
            handshakes: vec![0; hosts],
            initiation_taken: vec![None; hosts],
            newest_initiation: vec![0; hosts],
            endpoints,
            stamped: UnixTime::new(0, 0),
            sent: 0,
            given: 0,
            done: 0,
            memory: 0,
        }
    }

    /// Begins anew, as a process that ended: same keys, same addresses, everything else forgotten.
    pub(super) fn restart(
        &mut self,
        script: &Script,
        endpoints: &[Option<SocketAddr>],
        time: Time,
        factory: &mut Factory<'_>,
    ) {
        self.begin_anew();
        self.entropy = Entropy::new(mix(
            script.seed,
            0x656e_7400 + u64::from(self.number) + (u64::from(self.epoch) << 32),
        ));
        self.node = make(script, self.number, endpoints, &self.clock, time, self.entropy.clone(), factory);
        self.restarted = Some(time);
        self.under_load = false;
        self.initiation_taken.fill(None);
        self.memory = 0;
    }

    /// The sessions there were are gone.
    pub(super) fn begin_anew(&mut self) {
        self.epoch += 1;
        self.audit.forget_handshakes();
    }

    /// What waits for an answer waits in vain.
    pub(super) fn cut_handshakes(&mut self) {
        self.handshakes.iter_mut().for_each(|count| *count += 1);
        self.audit.forget_handshakes();
    }

    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.addresses.last().copied().unwrap_or_else(|| first_address(self.number))
    }

    pub(super) fn now(&self, time: Time) -> wg_datapath::Now {
        self.clock.now(time)
    }
}

fn make(
    script: &Script,
    number: u8,
    endpoints: &[Option<SocketAddr>],
    clock: &Clock,
    time: Time,
    entropy: Entropy,
    factory: &mut Factory<'_>,
) -> Box<dyn Node> {
    let peers = (0u8..)
        .zip(endpoints)
        .filter_map(|(other, endpoint)| Some(peer_spec(script.seed, other, (*endpoint)?)))
        .collect();
    let spec = NodeSpec {
        host: number,
        private_key: private_key(script.seed, number, 0),
        peers,
        entropy,
        now: clock.now(time),
    };
    factory(script.nodes[usize::from(number)], spec)
}
