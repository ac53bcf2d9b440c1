//! tshark, which is not ours, decrypts what gateways and `wireguard-go` send each other on a real wire, through rekeys of
//! every kind, and finds the packets that went into the tunnel.
//!
//! One of the rekeys is that of the timer, so this takes two minutes, and all pairs run at once.

use core::net::SocketAddr;
use core::time::Duration;

use wg_netns::capture::{Capture, Datagram};
use wg_netns::key::{Key, KeyPair};
use wg_netns::node::PORT;
use wg_netns::pcap::PcapWriter;
use wg_netns::requirements::Requirements;
use wg_netns::tshark::{self, Dissected};
use wg_netns::udp::{Account, Flow};
use wg_netns::{Family, Launch, Node, Pair, Program, cleanup, wait};

/// Packets a second, each way.
const RATE: u32 = 500;
/// The port of the packets inside.
const INNER_PORT: u16 = 4000;

/// Asks for another number of rekeys than three by configuration, and of packets each way after each.
const SCALE: [(&str, u64); 2] = [("WG_DECRYPT_REKEYS", 3), ("WG_DECRYPT_PACKETS", 40)];

fn scale() -> [u64; 2] {
    SCALE.map(|(name, usual)| std::env::var(name).map_or(usual, |number| number.parse().expect("a number")))
}

/// K4, and C10 to C18 by a program that is not ours.
#[test]
fn tshark_decrypts_what_is_on_the_wire() {
    let met = Requirements::check()
        .and_program("wg", "wireguard-tools")
        .and_program("ping", "iputils-ping")
        .and_program("wireguard-go", "wireguard-go")
        .and_program("tshark", tshark::PACKAGE)
        .met();
    if !met {
        return;
    }
    Program::gateway_logs_keys();
    let (go, gateway) = (Program::WireguardGo, Program::Gateway);
    let runs = [
        ([gateway, go], Family::V4, true),
        ([go, gateway], Family::V6, false),
        ([gateway, gateway], Family::V4, false),
        ([gateway, gateway], Family::V6, true),
    ];
    std::thread::scope(|scope| {
        for (programs, outside, psk) in runs {
            scope.spawn(move || Run::new(programs, outside, psk).play());
        }
    });
}

/// Two nodes, what was seen on the wires of the first, and the keys that they gave away so far.
struct Run {
    pair: Pair,
    outside: Family,
    psk: Option<Key>,
    capture: Capture,
    keys: [String; 2],
}

impl Run {
    fn new(programs: [Program; 2], outside: Family, psk: bool) -> Self {
        // What is captured at the interfaces is then what was sealed, packet by packet, with its checksum.
        let alone = |program: Program| Launch {
            arguments: if program == Program::Gateway {
                vec!["--offload".into(), "tun=off".into()]
            } else {
                vec![]
            },
            ..program.into()
        };
        let pair = Pair::new(programs.map(alone));
        pair.split_before_the_cable();
        let capture = Capture::start(&pair.a.namespace);
        let psk = psk.then(Key::random);
        Self { pair, outside, psk, capture, keys: Default::default() }
    }

    fn play(mut self) {
        let [rekeys, packets] = scale();
        self.introduce();
        self.talk(packets);
        for number in 0..rekeys {
            self.forget_each_other(number % 2 == 0);
            self.introduce();
            self.talk(packets);
        }
        self.change_private_key();
        self.talk(packets);
        self.start_again();
        self.talk(packets);
        self.outlive_the_timer();
        // First, one for each of the above, and the timer.
        self.judge(rekeys + 4);
    }

    fn nodes(&self) -> [&Node; 2] {
        [&self.pair.a, &self.pair.b]
    }

    /// Makes both know each other, and the pre-shared key.
    fn introduce(&self) {
        self.pair.acquaint(self.outside);
        if let Some(psk) = self.psk {
            let [a, b] = self.nodes();
            a.set_preshared_key(b, Some(psk));
            b.set_preshared_key(a, Some(psk));
        }
    }

    /// One side, or both, lose the session: the next packet asks for another.
    fn forget_each_other(&self, both: bool) {
        let [a, b] = self.nodes();
        a.tunnel.set(&format!("peer {} remove", b.keys.public));
        if both {
            b.tunnel.set(&format!("peer {} remove", a.keys.public));
        }
    }

    fn change_private_key(&mut self) {
        let [a, b] = self.nodes();
        b.tunnel.set(&format!("peer {} remove", a.keys.public));
        let fresh = KeyPair::generate();
        a.tunnel.set_with_input("private-key /dev/stdin", &fresh.private.to_string());
        self.pair.a.keys = fresh;
        self.introduce();
    }

    fn start_again(&mut self) {
        self.keys[0] += &self.pair.a.tunnel.key_log();
        self.no_log_holds_a_key();
        self.pair.a.start_again();
        self.introduce();
    }

    /// Packets each way, the first of which may have to wait for a session.
    fn talk(&self, packets: u64) {
        let [a, b] = self.nodes();
        for (from, to, family) in [(a, b, Family::V4), (b, a, Family::V6)] {
            let flow = flow(from, to, family, RATE);
            assert!(wait::until(Duration::from_secs(60), || flow.received() >= packets), "no session");
            perfect(flow.finish());
        }
    }

    /// The session is renewed by age, under traffic.
    fn outlive_the_timer(&self) {
        let [a, b] = self.nodes();
        let before = a.peer(b).latest_handshake;
        let flows = [flow(a, b, Family::V4, 20), flow(b, a, Family::V6, 20)];
        let renewed = wait::until(Duration::from_secs(150), || {
            std::thread::sleep(Duration::from_millis(500));
            a.peer(b).latest_handshake > before
        });
        assert!(renewed, "no rekey by age");
        flows.into_iter().for_each(|flow| perfect(flow.finish()));
    }

    /// S3: at the most verbose level no program of ours tells a key, static, pre-shared or ephemeral.
    fn no_log_holds_a_key(&self) {
        for node in self.nodes().into_iter().filter(|node| node.tunnel.program() == Program::Gateway) {
            let (log, keys) = (node.tunnel.log(), node.tunnel.key_log());
            assert!(log.contains("peer("), "it is verbose: {log}");
            let secrets = keys.lines().filter(|line| !line.starts_with("REMOTE_STATIC_PUBLIC_KEY"));
            let secrets = secrets.filter_map(|line| Key::parse(line.split(" = ").nth(1)?));
            let secrets: Vec<Key> =
                secrets.filter(|key| *key != Key::parse_hex(&"0".repeat(64)).unwrap()).collect();
            assert!(secrets.len() >= 2, "a static key and an ephemeral one");
            for key in secrets {
                let (base64, hex) = (key.to_string(), key.hex());
                let shown = log.contains(&base64[..16]) || log.to_lowercase().contains(&hex[..16]);
                assert!(!shown, "a key in the log: {log}");
            }
        }
    }

    /// Whatever was on the wire is open to tshark by the keys of either gateway alone, and is what was in the tunnel.
    fn judge(mut self, handshakes: u64) {
        // A gateway that starts tries its offloads over loopback.
        let seen = self.capture.matching(|datagram| !datagram.source.ip().is_loopback());
        let (outer, inner): (Vec<Datagram>, Vec<Datagram>) =
            seen.into_iter().partition(|datagram| datagram.destination.port() == PORT);
        for (at, node) in [&self.pair.a, &self.pair.b].into_iter().enumerate() {
            self.keys[at] += &node.tunnel.key_log();
        }
        self.no_log_holds_a_key();
        for (node, keys) in self.nodes().into_iter().zip(&self.keys) {
            assert_eq!(keys.is_empty(), node.tunnel.program() == Program::WireguardGo, "keys of a gateway");
            if !keys.is_empty() {
                let frames = dissect(&outer, keys);
                agree(&outer, &inner, &frames, handshakes).unwrap();
                // The control: with one key spoiled it does not agree.
                let spoiled = spoil(keys);
                assert!(agree(&outer, &inner, &dissect(&outer, &spoiled), handshakes).is_err());
            }
        }
        println!(
            "{:?} over {:?}: {} datagrams, {} packets",
            self.nodes().map(|node| node.tunnel.program().name()),
            self.outside,
            outer.len(),
            inner.len(),
        );
    }
}

fn flow(from: &Node, to: &Node, family: Family, rate: u32) -> Flow {
    let address = SocketAddr::new(to.inner(family), INNER_PORT);
    Flow::start(&from.namespace, &to.namespace, address, rate, 200)
}

fn perfect(account: Account) {
    assert!(account.is_perfect(), "{account:?}");
}

fn dissect(outer: &[Datagram], keys: &str) -> Vec<Dissected> {
    let directory = cleanup::unique_directory();
    let (file, log) = (directory.join("wire.pcap"), directory.join("keys"));
    let mut capture = PcapWriter::create(&file).expect("a file");
    for datagram in outer {
        capture.write_captured(datagram).expect("a whole datagram");
    }
    capture.finish().expect("a file");
    std::fs::write(&log, keys).expect("a file");
    let frames = tshark::dissect(&file, &log);
    std::fs::remove_dir_all(directory).ok();
    frames.unwrap_or_else(|failure| panic!("{failure}"))
}

/// Each frame is open, there are as many handshakes as there must be, and each direction holds, byte for byte and in
/// order, the packets that were seen in the tunnel.
fn agree(
    outer: &[Datagram],
    inner: &[Datagram],
    frames: &[Dissected],
    handshakes: u64,
) -> Result<(), String> {
    if frames.len() != outer.len() {
        return Err(format!("{} frames of {}", frames.len(), outer.len()));
    }
    if let Some(number) = frames.iter().position(|frame| !frame.is_open()) {
        return Err(format!("frame {number} of {}: {:?}", frames.len(), frames[number]));
    }
    let responses = frames.iter().filter(|frame| frame.kind == Some(2)).count();
    if (responses as u64) < handshakes {
        return Err(format!("{responses} responses, not {handshakes}"));
    }
    let senders = |datagrams: &[Datagram]| {
        let mut senders: Vec<_> = datagrams.iter().map(|datagram| datagram.source.ip()).collect();
        senders.sort_unstable();
        senders.dedup();
        senders
    };
    let outside = senders(outer);
    if outside.len() != 2 || inner.is_empty() {
        return Err(format!("senders {outside:?}, {} packets", inner.len()));
    }
    // The first node has the lower number, outside and inside, and sends IPv4; the second answers in IPv6.
    for (sender, v4) in [(outside[0], true), (outside[1], false)] {
        let decrypted = outer.iter().zip(frames).filter(|(datagram, frame)| {
            datagram.source.ip() == sender && frame.kind == Some(4) && !frame.keepalive
        });
        let decrypted: Vec<&[u8]> = decrypted.filter_map(|(_, frame)| frame.inner.as_deref()).collect();
        let sent: Vec<&Datagram> = inner.iter().filter(|datagram| datagram.source.is_ipv4() == v4).collect();
        if decrypted.len() != sent.len() {
            return Err(format!("{sender} sent {} packets, {} decrypted", sent.len(), decrypted.len()));
        }
        for (number, (got, sent)) in decrypted.iter().zip(&sent).enumerate() {
            let same = got.split_at_checked(sent.packet.len()).is_some_and(|(packet, padding)| {
                packet == sent.packet && padding.len() < 16 && padding.iter().all(|byte| *byte == 0)
            });
            if !same {
                return Err(format!("packet {number} of {sender}: {got:02x?} is not {:02x?}", sent.packet));
            }
        }
    }
    Ok(())
}

/// The log with one digit of its second ephemeral key changed.
fn spoil(keys: &str) -> String {
    let name = "LOCAL_EPHEMERAL_PRIVATE_KEY = ";
    let (at, _) = keys.match_indices(name).nth(1).expect("two handshakes");
    let at = at + name.len() + 10;
    let other = if keys.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &keys[..at], &keys[at + 1..])
}
