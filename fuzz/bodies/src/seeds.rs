//! Inputs to begin from, made by the code itself: real messages, packets that are right, requests that are obeyed, and
//! scripts of the targets that read their input as choices.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wg_proto::Load;
use wg_sim::{Profile, Script};
use wg_sys_linux::probe::{command, pin_source};

use crate::side::{ALICE, BOB, Side, address};

/// The seeds of a target; none for a name that is no target's.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = match target {
        "wire_parse" => messages(),
        "ip_header" => packets(),
        "icmp" => offending(),
        "padding_trim" => padded(),
        "uapi_stream" => requests(),
        "conf_file" => files(),
        "two_peers" => scripts(),
        "cmsg" => control_messages(),
        "netlink" => answers(),
        "frame_header" => headed_frames(),
        "responder" => responder(),
        "initiator" => initiator(),
        "replay_window" => replay(),
        "aead" => batches(),
        "segment" => frames(),
        "allowed_ips" | "cookie_reply" | "device_datagrams" | "rehome" | "scheduler" => Vec::new(),
        _ => return Vec::new(),
    };
    // Where every byte is a choice, any bytes are a script.
    if matches!(
        target,
        "aead"
            | "allowed_ips"
            | "cookie_reply"
            | "device_datagrams"
            | "initiator"
            | "rehome"
            | "replay_window"
            | "responder"
            | "scheduler"
            | "segment"
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(0x5eed);
        for len in (1..=32).map(|n| n * 24) {
            let mut script = vec![0; len];
            rng.fill_bytes(&mut script);
            seeds.push(script);
        }
    }
    seeds
}

/// Batches for the AEAD: full groups and an odd one, of one length and of many, in every form, with each kind of twist among
/// them.
fn batches() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for count in [1_u8, 3, 8, 16, 17, 37] {
        for len in [0_u16, 16, 63, 64, 129, 1420] {
            for kind in 0..8_u8 {
                let mut script = Vec::new();
                for member in 0..count {
                    // One of four is a twisted one.
                    let kind = if member % 4 == 3 { kind } else { 7 };
                    script.push(kind << 5 | (member % 3) << 1);
                    script.push(7);
                    let own = if count == 37 { len + 29 * u16::from(member) } else { len };
                    script.extend(own.to_le_bytes());
                    script.extend([2, 0x45, member, member % 2, member, 40, member]);
                    script.extend(&[44, 6, 200][..if kind == 7 { 0 } else { 2 }]);
                }
                all.push(script);
            }
        }
    }
    all
}

/// Frames of every kind to be split, right and twisted, and batches to be merged: one flow, flows that take turns, and
/// every change of a packet among packets that follow each other.
fn frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for kind in 0..4_u8 {
        for twist in [0, 1, 2, 3, 5, 6] {
            for (size, len) in [(100_u16, 1000_u16), (64, 65), (1, 5), (0, 40), (1448, 2000)] {
                let mut script = vec![0, kind];
                script.extend(size.to_le_bytes());
                script.extend([twist, kind, kind % 2 * 3, 0xd9]);
                script.extend(len.to_le_bytes());
                script.extend([1, 6, 0, 0, 0x20]);
                all.push(script);
            }
        }
    }
    for flow in 0..8_u8 {
        all.push(vec![1, 0, flow | 0xf8, 5, flow | 0xf8, 5, flow | 2 << 3, 2, 39]);
        // One that hides its flow, among those that follow each other.
        all.push(vec![1, 0, flow | 0xf8, 2, flow | 0x80, 0, flow | 0xf8, 2]);
        for action in 0..16 {
            all.push(vec![
                1,
                0,
                flow | 0xf8,
                2,
                flow | action << 3,
                0,
                8,
                flow | 0xf8,
                2,
                flow | action << 3,
                0,
                8,
                flow | 0xf8,
                2,
            ]);
        }
    }
    all.push([1, 0].into_iter().chain((0..40).flat_map(|turn| [(turn % 8) | 0xf8, turn % 3])).collect());
    all
}

/// One of each message, as two peers exchange them.
fn messages() -> Vec<Vec<u8>> {
    let mut alice = Side::new(&ALICE, &BOB.public, [0; 32], Some(address(2)), 1);
    let mut bob = Side::new(&BOB, &ALICE.public, [0; 32], None, 2);
    let mut all = Vec::new();
    alice.peer.initiate(alice.now);
    let initiation = alice.sent().remove(0).bytes;
    for load in [Load::UnderLoad, Load::Normal] {
        let _ = bob.handle(&initiation, address(4), load);
        all.extend(bob.sent().into_iter().map(|sent| sent.bytes));
    }
    all.push(initiation);
    let response = all[1].clone();
    let _ = alice.handle(&response, address(2), Load::Normal);
    all.extend(alice.sent().into_iter().map(|sent| sent.bytes));
    for len in [1, 16, 40, 130] {
        all.extend(alice.seal(&vec![0x45; len]));
    }
    all.push(all[0][..63].to_vec());
    all.push([&[1, 0, 0, 1][..], &[0; 144]].concat());
    all.push(vec![4, 0, 0]);
    all
}

/// An IPv4 packet with a checksum that is right.
fn v4(len: u16, ecn: u8) -> Vec<u8> {
    let mut packet = vec![0; len.into()];
    packet[..2].copy_from_slice(&[0x45, ecn]);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let mut sum: u32 = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    (packet[10], packet[11]) = (high, low);
    packet
}

fn v6(payload: u16, ecn: u8) -> Vec<u8> {
    let mut packet = vec![0; 40 + usize::from(payload)];
    packet[..2].copy_from_slice(&[0x60, ecn << 4]);
    packet[4..6].copy_from_slice(&payload.to_be_bytes());
    packet[6..8].copy_from_slice(&[17, 64]);
    (packet[8], packet[23], packet[24], packet[39]) = (0xfd, 1, 0xfd, 2);
    packet
}

fn packets() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..4).flat_map(|ecn| [v4(28, ecn), v6(8, ecn)]).collect();
    all.extend([v4(20, 0), v6(0, 0), v4(60, 1)[..40].to_vec(), [v4(40, 2), vec![0; 8]].concat()]);
    // A length that does not fit 16 bits with the header added (C80).
    let mut wide = v6(8, 0);
    wide[4..6].fill(0xff);
    all.push(wide);
    all
}

/// Packets that are told of and that are not, with every choice of the error, the source and the room.
fn offending() -> Vec<Vec<u8>> {
    let with = |mut packet: Vec<u8>, changes: &[(usize, u8)]| {
        changes.iter().for_each(|(at, byte)| packet[*at] = *byte);
        packet
    };
    let mut all = packets();
    // ICMP: a query and an error, alone, behind options, and behind each kind of extension header.
    for kind in [8, 3] {
        all.push(with(v4(28, 0), &[(9, 1), (20, kind)]));
        all.push(with(v4(32, 0), &[(0, 0x46), (9, 1), (24, kind)]));
    }
    for kind in [128, 1, 137] {
        all.push(with(v6(8, 0), &[(6, 58), (40, kind)]));
        for header in [0, 43, 44, 60] {
            all.push(with(v6(24, 0), &[(6, header), (40, 60), (48, 58), (56, kind)]));
        }
        all.push(with(v6(32, 0), &[(6, 51), (40, 58), (41, 4), (64, kind)]));
    }
    // Fragments, addresses that are no host's, and packets that are too big.
    all.push(with(v4(28, 0), &[(6, 0x20), (7, 1)]));
    all.push(with(v6(16, 0), &[(6, 44), (40, 17), (43, 9)]));
    all.push(with(v4(28, 0), &[(16, 224)]));
    all.push(with(v6(8, 0), &[(24, 0xff)]));
    all.push(with(v6(8, 0), &[(24, 0xfe), (25, 0x80)]));
    all.push(with(v4(700, 0), &[(6, 0x40)]));
    all.push(v6(1300, 0));
    let sources = [&[][..], &[10, 0, 0, 9], &[0xfd; 16]];
    let mut seeds = Vec::new();
    for (number, packet) in all.into_iter().enumerate() {
        for (choice, source) in sources.into_iter().enumerate() {
            let [choice, ..] = (2 * choice).to_le_bytes();
            let [odd, ..] = (number % 2).to_le_bytes();
            // The MTU is 600 or, where every link carries more, that.
            seeds.push([&[16 | choice | odd, 0x58, 2], source, &packet].concat());
            seeds.push([&[16 | choice | (1 - odd), 0x58, 2], source, &packet].concat());
        }
        seeds.push([&[24, 0, 0, 11][..], &packet].concat());
    }
    seeds
}

fn padded() -> Vec<Vec<u8>> {
    let head = |len: u64, mtu: u64, own: u16| {
        [&len.to_le_bytes()[..], &mtu.to_le_bytes(), &own.to_le_bytes(), &7_u64.to_le_bytes(), &[0xaa]]
            .concat()
    };
    let mut all = Vec::new();
    for (len, mtu) in [(0, 1420), (1420, 1420), (1421, 1420), (2841, 1420), (65_535, 0), (u64::MAX, u64::MAX)]
    {
        for packet in [v4(28, 0), v4(84, 0), v6(45, 0), vec![0x45; 17], Vec::new()] {
            all.push([head(len, mtu, 1420), packet.clone()].concat());
            all.push([head(len, mtu, 80), packet].concat());
        }
    }
    all
}

fn requests() -> Vec<Vec<u8>> {
    let (a, b, own) = ("ab".repeat(32), "CD".repeat(32), "07".repeat(32));
    let peer = format!("public_key={a}\n");
    let all = [
        "get=1\n\n".to_owned(),
        "get=1\nx=1\n\nget=1\n\n".to_owned(),
        format!("set=1\nprivate_key={own}\nlisten_port=51820\nfwmark=42\nreplace_peers=true\n\nget=1\n\n"),
        format!(
            "set=1\n{peer}preshared_key={b}\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\n\
             replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\nprotocol_version=1\n\nget=1\n\n"
        ),
        format!("set=1\n{peer}allowed_ip=0.0.0.0/0\npublic_key={b}\nallowed_ip=0.0.0.0/0\n\nget=1\n\n"),
        format!(
            "set=1\n{peer}allowed_ip=10.1.0.0/16\nallowed_ip=-10.1.0.0/16\nallowed_ip=10.2.3.4/16\n\nget=1\n\n"
        ),
        format!("set=1\n{peer}\nset=1\n{peer}remove=true\nallowed_ip=1.2.3.4/32\n\nget=1\n\n"),
        format!("set=1\n{peer}update_only=true\nendpoint=[::1]:1\n\nget=1\n\n"),
        format!("set=1\n{peer}endpoint=[fe80::1%lo]:1\npublic_key={b}\nendpoint=[fe80::1%7]:1\n\nget=1\n\n"),
        format!("set=1\n{peer}endpoint=[fe80::1%eth0]:1\n\nget=1\n\n"),
        format!("set=1\n{peer}endpoint=[::ffff:192.0.2.1]:1\n\nget=1\n\n"),
        format!("set=1\nprivate_key={}\n{peer}\nget=1\n\n", "0".repeat(64)),
        format!("set=1\n{peer}public_key={a}\nremove=true\nremove=true\n\nget=1\n\n"),
        "set=1\nlisten_port=22\nfwmark=1\n\nset=1\nfwmark=666\n\nget=1\n\n".to_owned(),
        "set=1\nlisten_port=65536\nignored=1\n\nget=1\n\n".to_owned(),
        "set=1\nlisten_port\nget=1\n\n".to_owned(),
        "set=1\r\n\r\n".to_owned(),
        "set=1\nlisten_port=7\r\n\r\nget=1\n\n".to_owned(),
        "set=1\nfwmark=3\nlisten_port=518".to_owned(),
        "set=1\nfwmark=3\n".to_owned(),
        "hello\n".to_owned(),
        (0..6).fold("set=1\n".to_owned(), |text, n| {
            text + &format!("public_key={}\n", format!("0{n}").repeat(32))
        }) + "\n",
    ];
    let own_public: String =
        crate::paper::Pair::new([0x40; 32]).public.iter().map(|b| format!("{b:02x}")).collect();
    let own = format!(
        "set=1\nprivate_key={}\npublic_key={own_public}\nallowed_ip=10.0.0.0/8\n\nget=1\n\n",
        "40".repeat(32)
    );
    all.into_iter()
        .chain([own])
        .enumerate()
        .map(|(number, text)| {
            let cuts = [0, 1, 5, 40][number % 4];
            [&[cuts][..], text.as_bytes()].concat()
        })
        .collect()
}

fn files() -> Vec<Vec<u8>> {
    // Keys of 32 equal bytes, whose base64 repeats.
    let (a, b) = ("q6ur".repeat(10) + "q6s=", "zc3N".repeat(10) + "zc0=");
    let zero = "A".repeat(43) + "=";
    let peer = format!("[Peer]\nPublicKey = {a}\n");
    [
        format!("[Interface]\nPrivateKey = {b}\nListenPort = 51820 # usual\nFwMark = 0x2a\n\n{peer}PresharedKey={b}\nAllowedIPs = 10.0.0.1/24, fd00::/64,192.0.2.7\nEndpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n"),
        format!("[interface]\r\nprivatekey={zero}\r\nfwmark = off\r\n[PEER]\r\npublickey={a}\r\nendpoint=[2001:db8::1]:7\r\n"),
        format!("{peer}Endpoint = example.org:domain\nAllowedIPs = +10.0.0.0/8,-10.1.0.0/16\n[Interface]\nListenPort = domain\n"),
        format!("{peer}AllowedIPs=0.0.0.0/0\n{peer}AllowedIPs=::/0\nEndpoint=mapped:1\nEndpoint=[::ffff:1.2.3.4]:5\n"),
        "[Interface]\nAddress = 10.0.0.1/24\n".into(),
        "[Peer]\nAllowedIPs = 10.0.0.0/8\n".into(),
        "[Interface]\nListenPort = 65536\n".into(),
        "[Interface]\nFwMark = 4294967296\n".into(),
        format!("{peer}AllowedIPs = 10.0.0.0/33\n"),
        format!("{peer}PersistentKeepalive = off\nListenPort = 1\n"),
        "ListenPort = 1\n".into(),
        "[Interface]\nFwMark = 7\0 and more\n".into(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}

/// Scripts of the simulator: drawn ones, and those that try to move an endpoint by what was sent before (I7).
fn scripts() -> Vec<Vec<u8>> {
    let profiles = [Profile::Network, Profile::Hostile, Profile::Everything];
    let drawn = (0..24)
        .zip(profiles.into_iter().cycle())
        .zip((12..).step_by(2))
        .map(|((seed, profile), ops)| Script::random(seed, profile, ops));
    let moving = [
        "record on\nsend 0 1 3 100\nadvance 500\nreplay 2 1\nreplay 3 2\nrebind 0 on\nreplay 4 1\nsend 1 0 1 100\nadvance 500\n",
        "send 0 1 1 100\nadvance 500\ntwin 0 3 2\ntwin 1 3 1\nsend 0 1 3 100\nadvance 500\nsend 1 0 1 100\nadvance 500\n",
    ];
    let moving = moving.into_iter().flat_map(|ops| {
        ["device device", "device peer"]
            .map(|nodes| Script::parse(&format!("seed 1\nnodes {nodes}\n{ops}")).expect("a script"))
    });
    drawn.chain(moving).map(|script| script.to_bytes()).collect()
}

fn control_messages() -> Vec<Vec<u8>> {
    let source =
        |addr: &str, interface| wg_proto::Source { addr: addr.parse().expect("an address"), interface };
    let v4 = pin_source(&source("192.0.2.7", 3), &address(2)).expect("one family");
    let v6 = pin_source(&source("fe80::7", 3), &address(1)).expect("one family");
    let mut short = v4.clone();
    short[0] = 17;
    vec![[v4.clone(), v6.clone()].concat(), v6[..30].to_vec(), v6, v4, short, vec![0; 32]]
}

/// Headers of all kinds before the start of a packet.
fn headed_frames() -> Vec<Vec<u8>> {
    let packet = |kind: u8, offset: u8| {
        let mut frame = vec![1, kind, 0, 0, 8, 0, if kind & 4 == 0 { 20 } else { 40 }, 0, offset, 0];
        frame.extend([if kind & 4 == 0 { 0x45 } else { 0x60 }; 100]);
        frame
    };
    let mut all: Vec<_> = [(0, 16), (0, 6), (1, 16), (4, 16), (5, 6), (0x81, 16)]
        .iter()
        .map(|&(kind, offset)| packet(kind, offset))
        .collect();
    all.push(vec![0; 30]);
    all
}

fn answers() -> Vec<Vec<u8>> {
    let link = command(16, &[1; 16], (3, b"wg0\0"), 7);
    let error = |code: i32| {
        let mut answer = command(2, &code.to_ne_bytes(), (0, b""), 9);
        answer.truncate(20);
        answer[..4].copy_from_slice(&20_u32.to_ne_bytes());
        answer
    };
    vec![
        [link.clone(), command(24, &[0; 12], (1, &[10, 0, 0, 1]), 8)].concat(),
        [error(0), error(-19)].concat(),
        error(i32::MIN),
        link[..30].to_vec(),
        link,
    ]
}

/// The bytes of an honest initiation and a packet after it, as [`crate::responder`] reads them.
fn responder() -> Vec<Vec<u8>> {
    let initiation = |from: u8, load: u8, sender: u32, packet: &[u8]| {
        let mut step = vec![3, 4];
        step.extend([from ^ 0x35; 32]);
        step.extend([3, 7, 1]);
        step.extend(sender.to_le_bytes());
        step.extend([1, from, load]);
        step.extend([5, 0, u8::try_from(packet.len()).expect("short")]);
        step.extend(packet);
        step.push(1);
        step
    };
    let wait = [&[0][..], &30_000_u32.to_le_bytes()].concat();
    vec![
        [vec![0, 1], initiation(0, 1, 1, b"a packet"), wait.clone(), initiation(1, 1, 2, b"")].concat(),
        [vec![1, 2], initiation(0, 1, 1, b"x"), vec![1, 19], initiation(0, 1, 2, b"y"), vec![1, 20]].concat(),
        [vec![0, 3], initiation(2, 0, 1, b""), initiation(2, 0, 3, b""), wait, initiation(2, 1, 4, b"z")]
            .concat(),
    ]
}

/// The bytes of an honest answer, as [`crate::initiator`] reads them.
fn initiator() -> Vec<Vec<u8>> {
    let response = |number: u8| {
        let mut step = vec![5, 4];
        step.extend([number ^ 0x35; 32]);
        step.extend(u32::from(number).to_le_bytes());
        step.extend([1, 1, 1, 1, 3, 0]);
        step
    };
    let wait = [&[0][..], &130_000_u32.to_le_bytes()].concat();
    let cookie = [&[3, 1, 1, 1][..], &[0xcc; 16], &[7; 24], &[1]].concat();
    vec![
        [vec![0, 1], response(1), wait.clone(), vec![2], response(2)].concat(),
        [vec![1, 2], cookie.clone(), wait, response(3), cookie].concat(),
    ]
}

fn replay() -> Vec<Vec<u8>> {
    vec![
        vec![0; 64],
        [&[2, 0xff, 0x1f][..], &[3, 1, 3, 2, 3, 1], &[4, 0xc0, 0x1f, 6, 0, 6, 1, 6, 2]].concat(),
        [&[7][..], &(u64::MAX - 1).to_le_bytes(), &[3, 1, 5, 0, 7], &u64::MAX.to_le_bytes()].concat(),
        [&[7][..], &(1_u64 << 40).to_le_bytes(), &[3, 1, 1, 64, 3, 63, 2, 0, 0x20, 3, 1]].concat(),
    ]
}
