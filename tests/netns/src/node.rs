//! One tunnel in one namespace, with keys and addresses that follow from its number.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use crate::key::{Key, KeyPair};
use crate::ping::Ping;
use crate::status::PeerStatus;
use crate::{Launch, Namespace, Program, Tunnel, process, uapi, wait};

/// The UDP port of every node; each has a namespace of its own.
pub const PORT: u16 = 51820;

/// Which internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// A namespace, a tunnel, keys and addresses.
#[derive(Debug)]
pub struct Node {
    // Before the namespace: fields are dropped in order, and the program ends before its namespace does.
    /// The running program.
    pub tunnel: Tunnel,
    /// Where it runs.
    pub namespace: Namespace,
    /// Its keys.
    pub keys: KeyPair,
    /// Distinguishes the nodes of one test; all addresses follow from it.
    pub number: u8,
}

impl Node {
    /// Starts a program in a new namespace, gives it keys, port [`PORT`] and inner addresses, and takes it up. It has no
    /// peers and, before [`Self::plug_in`], no outer addresses.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn new(launch: impl Into<Launch>, number: u8) -> Self {
        let namespace = Namespace::new();
        let tunnel = Tunnel::start(launch, &namespace);
        let node = Self { tunnel, namespace, keys: KeyPair::generate(), number };
        node.configure();
        node
    }

    /// Starts the program again under the same interface name after it ended: keys and addresses return, peers do not.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.tunnel.start_again(&self.namespace);
        self.configure();
    }

    #[track_caller]
    fn configure(&self) {
        // Through the socket: who only wants two nodes, as the demo does, needs no `wg`.
        self.set_directly(&format!("private_key={}\nlisten_port={PORT}\n", self.keys.private.hex()));
        self.take_up(&self.namespace);
    }

    /// Gives the interface, which is in `namespace`, its inner addresses and takes it up.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn take_up(&self, namespace: &Namespace) {
        let interface = self.tunnel.interface();
        namespace.ip(&format!("addr add {}/24 dev {interface}", self.inner(Family::V4)));
        namespace.ip(&format!("addr add {}/64 dev {interface} nodad", self.inner(Family::V6)));
        namespace.ip(&format!("link set {interface} up"));
    }

    /// Puts the two outer addresses of each family on `link`, an interface in the namespace.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn plug_in(&self, link: &str) {
        for address in [self.outer(Family::V4), self.second_outer(Family::V4)] {
            self.namespace.ip(&format!("addr add {address}/24 dev {link}"));
        }
        // Of two that serve as well the kernel takes the later one as its source.
        for address in [self.second_outer(Family::V6), self.outer(Family::V6)] {
            self.namespace.ip(&format!("addr add {address}/64 dev {link} nodad"));
        }
    }

    /// The name of the interface of the tunnel.
    pub fn interface(&self) -> &str {
        self.tunnel.interface()
    }

    /// The address inside the tunnel.
    pub fn inner(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 1, 0, self.number).into(),
            Family::V6 => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// The address outside.
    pub fn outer(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, self.number).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// Another address outside, on the same link.
    pub fn second_outer(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, 100 + self.number).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, self.number.into()).into(),
        }
    }

    /// Where the program listens.
    pub fn endpoint(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.outer(family), PORT)
    }

    /// Makes `other` a peer with its inner addresses as allowed IPs; `endpoint` is where it is, if that is to be known.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn add_peer(&self, other: &Self, endpoint: Option<SocketAddr>) {
        let endpoint = endpoint.map(|endpoint| format!("endpoint {endpoint}")).unwrap_or_default();
        self.tunnel.set(&format!(
            "peer {} {endpoint} allowed-ips {}/32,{}/128",
            other.keys.public,
            other.inner(Family::V4),
            other.inner(Family::V6),
        ));
    }

    /// What [`Self::add_peer`] does, through the UAPI socket and without `wg`.
    ///
    /// # Panics
    ///
    /// When the program refuses.
    #[track_caller]
    pub fn add_peer_directly(&self, other: &Self, endpoint: SocketAddr) {
        self.set_directly(&format!(
            "public_key={}\nendpoint={endpoint}\nreplace_allowed_ips=true\nallowed_ip={}/32\nallowed_ip={}/128\n",
            other.keys.public.hex(),
            other.inner(Family::V4),
            other.inner(Family::V6),
        ));
    }

    #[track_caller]
    fn set_directly(&self, body: &str) {
        match uapi::set(self.interface(), body) {
            Ok(0) => {}
            Ok(errno) => panic!("errno {errno} for:\n{body}"),
            Err(error) => panic!("the socket of {}: {error}", self.interface()),
        }
    }

    /// What the program says about its peer `other`, through the UAPI socket and without `wg`.
    ///
    /// # Panics
    ///
    /// When it does not answer or knows no such peer.
    #[track_caller]
    pub fn peer_directly(&self, other: &Self) -> PeerStatus {
        let status = uapi::get(self.interface()).expect("an answer on the socket");
        status.peer(&other.keys.public).expect("the peer").clone()
    }

    /// Sets the preshared key for `other`, or removes it.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn set_preshared_key(&self, other: &Self, key: Option<Key>) {
        let key = key.map(|key| key.to_string()).unwrap_or_default();
        self.tunnel.set_with_input(&format!("peer {} preshared-key /dev/stdin", other.keys.public), &key);
    }

    /// What the program says about its peer `other`.
    ///
    /// # Panics
    ///
    /// When it knows no such peer.
    #[track_caller]
    pub fn peer(&self, other: &Self) -> PeerStatus {
        match self.tunnel.show().peer(&other.keys.public) {
            Some(peer) => peer.clone(),
            None => panic!("node {} does not know node {}", self.number, other.number),
        }
    }

    /// What a gateway has dropped so far, by reason, as its socket tells; nothing from any other program.
    ///
    /// # Panics
    ///
    /// When it does not answer, or with what is no count, or zero.
    #[track_caller]
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let status = uapi::request(self.interface(), "get=1\n\n").expect("an answer");
        let device = status.split("public_key=").next().expect("its beginning");
        let lines = device.lines().filter_map(|line| line.strip_prefix("dropped="));
        let count = |line: &str| {
            let (reason, count) = line.split_once(' ').expect("a reason and a count");
            (reason.to_owned(), count.parse().expect("a number"))
        };
        let drops: BTreeMap<_, _> = lines.map(count).collect();
        assert!(drops.values().all(|count| *count > 0), "{drops:?}");
        drops
    }

    /// Datagrams that found no room at the program's sockets and that no test minds: the other implementations leave their buffers as
    /// the kernel makes them, for a hundred datagrams or two, and a busy machine can keep a program waiting for longer than those
    /// take. Nothing is excused of a gateway.
    pub fn excused_losses(&self) -> u64 {
        match self.tunnel.program() {
            Program::Gateway => 0,
            Program::WireguardGo | Program::Boringtun | Program::Gotatun => {
                process::datagrams_without_room(self.tunnel.pid(), PORT).unwrap_or(0)
            }
        }
    }

    /// Whether one ping through the tunnel is answered within two seconds.
    pub fn reaches(&self, other: &Self, family: Family) -> bool {
        Ping::to(other.inner(family)).patience(Duration::from_secs(2)).run(&self.namespace).received == 1
    }

    /// Pings through the tunnel until an answer comes, for at most `limit`.
    pub fn reaches_within(&self, limit: Duration, other: &Self, family: Family) -> bool {
        wait::until(limit, || {
            Ping::to(other.inner(family)).patience(Duration::from_secs(1)).run(&self.namespace).received == 1
        })
    }

    /// Ends the program as `kill -9` does and waits until the kernel has taken the interface away.
    ///
    /// # Panics
    ///
    /// When the interface stays.
    #[track_caller]
    pub fn kill(&mut self) {
        self.tunnel.kill();
        let gone = wait::until(crate::tunnel::PATIENCE, || !self.namespace.has_interface(self.interface()));
        assert!(gone, "the interface outlives its program");
    }
}
