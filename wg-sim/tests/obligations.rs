//! What a caller owes the crates, each duty neglected and kept in the same run of the simulator. `docs/obligations.md` has
//! them by kind of integrator.

#[path = "obligations/caller.rs"]
mod caller;

use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use caller::{Caller, Neglect};
use wg_datapath::memory::{MemoryNetwork, MemoryTun, MemoryUdp};
use wg_datapath::sched::{Budget, CoreId, Strategy as _, StrategyKind};
use wg_datapath::{Device, IpPrefix, Lane, LaneIo, Now, PeerId};
use wg_proto::aead::RingAead;
use wg_proto::{
    Config, Endpoint, Handled, Instant, Load, Peer, PrivateKey, RateLimiter, SealError, UnixTime, padded_len,
};
use wg_sim::{
    Command, DeviceNode, Entropy, Invariant, Node, NodeKind, NodeSpec, Outbox, PeerNode, Script, Violation,
    World, packet,
};

/// What came of a run: packets delivered from host 0 to 1 and back, keepalives and initiations sent, and multiplications with
/// the static key of host 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    there: u64,
    back: u64,
    keepalives: u64,
    initiations: u64,
    multiplications: u64,
}

/// Runs a script of two hosts with the node that `make` makes as host 0, and a faithful one as host 1.
fn run(
    script: &str,
    mut make: impl FnMut(NodeSpec, &Rc<Cell<u64>>) -> Box<dyn Node>,
) -> Result<Outcome, Violation> {
    let script = Script::parse(&format!("seed 1\nnodes peer peer\n{script}")).unwrap();
    let count = Rc::new(Cell::new(0));
    let mut factory = |_: NodeKind, spec: NodeSpec| -> Box<dyn Node> {
        if spec.host == 0 { make(spec, &count) } else { Box::new(PeerNode::new(spec)) }
    };
    let mut world = World::new(&script, &mut factory);
    for op in &script.ops {
        world.apply(*op)?;
    }
    let (keepalives, initiations) = (world.counts().keepalives, world.counts().initiations);
    let (there, back) = (world.flow(0, 1).1, world.flow(1, 0).1);
    drop(world);
    Ok(Outcome { there, back, keepalives, initiations, multiplications: count.get() })
}

fn with(neglect: Neglect, script: &str) -> Result<Outcome, Violation> {
    run(script, |spec, count| Box::new(Caller::new(spec, neglect, count)))
}

/// Runs with the duty kept, and with it neglected.
fn both(neglect: Neglect, script: &str) -> (Outcome, Outcome) {
    let kept = with(Neglect::Nothing, script).unwrap();
    (kept, with(neglect, script).unwrap())
}

#[test]
fn without_timers_a_lost_initiation_is_lost_for_ever() {
    let (kept, neglected) = both(
        Neglect::Timers,
        "link 0 1 cut 1\nsend 0 1 1 100\nadvance 1000\nlink 0 1 cut 0\nadvance 60000\n",
    );
    assert_eq!((kept.there, neglected.there), (1, 0));
}

#[test]
fn without_sending_what_is_polled_nobody_gets_an_answer() {
    let (kept, neglected) = both(Neglect::Transmits, "send 1 0 1 100\nadvance 60000\n");
    assert_eq!((kept.back, neglected.back), (1, 0));
}

#[test]
fn without_staging_the_first_packet_is_lost() {
    let script = "send 0 1 1 100\nadvance 1000\nsend 0 1 1 100\nadvance 1000\n";
    let (kept, neglected) = both(Neglect::Staging, script);
    assert_eq!((kept.there, neglected.there), (2, 1));
}

#[test]
fn without_asking_for_a_session_none_comes_about() {
    let (kept, neglected) = both(Neglect::Wish, "send 0 1 5 100\nadvance 60000\n");
    assert_eq!((kept.there, kept.initiations), (5, 1));
    assert_eq!((neglected.there, neglected.initiations), (0, 0));
}

#[test]
fn polling_before_sealing_what_was_kept_sends_a_keepalive_too_many() {
    let (kept, neglected) = both(Neglect::Order, "send 0 1 1 100\nadvance 1000\n");
    assert_eq!((kept.there, neglected.there), (1, 1));
    assert_eq!((kept.keepalives, neglected.keepalives), (0, 1));
}

#[test]
fn keeping_what_was_given_up_delivers_it_when_nobody_waits_any_more() {
    let script =
        "link 0 1 cut 1\nsend 0 1 3 100\nadvance 600000\nlink 0 1 cut 0\ninitiate 0 1\nadvance 5000\n";
    let (kept, neglected) = both(Neglect::Stale, script);
    assert_eq!((kept.there, neglected.there), (0, 3), "ten minutes late");
}

#[test]
fn without_trimming_padding_reaches_the_host() {
    let script = "send 1 0 1 100\nadvance 1000\n";
    assert_eq!(with(Neglect::Nothing, script).unwrap().back, 1);
    assert_eq!(with(Neglect::Trim, script).unwrap_err().invariant, Invariant::I2);
}

/// What a node does otherwise than the one it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vice {
    /// Writes another source into its packets.
    Lies,
    /// Sleeps until something comes in.
    Sleeps,
}

/// A node with a vice.
struct Vicious(Box<dyn Node>, Vice);

impl Node for Vicious {
    fn packet(&mut self, packet: &[u8], now: Now, out: &mut Outbox) {
        let mut packet = packet.to_vec();
        if self.1 == Vice::Lies {
            packet[12..16].copy_from_slice(&[10, 0, 0, 77]);
        }
        self.0.packet(&packet, now, out);
    }

    fn timeout(&mut self, now: Now, out: &mut Outbox) {
        if self.1 != Vice::Sleeps {
            self.0.timeout(now, out);
        }
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.0.next_timeout().filter(|_| self.1 != Vice::Sleeps)
    }

    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        self.0.datagram(datagram, from, now, out);
    }

    fn command(&mut self, command: Command, now: Now, out: &mut Outbox) -> bool {
        self.0.command(command, now, out)
    }

    fn endpoint(&mut self, peer: &wg_proto::PublicKey) -> Option<SocketAddr> {
        self.0.endpoint(peer)
    }

    fn last_handshake(&mut self, peer: &wg_proto::PublicKey) -> Option<UnixTime> {
        self.0.last_handshake(peer)
    }

    fn peers(&mut self) -> usize {
        self.0.peers()
    }

    fn indices(&mut self) -> usize {
        self.0.indices()
    }

    fn staged(&mut self) -> usize {
        self.0.staged()
    }
}

#[test]
fn without_a_look_at_the_source_a_peer_speaks_for_everybody() {
    let script = Script::parse("seed 1\nnodes peer peer\nsend 1 0 1 100\nadvance 1000\n").unwrap();
    let outcome = |neglect| {
        let count = Rc::new(Cell::new(0));
        let mut factory = |_: NodeKind, spec: NodeSpec| -> Box<dyn Node> {
            if spec.host == 0 {
                Box::new(Caller::new(spec, neglect, &count))
            } else {
                Box::new(Vicious(Box::new(PeerNode::new(spec)), Vice::Lies))
            }
        };
        let mut world = World::new(&script, &mut factory);
        let broken = script.ops.iter().find_map(|op| world.apply(*op).err());
        (broken.map(|violation| violation.invariant), world.flow(1, 0).1)
    };
    // The simulator takes the one as a packet that was altered, which it was; delivered it must not be.
    assert_eq!(outcome(Neglect::Source).0, Some(Invariant::I2));
    assert_eq!(outcome(Neglect::Nothing).1, 0);
}

#[test]
fn without_saying_that_there_is_load_each_forgery_costs_public_key_work() {
    let (kept, neglected) = both(Neglect::Load, "load 0 on\nforge 0 right-mac1 400\nadvance 2000\n");
    assert!(neglected.multiplications >= 400, "{neglected:?}");
    assert!(kept.multiplications <= 101, "{kept:?}");
}

#[test]
fn a_clock_that_does_not_count_sleep_sends_into_the_void() {
    let script = |counts: bool| {
        format!(
            "send 0 1 1 100\nadvance 1000\nsuspend 0 200000 {}\nadvance 200000\nsend 0 1 1 100\nadvance 2000\n",
            if counts { "on" } else { "off" }
        )
    };
    let there = |counts| with(Neglect::Nothing, &script(counts)).unwrap().there;
    assert_eq!((there(true), there(false)), (2, 1));
}

#[test]
fn a_wall_clock_that_starts_anew_locks_itself_out_until_it_has_caught_up() {
    let script = |back: i64| {
        format!(
            "send 0 1 1 100\nadvance 1000\nstep 0 wall {back}\nrestart 0\nsend 0 1 1 100\nadvance 90000\n"
        )
    };
    let there = |back| with(Neglect::Nothing, &script(back)).unwrap().there;
    assert_eq!((there(0), there(-86_400)), (2, 1));
}

#[test]
fn after_a_reset_a_persistent_keepalive_goes_on_only_if_asked_for() {
    let sent = |then: &str| {
        let script = format!("keepalive 0 1 25\nadvance 5000\nzero 0\n{then}advance 120000\n");
        with(Neglect::Nothing, &script).unwrap()
    };
    let (asked, not_asked) = (sent("initiate 0 1\n"), sent(""));
    assert_eq!((asked.initiations, not_asked.initiations), (2, 1));
    assert!(asked.keepalives >= not_asked.keepalives + 4, "{asked:?} {not_asked:?}");
}

#[test]
fn a_peer_that_moved_and_is_silent_is_found_only_by_its_new_address() {
    let there = |then: &str| {
        let script = format!(
            "send 0 1 1 100\nadvance 60000\nrebind 1 on\nadvance 200000\n{then}send 0 1 1 100\nadvance 60000\n"
        );
        with(Neglect::Nothing, &script).unwrap().there
    };
    assert_eq!((there("endpoint 0 1 on\n"), there("")), (2, 1));
}

#[test]
fn an_mtu_that_is_not_told_pads_beyond_what_the_path_takes() {
    // A full packet of 1,299 bytes; the path takes datagrams of 1,332: a packet of 1,300 and the overhead of 32.
    let there = |tell: &str| {
        let script = format!("{tell}link 0 1 mtu 1332\nsend 0 1 1 1299\nadvance 1000\n");
        with(Neglect::Nothing, &script).unwrap().there
    };
    assert_eq!((there("mtu 0 1300\n"), there("")), (1, 0));
    assert_eq!((padded_len(1299, 1300), padded_len(1299, 1420)), (1300, 1312));
}

// --- what needs no network to be seen ---

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: UnixTime = UnixTime::new(1_700_000_000, 0);

type Plain = Peer<PrivateKey, RingAead>;

fn address(last: u8) -> Endpoint {
    Endpoint::new(SocketAddr::from(([192, 0, 2, last], 51820)))
}

/// Two peers, and the entropy of each.
fn pair(seeds: [u64; 2]) -> [(Plain, Entropy); 2] {
    let keys = [[1; 32], [2; 32]].map(PrivateKey::from_bytes);
    let publics = keys.each_ref().map(PrivateKey::public_key);
    let mut made = keys.into_iter().zip(seeds).enumerate().map(|(at, (key, seed))| {
        let mut entropy = Entropy::new(seed);
        let remote = address(u8::try_from(2 - at).unwrap()).remote;
        let config = Config { endpoint: Some(remote), ..Config::new(publics[1 - at]) };
        (Peer::new(key, config, &mut entropy).unwrap(), entropy)
    });
    [made.next().unwrap(), made.next().unwrap()]
}

/// Everything the peer has to send.
fn sent((peer, entropy): &mut (Plain, Entropy)) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut out = [0; 148];
    while let Some(sent) = peer.poll_transmit(&mut out, NOW, WALL, entropy).unwrap() {
        all.push(out[..sent.len].to_vec());
    }
    all
}

fn take((peer, entropy): &mut (Plain, Entropy), datagram: &[u8], from: u8) {
    let mut datagram = datagram.to_vec();
    let taken = peer.handle(&mut datagram, address(from), Load::Normal, NOW, WALL, entropy);
    assert!(matches!(taken, Ok(Handled::Handshake | Handled::Keepalive)), "{taken:?}");
}

fn sealed((peer, _): &mut (Plain, Entropy), packet: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut out = vec![0; peer.sealed_len(packet.len())];
    peer.seal(packet, &mut out, NOW).map(|len| out[..len].to_vec())
}

/// A pair after a handshake that is not confirmed yet, and its initiation.
fn acquainted() -> ([(Plain, Entropy); 2], Vec<u8>) {
    let [mut alice, mut bob] = pair([11, 22]);
    alice.0.initiate(NOW);
    let initiation = sent(&mut alice).remove(0);
    take(&mut bob, &initiation, 1);
    let response = sent(&mut bob).remove(0);
    take(&mut alice, &response, 2);
    ([alice, bob], initiation)
}

/// Whether two datagrams bear the same index and counter: their contents, added, are those of the two packets.
fn nonce_is_shared(one: &[u8], other: &[u8], packets: [&[u8]; 2]) -> bool {
    let add = |one: &[u8], other: &[u8]| one.iter().zip(other).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
    let len = packets[0].len();
    one[..16] == other[..16] && add(&one[16..16 + len], &other[16..16 + len]) == add(packets[0], packets[1])
}

#[test]
fn a_generator_that_starts_alike_at_each_boot_uses_a_nonce_twice() {
    // Who recorded the first handshake and its confirmation plays them to the device after its restart.
    let again = |second: u64| {
        let ([mut alice, mut bob], initiation) = acquainted();
        let confirmation = sent(&mut alice).remove(0);
        take(&mut bob, &confirmation, 1);
        let first = sealed(&mut bob, b"what he says now").unwrap();

        let [_, mut bob] = pair([11, second]);
        take(&mut bob, &initiation, 1);
        sent(&mut bob);
        let mut datagram = confirmation.clone();
        let confirmed = bob.0.handle(&mut datagram, address(1), Load::Normal, NOW, WALL, &mut bob.1);
        confirmed.is_ok_and(|_| {
            let later = sealed(&mut bob, b"and after reboot").unwrap();
            nonce_is_shared(&first, &later, [b"what he says now", b"and after reboot"])
        })
    };
    assert!(again(22), "both packets are readable to everybody who knows one");
    assert!(!again(23));
}

#[test]
fn a_snapshot_that_runs_twice_uses_a_nonce_twice_unless_told() {
    let (([mut original, _], _), ([mut restored, _], _)) = (acquainted(), acquainted());
    let one = sealed(&mut original, b"one").unwrap();
    let other = sealed(&mut restored, b"two").unwrap();
    assert!(nonce_is_shared(&one, &other, [b"one", b"two"]));

    let ([mut told, _], _) = acquainted();
    told.0.on_vm_generation_change();
    assert_eq!(sealed(&mut told, b"two"), Err(SealError::NoSession));
}

#[test]
fn mapped_addresses_share_the_tokens_of_one_network() {
    let mut limiter = RateLimiter::<16>::new();
    let mut allowed = |address: &str| limiter.allow(address.parse::<IpAddr>().unwrap(), NOW);
    for number in 1..=5 {
        assert!(allowed(&format!("::ffff:203.0.113.{number}")));
    }
    assert!(!allowed("::ffff:198.51.100.1"), "an honest stranger finds none left");
    assert!(allowed("198.51.100.1"), "as what he is, he has his own");
}

// --- of a device ---

#[test]
fn a_device_without_turns_at_its_deadlines_forgets_lost_initiations() {
    let script = "link 0 1 cut 1\nsend 0 1 1 100\nadvance 1000\nlink 0 1 cut 0\nadvance 60000\n";
    let kept = run(script, |spec, _| Box::new(DeviceNode::new(spec))).unwrap();
    let neglected =
        run(script, |spec, _| Box::new(Vicious(Box::new(DeviceNode::new(spec)), Vice::Sleeps))).unwrap();
    assert_eq!((kept.there, neglected.there), (1, 0));
}

/// A device with its lane and edges in memory; host 0 of two.
struct Machine {
    device: Device<RingAead, Entropy>,
    lane: Lane<RingAead>,
    tun: MemoryTun,
    udp: MemoryUdp,
    peer: PeerId,
}

/// The hour at which it works.
const TURN: Now = Now { instant: NOW, wall: WALL };

impl Machine {
    fn new(host: u8, network: &MemoryNetwork, remote: Option<SocketAddr>) -> Self {
        let mut device = Device::new(wg_datapath::Config::default(), Entropy::new(host.into())).unwrap();
        device.set_private_key(Some(PrivateKey::from_bytes([host + 1; 32])), TURN);
        let peer = device.add_peer(PrivateKey::from_bytes([2 - host; 32]).public_key()).unwrap();
        let prefix = IpPrefix::new(packet::inner(1 - host).into(), 32).unwrap();
        device.add_allowed_ip(peer, prefix).unwrap();
        if let Some(remote) = remote {
            device.set_endpoint(peer, remote);
        }
        device.set_up(true, TURN);
        let udp = network.socket(address(host + 1).remote);
        Self { device, lane: Lane::new(), tun: MemoryTun::default(), udp, peer }
    }

    /// The host has a packet for the other.
    fn offer(&mut self) {
        let mut bytes = Vec::new();
        packet::write(&mut bytes, 0, 1, 0, 100);
        self.tun.outgoing.push_back(bytes);
    }

    /// Takes `turns` turns, fewer if there is nothing to do.
    fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            let Self { device, lane, tun, udp, .. } = self;
            let mut io = LaneIo { device, lane, tun, udp, now: TURN };
            if StrategyKind::Inline.build().step(CoreId(0), Budget::default(), &mut io).idle() {
                return;
            }
        }
    }

    fn work(&mut self) {
        self.lane.readable(true, true);
        self.turns(100);
    }
}

/// Two machines that know each other, but the first may not know where the second is.
fn machines(remote: Option<SocketAddr>) -> [Machine; 2] {
    let network = MemoryNetwork::default();
    [Machine::new(0, &network, remote), Machine::new(1, &network, None)]
}

#[test]
fn an_edge_that_is_not_said_to_be_readable_is_not_read_again() {
    let [mut one, mut other] = machines(Some(address(2).remote));
    one.work();
    one.offer();
    one.turns(100);
    other.work();
    assert_eq!(one.tun.outgoing.len(), 1, "it was read to its end before, and nobody said that this changed");
    for _ in 0..3 {
        one.work();
        other.work();
    }
    assert_eq!((one.tun.outgoing.len(), other.tun.delivered.len()), (0, 1));
}

#[test]
fn a_device_that_sleeps_on_its_work_answers_nobody() {
    let [mut one, mut other] = machines(Some(address(2).remote));
    one.work();
    one.device.initiate(one.peer, TURN);
    // What the duty is about: there is work, and no deadline that would wake it.
    assert!(one.device.has_work());
    assert_eq!(one.device.poll_timeout(), None);
    other.work();
    assert!(other.device.peers().all(|status| status.endpoint.is_none()), "nothing came");
    one.turns(100);
    assert!(!one.device.has_work());
    other.work();
    assert!(other.device.peers().all(|status| status.endpoint.is_some()), "the initiation came");
}

#[test]
fn a_peer_that_is_not_said_to_be_configured_keeps_packets_waiting() {
    let [mut one, mut other] = machines(None);
    one.offer();
    one.work();
    one.device.set_endpoint(one.peer, address(2).remote);
    for _ in 0..3 {
        one.work();
        other.work();
    }
    assert_eq!(other.tun.delivered.len(), 0);
    one.device.peer_configured(one.peer, TURN);
    for _ in 0..3 {
        one.work();
        other.work();
    }
    assert_eq!(other.tun.delivered.len(), 1);
}
