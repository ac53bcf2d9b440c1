//! A victim, an attacker, and honest peers: where floods are shown.
//!
//! ```text
//!   sink ------ attacker ------ victim ------ honest peer
//!   10.3.0.1    10.77.0.0/16    10.2.0.1      10.0.0.2, newcomers at 10.78.0.0/16
//! ```
//!
//! The honest peer is a `wg-gateway` whatever the victim is, so that nothing but the victim differs.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::net::UdpSocket;

use crate::capture::{Capture, Datagram};
use crate::node::PORT;
use crate::{Family, Namespace, Node, Program, flood, newcomers, process, veth};

const VICTIM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), PORT);
const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 3, 0, 1), PORT);

/// Where a flood goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To nobody: what it costs the machine.
    Sink,
    /// To the program.
    Victim,
}

/// Who runs where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processors {
    /// The victim's; any if none is named.
    pub victim: Option<usize>,
    /// That of everybody else.
    pub others: Option<usize>,
}

impl Processors {
    /// One for the victim and another for all others, where there are two.
    pub fn apart() -> Self {
        let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        if several { Self { victim: Some(0), others: Some(1) } } else { Self::default() }
    }
}

/// The nodes and namespaces.
#[derive(Debug)]
pub struct Site {
    /// The node that is attacked.
    pub victim: Node,
    /// Its honest peer.
    pub peer: Node,
    /// Who runs where.
    pub processors: Processors,
    attacker: Namespace,
    /// The attacker's interface on the side of the victim.
    link: String,
    // Both for as long as the site stands.
    _sink: Namespace,
    _deaf: UdpSocket,
}

impl Site {
    /// Builds it around `program`, with a session between the two nodes.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn build(program: Program, processors: Processors) -> Self {
        // Programs stay where the thread is that starts them.
        process::pin_thread(processors.victim);
        let victim = Node::new(program, 1);
        process::pin_thread(processors.others);
        let peer = Node::new(Program::Gateway, 2);
        let cable = veth::connect(&victim.namespace, &peer.namespace);
        victim.plug_in(&cable.first);
        peer.plug_in(&cable.second);
        newcomers::prepare(&peer.namespace);
        victim.namespace.ip(&format!("route add {} via {}", newcomers::ADDRESSES, peer.outer(Family::V4)));

        let (attacker, sink) = (Namespace::new(), Namespace::new());
        flood::prepare(&attacker);
        let mut link = String::new();
        for (target, destination) in [(&sink, SINK), (&victim.namespace, VICTIM)] {
            // Answers to addresses that come from elsewhere are no mistake here.
            for which in ["all", "default"] {
                target.set_sysctl(&format!("ipv4/conf/{which}/rp_filter"), "0");
            }
            let cable = veth::connect(&attacker, target);
            let [a, b, c, _] = destination.ip().octets();
            attacker.ip(&format!("addr add {a}.{b}.{c}.2/24 dev {}", cable.first));
            target.ip(&format!("addr add {}/24 dev {}", destination.ip(), cable.second));
            target.ip(&format!("route add {} via {a}.{b}.{c}.2", flood::SOURCES));
            link = cable.first;
        }
        let deaf = sink.enter(|| UdpSocket::bind(SocketAddr::from(SINK)).expect("the address of the sink"));
        victim.add_peer_directly(&peer, peer.endpoint(Family::V4));
        peer.add_peer_directly(&victim, victim.endpoint(Family::V4));
        let reached = peer.reaches_within(Duration::from_secs(10), &victim, Family::V4);
        assert!(reached, "{}: no ping was answered", program.name());
        Self { victim, peer, processors, attacker, link, _sink: sink, _deaf: deaf }
    }

    /// Begins a flood of `rate` datagrams a second.
    ///
    /// # Panics
    ///
    /// When the kernel gives no sockets for it.
    #[track_caller]
    pub fn flood(&self, destination: Destination, kind: flood::Kind, rate: u32) -> flood::Flood {
        let target = match destination {
            Destination::Sink => SINK,
            Destination::Victim => VICTIM,
        };
        let key = &self.victim.keys.public;
        flood::Flood::start(&self.attacker, kind, target, key, rate, self.processors.others)
    }

    /// An index that the victim receives data at.
    ///
    /// # Panics
    ///
    /// When no data of the peer is seen.
    #[track_caller]
    pub fn live_index(&self) -> u32 {
        let capture = Capture::start(&self.peer.namespace);
        let seen = || {
            // Something of the peer must be under way.
            self.peer.reaches(&self.victim, Family::V4);
            let to_victim = self.victim.endpoint(Family::V4);
            let data = capture.find(Duration::from_millis(100), |datagram| {
                datagram.destination == to_victim && datagram.payload.first() == Some(&4)
            })?;
            data.payload.get(4..8)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
        };
        (0..5).find_map(|_| seen()).expect("data of the peer")
    }

    /// Where the program listens for the newcomers.
    pub fn entrance(&self) -> SocketAddr {
        self.victim.endpoint(Family::V4)
    }

    /// The inner address of the victim.
    pub fn inside(&self) -> Ipv4Addr {
        match self.victim.inner(Family::V4) {
            core::net::IpAddr::V4(address) => address,
            core::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Packets and bytes that came back to the attacker over his link to the victim.
    pub fn answers(&self) -> (u64, u64) {
        let table = self.attacker.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
        let table = table.unwrap_or_default();
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{}:", self.link)));
        let mut fields = line.unwrap_or_default().split_whitespace().map(|field| field.parse().unwrap_or(0));
        let bytes = fields.next().unwrap_or(0);
        (fields.next().unwrap_or(0), bytes)
    }

    /// Watches what the attacker sends and gets.
    ///
    /// # Panics
    ///
    /// When the kernel gives no packet socket.
    #[track_caller]
    pub fn watch_attacker(&self) -> Capture {
        Capture::start(&self.attacker)
    }

    /// Whether a datagram goes from the victim to the attacker.
    pub fn is_answer(datagram: &Datagram) -> bool {
        datagram.source == SocketAddr::from(VICTIM)
    }

    /// Datagrams that found the victim's socket full.
    pub fn overflowed(&self) -> u64 {
        let table = self.victim.namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"));
        let table = table.unwrap_or_default();
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
        let at = names.split(' ').position(|name| name == "RcvbufErrors");
        at.and_then(|at| values.split(' ').nth(at)?.parse().ok()).unwrap_or(0)
    }
}
