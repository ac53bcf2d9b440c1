//! tshark, which is not ours, decrypts what two peers of `wg-proto` say to each other through a hundred rekeys.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_netns::pcap::{PcapWriter, udp_packet};
use wg_netns::requirements::Requirements;
use wg_netns::tshark::{self, Dissected};
use wg_proto::aead::RustCryptoAead;
use wg_proto::{
    Config, DhError, Endpoint, Handled, Instant, KeyLog, KeyLogRecord, Load, Peer, PresharedKey, PrivateKey,
    PublicKey, SealError, SharedSecret, StaticIdentity, UnixTime,
};

#[derive(Default)]
struct Lines(Mutex<String>);

impl KeyLog for Lines {
    fn log(&self, record: KeyLogRecord<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&record.to_string());
    }
}

/// What one datagram of the run was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Initiation,
    Response,
    Keepalive,
    /// The inner packet as it was before padding.
    Data(Vec<u8>),
}

struct Sent {
    from: usize,
    bytes: Vec<u8>,
    said: Said,
}

/// Two peers, a virtual clock, and a record of the wire.
struct Run {
    peers: [Peer<PrivateKey, RustCryptoAead>; 2],
    logs: [&'static Lines; 2],
    addresses: [SocketAddr; 2],
    time: Duration,
    rng: ChaCha20Rng,
    wire: Vec<Sent>,
}

impl Run {
    fn new(seed: u64, addresses: [&str; 2], psk: bool) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let addresses: [SocketAddr; 2] = addresses.map(|address| address.parse().unwrap());
        let keys = [(); 2].map(|()| PrivateKey::generate(&mut rng).unwrap());
        let publics = keys.each_ref().map(PrivateKey::public_key);
        let preshared = if psk { drawn_psk(&mut rng) } else { PresharedKey::default() };
        let logs = [(); 2].map(|()| &*Box::leak(Box::new(Lines::default())));
        let mut side = 0;
        let peers = keys.map(|key| {
            let mut config = Config::new(publics[1 - side]);
            config.preshared_key = preshared.duplicate();
            config.endpoint = Some(addresses[1 - side]);
            let mut peer = Peer::new(key, config, &mut rng).unwrap();
            peer.set_key_log(Some(logs[side])).unwrap();
            side += 1;
            peer
        });
        Self { peers, logs, addresses, time: Duration::from_secs(1000), rng, wire: Vec::new() }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.time.as_nanos()).unwrap())
    }

    fn wall(&self) -> UnixTime {
        UnixTime::new(1_700_000_000 + self.time.as_secs(), self.time.subsec_nanos())
    }

    fn advance(&mut self, by: Duration) {
        self.time += by;
        let now = self.now();
        for peer in &mut self.peers {
            peer.handle_timeout(now);
        }
        self.settle();
    }

    /// Carries over what both sides send on their own, until they are quiet.
    fn settle(&mut self) {
        let (now, wall) = (self.now(), self.wall());
        loop {
            let before = self.wire.len();
            for from in 0..2 {
                let mut out = [0; 256];
                while let Some(transmit) =
                    self.peers[from].poll_transmit(&mut out, now, wall, &mut self.rng).unwrap()
                {
                    let said = match out[0] {
                        1 => Said::Initiation,
                        2 => Said::Response,
                        kind => {
                            assert_eq!((kind, transmit.len), (4, 32));
                            Said::Keepalive
                        }
                    };
                    self.carry(from, out[..transmit.len].to_vec(), said);
                }
            }
            if self.wire.len() == before {
                return;
            }
        }
    }

    fn carry(&mut self, from: usize, bytes: Vec<u8>, said: Said) {
        let (now, wall) = (self.now(), self.wall());
        let mut datagram = bytes.clone();
        let handled = self.peers[1 - from]
            .handle(
                &mut datagram,
                Endpoint::new(self.addresses[from]),
                Load::Normal,
                now,
                wall,
                &mut self.rng,
            )
            .unwrap();
        if let Said::Data(packet) = &said {
            let Handled::Packet(got) = handled else { panic!("{handled:?}") };
            assert_eq!(got[..packet.len()], packet[..]);
        }
        self.wire.push(Sent { from, bytes, said });
    }

    /// Sends a packet, after the handshake it may need.
    fn send(&mut self, from: usize, packet: Vec<u8>) {
        let mut out = vec![0; self.peers[from].sealed_len(packet.len())];
        let now = self.now();
        match self.peers[from].seal(&packet, &mut out, now) {
            Ok(_) => {}
            Err(SealError::NoSession) => {
                self.peers[from].initiate(now);
                self.settle();
                self.peers[from].seal(&packet, &mut out, now).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        self.carry(from, out, Said::Data(packet));
        self.settle();
    }

    /// A packet of either family, its length and content drawn.
    fn packet(&mut self, from: usize) -> Vec<u8> {
        let mut payload = vec![0; usize::try_from(self.rng.next_u32() % 1300).unwrap()];
        self.rng.fill_bytes(&mut payload);
        let ends = if self.rng.next_u32() & 1 == 0 {
            ["10.1.0.1:40000", "10.1.0.2:40001"]
        } else {
            ["[fd01::1]:40000", "[fd01::2]:40001"]
        };
        udp_packet(ends[from].parse().unwrap(), ends[1 - from].parse().unwrap(), &payload).unwrap()
    }

    /// Handshakes in a row, by the rekey under traffic after 120 s or by a silence that outlives the keys, with packets
    /// both ways after each; the pre-shared key changes on the way, at times while an initiation is under way.
    fn play(&mut self, handshakes: usize, packets: usize, psk: bool) {
        for number in 0..handshakes {
            let (pause, speaker) =
                if number % 3 == 2 { (200, number / 3 % 2) } else { (121, number / 3 % 2) };
            if psk && number % 10 == 9 {
                self.time += Duration::from_secs(pause);
                self.change_psk_under_way(speaker);
            } else {
                self.advance(Duration::from_secs(pause));
            }
            if psk && number % 10 == 4 {
                self.change_psk();
            }
            for _ in 0..packets {
                let from =
                    if number % 3 == 2 && self.rng.next_u32() & 1 == 0 { 1 - speaker } else { speaker };
                let packet = self.packet(from);
                self.send(from, packet);
                self.advance(Duration::from_millis(3));
            }
        }
    }

    fn change_psk(&mut self) {
        let fresh = drawn_psk(&mut self.rng);
        for peer in &mut self.peers {
            peer.set_preshared_key(fresh.duplicate());
        }
    }

    /// The initiation is made under one pre-shared key and answered under another.
    fn change_psk_under_way(&mut self, speaker: usize) {
        let (now, wall) = (self.now(), self.wall());
        let mut out = [0; 148];
        self.peers[speaker].initiate(now);
        let transmit = self.peers[speaker].poll_transmit(&mut out, now, wall, &mut self.rng).unwrap();
        assert_eq!(transmit.map(|transmit| transmit.len), Some(148));
        self.change_psk();
        self.carry(speaker, out.to_vec(), Said::Initiation);
        self.settle();
    }

    fn count(&self, said: &Said) -> usize {
        self.wire.iter().filter(|sent| sent.said == *said).count()
    }

    fn key_log(&self, side: usize) -> String {
        self.logs[side].0.lock().unwrap().clone()
    }

    /// Has tshark decrypt the wire by this key log.
    fn decrypted_by(&self, key_log: &str) -> Vec<Dissected> {
        let directory = wg_netns::cleanup::unique_directory();
        let (capture, keys): (PathBuf, PathBuf) = (directory.join("wire.pcap"), directory.join("keys"));
        let mut file = PcapWriter::create(&capture).unwrap();
        for sent in &self.wire {
            file.write(self.addresses[sent.from], self.addresses[1 - sent.from], &sent.bytes).unwrap();
        }
        assert_eq!(file.finish().unwrap(), self.wire.len());
        std::fs::write(&keys, key_log).unwrap();
        let dissected = tshark::dissect(&capture, &keys);
        std::fs::remove_dir_all(directory).unwrap();
        dissected.unwrap()
    }
}

fn drawn_psk(rng: &mut ChaCha20Rng) -> PresharedKey {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    PresharedKey::from_bytes(bytes)
}

/// The scale of every run; `WG_DECRYPT_PACKETS` asks for another number of packets in all.
const HANDSHAKES: usize = 100;
const PACKETS: usize = 2_000;

fn packets() -> usize {
    std::env::var("WG_DECRYPT_PACKETS").map_or(PACKETS, |number| number.parse().expect("a number of packets"))
}

fn can_run() -> bool {
    Requirements::default().and_program("tshark", tshark::PACKAGE).met()
}

/// Every frame is open, and what is in it is what was sent.
fn agrees(run: &Run, frames: &[Dissected]) -> Result<(), String> {
    if frames.len() != run.wire.len() {
        return Err(format!("{} frames of {}", frames.len(), run.wire.len()));
    }
    for (number, (sent, frame)) in run.wire.iter().zip(frames).enumerate() {
        let same = match (&sent.said, &frame.inner) {
            (Said::Initiation, _) => frame.kind == Some(1),
            (Said::Response, _) => frame.kind == Some(2),
            (Said::Keepalive, inner) => inner.is_none() && frame.keepalive,
            (Said::Data(packet), Some(inner)) => {
                inner.split_at_checked(packet.len()).is_some_and(|(start, padding)| {
                    start == packet && padding.len() < 16 && padding.iter().all(|byte| *byte == 0)
                })
            }
            (Said::Data(_), None) => false,
        };
        if !same || !frame.is_open() {
            return Err(format!("frame {number}: {:?} came out as {frame:?}", sent.said));
        }
    }
    Ok(())
}

#[test]
fn tshark_decrypts_a_hundred_rekeys() {
    // K4: IPv4 without a pre-shared key and IPv6 with several, each by the key log of either side alone.
    if !can_run() {
        return;
    }
    for (seed, addresses, psk) in [
        (1, ["192.0.2.1:51820", "192.0.2.2:42000"], false),
        (2, ["[2001:db8::1]:51820", "[2001:db8::2]:42000"], true),
    ] {
        let mut run = Run::new(seed, addresses, psk);
        run.play(HANDSHAKES, packets() / HANDSHAKES, psk);
        assert_eq!((run.count(&Said::Initiation), run.count(&Said::Response)), (HANDSHAKES, HANDSHAKES));
        for side in 0..2 {
            agrees(&run, &run.decrypted_by(&run.key_log(side))).unwrap();
        }
        println!("{addresses:?}: {HANDSHAKES} handshakes, {} datagrams, twice", run.wire.len());
    }
}

#[test]
fn one_wrong_bit_in_a_logged_key_is_noticed() {
    // The control of the test above, for each kind of line.
    if !can_run() {
        return;
    }
    let mut run = Run::new(3, ["192.0.2.1:51820", "192.0.2.2:51820"], true);
    run.play(4, 2, true);
    let right = run.key_log(0);
    agrees(&run, &run.decrypted_by(&right)).unwrap();
    for (name, nth) in [
        ("LOCAL_STATIC_PRIVATE_KEY", 0),
        ("LOCAL_EPHEMERAL_PRIVATE_KEY", 0),
        ("LOCAL_EPHEMERAL_PRIVATE_KEY", 2),
        ("PRESHARED_KEY", usize::MAX),
    ] {
        let wrong = spoiled(&right, name, nth);
        assert_ne!(wrong, right);
        let verdict = agrees(&run, &run.decrypted_by(&wrong));
        assert!(verdict.is_err(), "{name}: not noticed");
    }
}

/// The log with another key in the `nth` line of a kind, or in each of them.
fn spoiled(log: &str, name: &str, nth: usize) -> String {
    let mut count = 0;
    let mut spoil = |line: &str| {
        if !line.starts_with(name) {
            return line.to_owned();
        }
        count += 1;
        if nth != usize::MAX && nth != count - 1 {
            return line.to_owned();
        }
        // The tenth digit of the key: some bits of its seventh byte.
        let at = name.len() + " = ".len() + 10;
        let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &line[..at], &line[at + 1..])
    };
    log.lines().map(|line| spoil(line) + "\n").collect()
}

#[test]
fn a_key_held_elsewhere_is_not_in_the_log() {
    // S8, C24: what never was in memory cannot be logged, and the static-static secret is no line of the log.
    struct Elsewhere(PrivateKey);
    impl StaticIdentity for Elsewhere {
        fn public_key(&self) -> PublicKey {
            self.0.public_key()
        }
        fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
            Ok(self.0.diffie_hellman(their)?)
        }
    }
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let [key, other] = [(); 2].map(|()| PrivateKey::generate(&mut rng).unwrap());
    let log: &'static Lines = Box::leak(Box::default());
    let config = Config::new(other.public_key());
    let mut peer = Peer::<_, RustCryptoAead>::new(Elsewhere(key), config, &mut rng).unwrap();
    peer.set_key_log(Some(log)).unwrap();
    let text = log.0.lock().unwrap().clone();
    assert!(text.starts_with("REMOTE_STATIC_PUBLIC_KEY = ") && text.lines().count() == 1, "{text}");
}
