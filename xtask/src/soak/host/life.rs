//! L1: a day of ten peers, in as much time as there is: traffic both ways with each of them, a peer and then the hub that die
//! and return, a flood every hour, and MTUs that change. Packets are lost in the gaps that this makes, and nowhere else.
//!
//! ```text
//!   attacker ---.             .--- peer 2
//!   10.2.0.2    `--- hub 1 ---+--- ..
//!                             `--- peer 11
//! ```

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use wg_netns::flood::{self, Flood, Kind};
use wg_netns::node::PORT;
use wg_netns::udp::{Account, Flow};
use wg_netns::veth::Veth;
use wg_netns::{Family, Namespace, Node, Program, process, veth, wait};

use super::Choices;
use super::figures::{add, sample, sample_ms};
use crate::soak::progress::Counts;

const PEERS: u8 = 10;
const HOURS: u32 = 24;
/// When a peer and when the hub is killed, and from when on nothing grows any more.
const PEER_DIES: u32 = 3;
const HUB_DIES: u32 = 6;
const WARM: u32 = 12;
/// Of each stream, in packets a second, and their size: two fragments where the MTU is smallest.
const RATE: u32 = 50;
const SIZE: usize = 1000;
/// What may have been on its way at either end of a gap.
const ON_ITS_WAY: u64 = RATE as u64 / 5;
/// How long a peer may be silent (the timers of the protocol need 21 s after a restart).
const SILENCE: Duration = Duration::from_secs(30);
const FLOOD_RATE: u32 = 20_000;
const ATTACKED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), PORT);
/// What a program may grow from noon to midnight, in KiB: pools that fill up, but no leak of each packet or flood.
const GROWTH: u64 = 1024;
const MTUS: [u32; 7] = [576, 577, 1280, 1420, 1500, 9000, 65_535];
/// What a gateway may drop when it gets no processor time for long; it is counted.
const COUNTED: [&str; 3] = ["queue_delay", "queue_overflow", "send_queue_full"];

/// Lives for a day that takes about `day`.
pub(super) fn trial(seed: u64, counts: &mut Counts, day: Duration) -> Result<(), String> {
    let mut choices = Choices(seed);
    let mut site = Site::build();
    site.start_streams()?;
    let hour_length = day / HOURS;
    let start = Instant::now();
    for hour in 0..HOURS {
        match hour {
            PEER_DIES => site.restart_peer(&mut choices, counts)?,
            HUB_DIES => site.restart_hub(counts)?,
            WARM => site.weigh(counts)?,
            _ => {}
        }
        site.change_mtu(&mut choices, counts)?;
        site.flood(&mut choices, (hour_length / 8).min(Duration::from_secs(60)), counts)?;
        site.watch(start + hour_length * (hour + 1))?;
    }
    site.weigh(counts)?;
    site.end(counts)?;
    add(counts, "days", 1);
    Ok(())
}

/// One of the ten.
struct Peer {
    node: Node,
    cable: Veth,
    /// From the hub, and to it.
    streams: Vec<Stream>,
    weight: Option<Weight>,
}

/// A stream and the gaps that it is allowed, as ranges of its numbers.
struct Stream {
    flow: Flow,
    gaps: Vec<(u64, u64)>,
    heard: (u64, Instant),
}

impl Stream {
    fn start(from: &Node, to: &Node, port: u16) -> Self {
        let address = (to.inner(Family::V4), port).into();
        let flow = Flow::start(&from.namespace, &to.namespace, address, RATE, SIZE);
        Self { flow, gaps: Vec::new(), heard: (0, Instant::now()) }
    }

    /// Whether something arrived since it was last asked.
    fn is_heard(&mut self) -> bool {
        let received = self.flow.received();
        let is_heard = received > self.heard.0;
        if is_heard {
            self.heard = (received, Instant::now());
        }
        is_heard
    }
}

/// Memory in KiB and open files of a program.
#[derive(Clone, Copy)]
struct Weight {
    resident: u64,
    files: usize,
}

impl Weight {
    fn of(node: &Node) -> Result<Self, String> {
        let pid = node.tunnel.pid();
        let weight = process::resident_kib(pid).zip(process::open_files(pid));
        let (resident, files) = weight.ok_or_else(|| format!("node {} has ended", node.number))?;
        Ok(Self { resident, files })
    }

    /// Looks at what became of a program since `before`.
    fn compare(self, before: &mut Option<Self>, who: u8, counts: &mut Counts) -> Result<(), String> {
        let Some(before) = before.replace(self) else { return Ok(()) };
        let grown = self.resident.saturating_sub(before.resident);
        sample(counts, "KiB grown from noon to midnight", grown);
        if grown > GROWTH || self.files != before.files {
            let Self { resident, files } = before;
            return Err(format!(
                "node {who}: from {resident} KiB and {files} files to {} and {}",
                self.resident, self.files
            ));
        }
        Ok(())
    }
}

struct Site {
    hub: Node,
    weight: Option<Weight>,
    peers: Vec<Peer>,
    attacker: Namespace,
}

impl Site {
    fn build() -> Self {
        let hub = Node::new(Program::Gateway, 1);
        let peers = (2..2 + PEERS).map(|number| {
            let node = Node::new(Program::Gateway, number);
            let cable = veth::connect(&hub.namespace, &node.namespace);
            let (own, other) = (hub.outer(Family::V4), node.outer(Family::V4));
            hub.namespace.ip(&format!("addr add {own} peer {other} dev {}", cable.first));
            node.plug_in(&cable.second);
            Peer { node, cable, streams: Vec::new(), weight: None }
        });
        let peers = peers.collect();
        let attacker = Namespace::new();
        flood::prepare(&attacker);
        for which in ["all", "default"] {
            hub.namespace.set_sysctl(&format!("ipv4/conf/{which}/rp_filter"), "0");
        }
        let cable = veth::connect(&attacker, &hub.namespace);
        attacker.ip(&format!("addr add 10.2.0.2/24 dev {}", cable.first));
        hub.namespace.ip(&format!("addr add {}/24 dev {}", ATTACKED.ip(), cable.second));
        hub.namespace.ip(&format!("route add {} via 10.2.0.2", flood::SOURCES));
        let site = Self { hub, weight: None, peers, attacker };
        site.acquaint_hub();
        for peer in &site.peers {
            site.acquaint(peer);
        }
        site
    }

    fn acquaint_hub(&self) {
        for Peer { node, .. } in &self.peers {
            self.hub.add_peer_directly(node, node.endpoint(Family::V4));
        }
    }

    fn acquaint(&self, peer: &Peer) {
        peer.node.add_peer_directly(&self.hub, self.hub.endpoint(Family::V4));
    }

    fn start_streams(&mut self) -> Result<(), String> {
        for peer in &mut self.peers {
            if !peer.node.reaches_within(SILENCE, &self.hub, Family::V4) {
                return Err(format!("peer {} has no session", peer.node.number));
            }
            peer.streams.push(Stream::start(&self.hub, &peer.node, 9000));
            peer.streams.push(Stream::start(&peer.node, &self.hub, 9000 + u16::from(peer.node.number)));
        }
        self.watch(Instant::now() + Duration::from_millis(200))
    }

    /// Does something that some of the streams suffer from, and waits until all are heard again. Tells how long that took.
    fn disturb(
        &mut self,
        suffers: impl Fn(&Peer) -> bool,
        work: impl FnOnce(&mut Self),
    ) -> Result<Duration, String> {
        let sent =
            |peer: &Peer| -> Vec<u64> { peer.streams.iter().map(|stream| stream.flow.sent()).collect() };
        let before: Vec<_> = self.peers.iter().map(sent).collect();
        work(self);
        let start = Instant::now();
        let chosen = |(peer, _): &(&mut Peer, _)| suffers(peer);
        for (peer, before) in self.peers.iter_mut().zip(before).filter(chosen) {
            for (stream, before) in peer.streams.iter_mut().zip(before) {
                stream.is_heard();
                if !wait::until(SILENCE.saturating_sub(start.elapsed()), || stream.is_heard()) {
                    return Err(format!("peer {} is silent", peer.node.number));
                }
                let end = stream.flow.sent() + ON_ITS_WAY;
                stream.gaps.push((before.saturating_sub(ON_ITS_WAY), end));
            }
        }
        Ok(start.elapsed())
    }

    fn restart_peer(&mut self, choices: &mut Choices, counts: &mut Counts) -> Result<(), String> {
        let at = choose(choices, self.peers.len());
        let number = self.peers[at].node.number;
        let back = self.disturb(
            |peer| peer.node.number == number,
            |site| {
                site.peers[at].node.kill();
                site.peers[at].node.start_again();
                site.acquaint(&site.peers[at]);
            },
        )?;
        sample_ms(counts, "ms to be back, peer", back);
        Ok(())
    }

    fn restart_hub(&mut self, counts: &mut Counts) -> Result<(), String> {
        let back = self.disturb(
            |_| true,
            |site| {
                site.hub.kill();
                site.hub.start_again();
                site.acquaint_hub();
            },
        )?;
        sample_ms(counts, "ms to be back, hub", back);
        Ok(())
    }

    /// Changes the MTU of a tunnel, at one of its ends or both, or of a link outside.
    fn change_mtu(&mut self, choices: &mut Choices, counts: &mut Counts) -> Result<(), String> {
        let (at, mtu) = (choose(choices, self.peers.len()), MTUS[choose(choices, MTUS.len())]);
        let (number, kind) = (self.peers[at].node.number, choices.below(3));
        // Everybody's packets come out of the hub's interface.
        let suffers = |peer: &Peer| kind == 0 || peer.node.number == number;
        self.disturb(suffers, |site| {
            let Peer { node, cable, .. } = &site.peers[at];
            let set = |node: &Node, link: &str| node.namespace.ip(&format!("link set {link} mtu {mtu}"));
            match kind {
                0 => drop(set(&site.hub, site.hub.interface())),
                1 => drop(set(node, node.interface())),
                _ => {
                    set(&site.hub, &cable.first);
                    set(node, &cable.second);
                }
            }
        })?;
        add(counts, "changes of an MTU", 1);
        Ok(())
    }

    fn flood(&mut self, choices: &mut Choices, length: Duration, counts: &mut Counts) -> Result<(), String> {
        let kind = [Kind::WrongMac1, Kind::RightMac1, Kind::Verified][choose(choices, 3)];
        self.disturb(
            |_| true,
            |site| {
                let key = &site.hub.keys.public;
                let flood = Flood::start(&site.attacker, kind, ATTACKED, key, FLOOD_RATE, None);
                std::thread::sleep(length);
                add(counts, "datagrams of floods", flood.finish().sent);
            },
        )
        .map(drop)
    }

    /// Sees that nobody is silent until then.
    fn watch(&mut self, until: Instant) -> Result<(), String> {
        loop {
            for peer in &mut self.peers {
                let late = |stream: &mut Stream| !stream.is_heard() && stream.heard.1.elapsed() > SILENCE;
                if peer.streams.iter_mut().any(late) {
                    return Err(format!("peer {} is silent", peer.node.number));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(200)));
        }
    }

    /// Looks at memory and files of all programs, and compares them with the last time.
    fn weigh(&mut self, counts: &mut Counts) -> Result<(), String> {
        Weight::of(&self.hub)?.compare(&mut self.weight, self.hub.number, counts)?;
        for Peer { node, weight, .. } in &mut self.peers {
            Weight::of(node)?.compare(weight, node.number, counts)?;
        }
        Ok(())
    }

    /// Ends everything, and settles the account.
    fn end(self, counts: &mut Counts) -> Result<(), String> {
        let (mut nodes, mut lost, mut bad) = (vec![self.hub], 0, Vec::new());
        for Peer { node, streams, .. } in self.peers {
            for Stream { flow, gaps, .. } in streams {
                let account = flow.finish();
                add(counts, "packets", account.sent);
                add(counts, "packets lost in the gaps", account.lost());
                lost += outside(&account, &gaps);
                if account.corrupted + account.duplicated > 0 {
                    bad.push(format!("peer {}: {account:?}", node.number));
                }
            }
            nodes.push(node);
        }
        let counted: u64 = nodes.iter_mut().map(counted).sum();
        add(counts, "packets lost elsewhere and counted", lost.min(counted));
        if lost > counted {
            bad.push(format!("{lost} packets are lost outside the gaps, and {counted} are counted"));
        }
        if bad.is_empty() { Ok(()) } else { Err(bad.join("; ")) }
    }
}

fn choose(choices: &mut Choices, count: usize) -> usize {
    usize::try_from(choices.below(count as u64)).unwrap_or(0)
}

/// Packets lost that no gap explains.
fn outside(account: &Account, gaps: &[(u64, u64)]) -> u64 {
    let explained = |number: &u64| gaps.iter().any(|(first, end)| (*first..*end).contains(number));
    let lost = account.gaps.iter().flat_map(|(first, count)| *first..first + count);
    lost.filter(|number| !explained(number)).count() as u64
}

/// Ends a gateway and reads from its log what it dropped for want of processor time.
fn counted(node: &mut Node) -> u64 {
    node.tunnel.signal(Signal::TERM);
    node.tunnel.wait_for_end();
    let log = node.tunnel.log();
    let dropped = log.lines().rev().find_map(|line| line.split_once("dropped: ")).map(|(_, list)| list);
    let counts = dropped.unwrap_or_default().split(", ").filter_map(|entry| entry.split_once(' '));
    counts.filter(|(name, _)| COUNTED.contains(name)).filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_explained_by_gaps_only() {
        let account = Account { gaps: vec![(5, 2), (20, 3)], ..Account::default() };
        assert_eq!(outside(&account, &[]), 5);
        assert_eq!(outside(&account, &[(0, 6)]), 4);
        assert_eq!(outside(&account, &[(0, 7), (20, 23)]), 0);
        assert_eq!(outside(&account, &[(0, 7), (21, 30)]), 1);
    }
}
