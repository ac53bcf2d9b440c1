use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wg_datapath::IpPrefix;

use super::*;
use crate::conf::{Resolve, ResolveError};
use crate::uapi::Op;

/// 43 digits for zeros, and the same with the lowest bit that counts, and with one that does not.
const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const LOW_BIT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
const LOW_BYTES: [u8; 32] = *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
const EXCESS_BIT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=";

/// Knows one host, one service and numbers.
struct Names;

impl Resolve for Names {
    fn endpoint(&mut self, host: &str, port: &str) -> Result<SocketAddr, ResolveError> {
        let port = port.parse().or_else(|_| self.port(port))?;
        match host {
            "vpn.example" => Ok(SocketAddr::new("2001:db8::7".parse().unwrap(), port)),
            "mapped.example" => Ok(SocketAddr::new("::ffff:192.0.2.7".parse().unwrap(), port)),
            "192.0.2.9" => Ok(SocketAddr::new("192.0.2.9".parse().unwrap(), port)),
            "away.example" => Err(ResolveError::Unavailable),
            _ => Err(ResolveError::UnknownHost),
        }
    }

    fn port(&mut self, service: &str) -> Result<u16, ResolveError> {
        if service == "domain" { Ok(53) } else { Err(ResolveError::UnknownService) }
    }
}

/// The operations of a file, one a line, as the configuration protocol would have them but with readable keys.
fn compile(text: impl AsRef<[u8]>) -> Result<String, ConfError> {
    let mut out = String::new();
    for op in Conf::parse(text.as_ref())?.into_ops(&mut Names)? {
        match op {
            Op::PrivateKey(None) => writeln!(out, "no private key"),
            Op::PrivateKey(Some(key)) => writeln!(out, "private {}", STANDARD.encode(key.as_bytes())),
            Op::ListenPort(port) => writeln!(out, "port {port}"),
            Op::FirewallMark(mark) => writeln!(out, "mark {mark}"),
            Op::ReplacePeers => writeln!(out, "replace peers"),
            Op::Peer(key) => writeln!(out, "peer {}", STANDARD.encode(key.as_bytes())),
            Op::PresharedKey(key) => writeln!(out, "psk {}", STANDARD.encode(key.as_bytes())),
            Op::Endpoint(spec) => writeln!(out, "endpoint {}", spec.address),
            Op::PersistentKeepalive(seconds) => writeln!(out, "keepalive {seconds}"),
            Op::ReplaceAllowedIps => writeln!(out, "replace ips"),
            Op::AddAllowedIp(prefix) => writeln!(out, "+{prefix}"),
            Op::RemoveAllowedIp(prefix) => writeln!(out, "-{prefix}"),
            Op::Strategy(_) | Op::UpdateOnly | Op::Remove => panic!("a file has no such thing"),
        }
        .unwrap();
    }
    Ok(out)
}

/// A private key as it is shown: with the bits set and cleared that X25519 sets and clears.
fn clamped(key: [u8; 32]) -> String {
    STANDARD.encode(PrivateKey::from_bytes(key).as_bytes())
}

/// The lines that one line of `[Interface]` changes, from what an empty file gives.
fn interface(line: &str) -> Result<String, ErrorKind> {
    let given = compile(format!("[Interface]\n{line}\n")).map_err(|error| error.kind)?;
    let nothing = compile("").unwrap();
    let changed = given.lines().zip(nothing.lines()).filter(|(new, old)| new != old);
    Ok(changed.map(|(new, _)| new).collect::<Vec<_>>().join(" "))
}

/// The lines of a peer with this in its section, behind its key, except for the removal of its old allowed IPs.
fn peer(lines: &str) -> Result<String, ErrorKind> {
    let given = compile(format!("[Peer]\nPublicKey={LOW_BIT}\n{lines}\n")).map_err(|error| error.kind)?;
    let lines = given.lines().skip_while(|line| !line.starts_with("peer")).skip(1);
    Ok(lines.filter(|line| *line != "replace ips").collect::<Vec<_>>().join(" "))
}

fn error(text: impl AsRef<[u8]>) -> (u32, ErrorKind) {
    let error = compile(text).unwrap_err();
    (error.line, error.kind)
}

#[test]
fn what_is_not_given_is_reset() {
    // W4
    let reset = "no private key\nport 0\nmark 0\nreplace peers\n";
    for empty in ["", "\n", "[Interface]", "[interface]\n\n", "# nothing\n", " \t\r\n\x0b\x0c"] {
        assert_eq!(compile(empty).unwrap(), reset, "{empty:?}");
    }
}

#[test]
fn sections_and_keys_have_any_case_and_white_space_does_not_count() {
    // W1
    let text = format!(
        " [ inter FACE ] # comment\r\n\
         p r i v a t e k e y\t={LOW_BIT}#, more\n\
         LISTENPORT = 5 18 20\n\
         [PEER]\x0b\n\
         publickey = {} {}\n\
         [INTERFACE]\nfwmark=1\0 ignored\nListenPort=7",
        &LOW_BIT[..20],
        &LOW_BIT[20..]
    );
    assert_eq!(
        compile(text).unwrap(),
        format!(
            "private {}\nport 7\nmark 1\nreplace peers\npeer {LOW_BIT}\nreplace ips\n",
            clamped(LOW_BYTES)
        )
    );
}

#[test]
fn a_bad_line_is_named_by_number_and_kind() {
    // W1, W6
    for (text, line, kind) in [
        ("ListenPort=1", 1, ErrorKind::WrongSection),
        ("[Interface]\n\n[Interface]x", 3, ErrorKind::Unrecognized),
        ("[Interface]\nListenPort", 2, ErrorKind::Unrecognized),
        ("[Interface]\nListenPort=", 2, ErrorKind::EmptyValue),
        ("[Interface]\nListenPort= # 5", 2, ErrorKind::EmptyValue),
        ("[Interface]\nPort=1", 2, ErrorKind::Unrecognized),
        ("[Interface]\nListenPorts=1", 2, ErrorKind::Unrecognized),
        ("[Interface]\n=", 2, ErrorKind::Unrecognized),
        ("[Interface]\n;x", 2, ErrorKind::Unrecognized),
        ("\u{feff}[Interface]", 1, ErrorKind::Unrecognized),
        ("[Interface]\nList\0enPort=1", 2, ErrorKind::Unrecognized),
        ("[Interface]\nPublicKey=x", 2, ErrorKind::WrongSection),
        ("[Peer]\nListenPort=1", 2, ErrorKind::WrongSection),
        ("[Interface]\naddress=10.0.0.1/24", 2, ErrorKind::WgQuickOnly),
        ("[Interface]\nSaveConfig=true", 2, ErrorKind::WgQuickOnly),
        ("[Peer]", 1, ErrorKind::MissingPublicKey),
        ("[Interface]\n[Peer]\n[Peer]\n", 2, ErrorKind::MissingPublicKey),
        // A line that is wrong comes first, wherever it is.
        ("[Peer]\n[Peer]\nx", 3, ErrorKind::Unrecognized),
    ] {
        assert_eq!(error(text), (line, kind), "{text:?}");
    }
    let message = Conf::parse(b"[Interface]\nMTU=1420").unwrap_err().to_string();
    assert!(message.starts_with("line 2: ") && message.contains("wg-quick strip"), "{message}");
}

#[test]
fn keys_are_44_characters_without_excess_bits() {
    // W3
    assert_eq!(
        interface(&format!("PrivateKey={LOW_BIT}")).unwrap(),
        format!("private {}", clamped(LOW_BYTES))
    );
    assert_eq!(interface(&format!("PrivateKey={ZERO}")).unwrap(), "");
    let a = "A";
    for bad in [
        EXCESS_BIT.to_owned(),
        a.repeat(44),
        a.repeat(43),
        a.repeat(43) + "==",
        a.repeat(42) + "==",
        a.repeat(40) + "====",
        a.repeat(20) + "=" + &a.repeat(22) + "=",
        "-".repeat(43) + "=",
        "_".repeat(43) + "=",
        "/dev/null".to_owned(),
    ] {
        assert_eq!(interface(&format!("PrivateKey={bad}")), Err(ErrorKind::BadKey), "{bad}");
        assert_eq!(peer(&format!("PublicKey={bad}")), Err(ErrorKind::BadKey), "{bad}");
        assert_eq!(peer(&format!("PresharedKey={bad}")), Err(ErrorKind::BadKey), "{bad}");
    }
}

#[test]
fn every_digit_of_a_key_is_read_as_the_reference_reads_it() {
    for byte in 1..=u8::MAX {
        let mut text = ZERO.as_bytes().to_vec();
        text[17] = byte;
        let expected = STANDARD.decode(&text).ok();
        let key = value::key(&text).ok().map(|key| key.to_vec());
        assert_eq!(key, expected, "byte {byte:#x}");
    }
}

#[test]
fn values_of_the_interface() {
    // W2
    for (line, expected) in [
        ("ListenPort=0", Ok("")),
        ("ListenPort=65535", Ok("port 65535")),
        ("ListenPort=00080", Ok("port 80")),
        ("ListenPort=domain", Ok("port 53")),
        ("ListenPort=65536", Err(ErrorKind::BadPort)),
        ("ListenPort=+5", Err(ErrorKind::BadPort)),
        ("ListenPort=-1", Err(ErrorKind::BadPort)),
        ("ListenPort=0x10", Err(ErrorKind::Resolve(ResolveError::UnknownService))),
        ("ListenPort==5", Err(ErrorKind::Resolve(ResolveError::UnknownService))),
        ("FwMark=off", Ok("")),
        ("FwMark=OFF", Ok("")),
        ("FwMark=0", Ok("")),
        ("FwMark=0xfFfFfFfF", Ok("mark 4294967295")),
        ("FwMark=4294967295", Ok("mark 4294967295")),
        ("FwMark=010", Ok("mark 10")),
        ("FwMark=0x00000000010", Ok("mark 16")),
        ("FwMark=4294967296", Err(ErrorKind::BadFirewallMark)),
        ("FwMark=0x100000000", Err(ErrorKind::BadFirewallMark)),
        ("FwMark=0x", Err(ErrorKind::BadFirewallMark)),
        ("FwMark=0X10", Err(ErrorKind::BadFirewallMark)),
        ("FwMark=0x+1", Err(ErrorKind::BadFirewallMark)),
        ("FwMark=+1", Err(ErrorKind::BadFirewallMark)),
        ("FwMark=1x", Err(ErrorKind::BadFirewallMark)),
    ] {
        assert_eq!(interface(line).as_deref(), expected.as_ref().copied(), "{line}");
    }
}

#[test]
fn values_of_a_peer() {
    // W2
    let bad_ip = || Err(ErrorKind::BadAllowedIp);
    for (lines, expected) in [
        ("PersistentKeepalive=off", Ok("keepalive 0")),
        ("PersistentKeepalive=Off", Ok("keepalive 0")),
        ("PersistentKeepalive=025", Ok("keepalive 25")),
        ("PersistentKeepalive=65535", Ok("keepalive 65535")),
        ("PersistentKeepalive=65536", Err(ErrorKind::BadKeepalive)),
        ("PersistentKeepalive=-1", Err(ErrorKind::BadKeepalive)),
        ("PersistentKeepalive=25s", Err(ErrorKind::BadKeepalive)),
        ("PersistentKeepalive=3\nPersistentKeepalive=4", Ok("keepalive 4")),
        ("AllowedIPs=10.1.2.3/8", Ok("+10.0.0.0/8")),
        ("AllowedIPs=10.1.2.3, fd00::1", Ok("+10.1.2.3/32 +fd00::1/128")),
        ("AllowedIPs=0.0.0.0/0\nAllowedIPs=::/0", Ok("+0.0.0.0/0 +::/0")),
        ("AllowedIPs=10.0.0.0/08", Ok("+10.0.0.0/8")),
        ("AllowedIPs=::ffff:1.2.3.4/120", Ok("+::ffff:1.2.3.0/120")),
        ("AllowedIPs=::2:3:4:5:6:7:8", Ok("+0:2:3:4:5:6:7:8/128")),
        ("AllowedIPs=+10.0.0.0/8, -fd00::/8", Ok("+10.0.0.0/8 -fd00::/8")),
        ("AllowedIPs=,", bad_ip()),
        ("AllowedIPs=10.0.0.0/8,", bad_ip()),
        ("AllowedIPs=10.0.0.0/", bad_ip()),
        ("AllowedIPs=10.0.0.0/33", bad_ip()),
        ("AllowedIPs=::/129", bad_ip()),
        ("AllowedIPs=::/256", bad_ip()),
        ("AllowedIPs=10.0.0.0/+8", bad_ip()),
        ("AllowedIPs=10.0.0.0/8/9", bad_ip()),
        ("AllowedIPs=10.0.0.0/255.0.0.0", bad_ip()),
        ("AllowedIPs=10.0/8", bad_ip()),
        ("AllowedIPs=010.0.0.0/8", bad_ip()),
        ("AllowedIPs=fe80::1%lo/64", bad_ip()),
        ("AllowedIPs=1::2:3:4:5:6:7:8", bad_ip()),
        ("AllowedIPs=00001::", bad_ip()),
        ("AllowedIPs=++10.0.0.0/8", bad_ip()),
        ("AllowedIPs=+", bad_ip()),
        ("AllowedIPs=(none)", bad_ip()),
        ("Endpoint=192.0.2.1:5", Ok("endpoint 192.0.2.1:5")),
        ("Endpoint=[192.0.2.1]:5", Ok("endpoint 192.0.2.1:5")),
        ("Endpoint=[2001:db8::1]:65535", Ok("endpoint [2001:db8::1]:65535")),
        ("Endpoint=2001:db8::1:5", Ok("endpoint [2001:db8::1]:5")),
        ("Endpoint=[::ffff:192.0.2.1]:5", Ok("endpoint 192.0.2.1:5")),
        ("Endpoint=192.0.2.9:domain", Ok("endpoint 192.0.2.9:53")),
        ("Endpoint=vpn.example:domain", Ok("endpoint [2001:db8::7]:53")),
        ("Endpoint=[vpn.example]:0051820", Ok("endpoint [2001:db8::7]:51820")),
        ("Endpoint=mapped.example:5", Ok("endpoint 192.0.2.7:5")),
        ("Endpoint=192.0.2.1:5\nEndpoint=192.0.2.2:6", Ok("endpoint 192.0.2.2:6")),
        ("Endpoint=no.example:5", Err(ErrorKind::Resolve(ResolveError::UnknownHost))),
        ("Endpoint=away.example:5", Err(ErrorKind::Resolve(ResolveError::Unavailable))),
        ("Endpoint=192.0.2.9:5:6", Err(ErrorKind::Resolve(ResolveError::UnknownHost))),
        ("Endpoint=vpn.example:no", Err(ErrorKind::Resolve(ResolveError::UnknownService))),
        ("Endpoint=192.0.2.1", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=192.0.2.1:", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=:5", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=[]:5", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=[::1", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=[::1]5", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=[::1]:", Err(ErrorKind::BadEndpoint)),
        ("Endpoint=192.0.2.1:65536", Err(ErrorKind::BadPort)),
        ("Endpoint=192.0.2.1:-1", Err(ErrorKind::BadPort)),
    ] {
        assert_eq!(peer(lines).as_deref(), expected.as_ref().copied(), "{lines}");
    }
    assert_eq!(error([b"[Peer]\nEndpoint=\xff:5".as_slice()].concat()), (2, ErrorKind::BadEndpoint));
}

#[test]
fn a_name_without_an_answer_is_told_with_its_line() {
    let text = format!("[Interface]\nListenPort=no\n[Peer]\nPublicKey={LOW_BIT}\nEndpoint=no:5\n");
    assert_eq!(error(&text), (2, ErrorKind::Resolve(ResolveError::UnknownService)));
    let text = text.replace("=no\n", "=5\n");
    assert_eq!(error(&text), (5, ErrorKind::Resolve(ResolveError::UnknownHost)));
    // Also if a later line takes its place, as `wg` has asked for it by then.
    assert_eq!(error(text + "Endpoint=192.0.2.1:5"), (5, ErrorKind::Resolve(ResolveError::UnknownHost)));
    let text = "[Interface]\nListenPort=no\nListenPort=5";
    assert_eq!(error(text), (2, ErrorKind::Resolve(ResolveError::UnknownService)));
}

#[test]
fn host_bits_are_reported_and_bounded() {
    let text = format!("[Peer]\nPublicKey={LOW_BIT}\nAllowedIPs=10.0.0.0/8,10.0.0.1/8,10.0.0.2/8\n");
    assert_eq!(Conf::parse(text.as_bytes()).unwrap().host_bits, [3]);
    let many = text.clone() + &"AllowedIPs=10.0.0.1/8\n".repeat(1000);
    assert_eq!(Conf::parse(many.as_bytes()).unwrap().host_bits.len(), MAX_WARNINGS);
    assert!(
        Conf::parse(text.replace("10.0.0.1/8,10.0.0.2/8", "::1").as_bytes()).unwrap().host_bits.is_empty()
    );
}

#[test]
fn old_allowed_ips_go_unless_the_last_line_has_a_sign() {
    let replaces = |lines: &str| {
        let text = format!("[Peer]\nPublicKey={LOW_BIT}\n{lines}");
        Conf::parse(text.as_bytes()).unwrap().peers[0].replace_allowed_ips
    };
    assert!(replaces("") && replaces("AllowedIPs=::/0"));
    assert!(!replaces("AllowedIPs=-::/0") && !replaces("AllowedIPs=::1,+::2"));
    assert!(!replaces("AllowedIPs=::/0\nAllowedIPs=+::1"));
    assert!(replaces("AllowedIPs=+::/0\nAllowedIPs=::1"));
}

#[test]
fn bounds_are_errors() {
    let peer = format!("[Peer]\nPublicKey={LOW_BIT}\n");
    assert_eq!(
        error(peer.repeat(MAX_PEERS + 1)),
        (u32::try_from(2 * MAX_PEERS + 1).unwrap(), ErrorKind::TooMany)
    );
    let list = format!("AllowedIPs={}::\n", "::,".repeat(1023));
    assert!(compile(peer.clone() + &list.repeat(1024)).is_ok());
    assert_eq!(error(peer + &list.repeat(1024) + "AllowedIPs=::"), (1027, ErrorKind::TooMany));
    let lines = "[Interface]\n".to_owned() + &"ListenPort=domain\n".repeat(MAX_SUPERSEDED + 1);
    assert!(compile(&lines).is_ok());
    assert_eq!(error(lines + "ListenPort=5").1, ErrorKind::TooMany);
    assert!(compile(vec![b' '; MAX_FILE_LEN]).is_ok());
    assert_eq!(error(vec![b' '; MAX_FILE_LEN + 1]), (1, ErrorKind::TooLong));
}

#[test]
fn neither_errors_nor_debug_output_hold_a_key() {
    let text =
        format!("[Interface]\nPrivateKey={LOW_BIT}\n[Peer]\nPublicKey={ZERO}\nPresharedKey={LOW_BIT}\n");
    let shown = format!("{:?}", Conf::parse(text.as_bytes()).unwrap());
    assert!(!shown.contains("AAE") && !shown.contains("0, 1]"), "{shown}");
    let error = Conf::parse(b"[Interface]\nPrivateKey=secret").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}

/// A peer as a file gives it.
#[derive(Clone, Debug)]
struct Peer {
    key: [u8; 32],
    psk: Option<[u8; 32]>,
    endpoint: Option<SocketAddr>,
    keepalive: Option<u16>,
    ips: Vec<(bool, IpPrefix)>,
}

fn prefixes() -> impl Strategy<Value = IpPrefix> {
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(addr, len)| (IpAddr::from(addr), len));
    let v6 = (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(addr, len)| (IpAddr::from(addr), len));
    prop_oneof![v4, v6].prop_map(|(addr, len)| IpPrefix::new(addr, len).unwrap())
}

fn peers() -> impl Strategy<Value = Peer> {
    let address = prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from)
    ];
    (
        any::<[u8; 32]>(),
        option::of(any::<[u8; 32]>()),
        option::of(address),
        any::<Option<u16>>(),
        vec((any::<bool>(), prefixes()), 0..5),
    )
        .prop_map(|(key, psk, endpoint, keepalive, ips)| Peer { key, psk, endpoint, keepalive, ips })
}

/// Bytes that a mutation may put into a file: any, or one that means something.
fn bytes() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"[]=,/:+-#% \n\r\0.0123456789abcdefxAInterfacePeerOff".to_vec())
    ]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        private in option::of(any::<[u8; 32]>()),
        port in any::<u16>(),
        mark in any::<u32>(),
        peers in vec(peers(), 0..5),
    ) {
        let mut text = format!("[Interface]\nListenPort = {port}\nFwMark = {mark:#x}\n");
        let mut expected = String::new();
        if let Some(key) = private {
            writeln!(text, "PrivateKey = {}", STANDARD.encode(key)).unwrap();
            let private = if key == [0; 32] { "no private key".to_owned() } else { format!("private {}", clamped(key)) };
            writeln!(expected, "{private}").unwrap();
        } else {
            expected.push_str("no private key\n");
        }
        writeln!(expected, "port {port}\nmark {mark}\nreplace peers").unwrap();
        for peer in peers {
            writeln!(text, "\n[Peer]\nPublicKey = {}", STANDARD.encode(peer.key)).unwrap();
            writeln!(expected, "peer {}", STANDARD.encode(peer.key)).unwrap();
            if let Some(psk) = peer.psk {
                writeln!(text, "PresharedKey = {}", STANDARD.encode(psk)).unwrap();
                writeln!(expected, "psk {}", STANDARD.encode(psk)).unwrap();
            }
            if let Some(mut address) = peer.endpoint {
                writeln!(text, "Endpoint = {address}").unwrap();
                address.set_ip(address.ip().to_canonical());
                writeln!(expected, "endpoint {address}").unwrap();
            }
            if let Some(seconds) = peer.keepalive {
                writeln!(text, "PersistentKeepalive = {seconds}").unwrap();
                writeln!(expected, "keepalive {seconds}").unwrap();
            }
            if !peer.ips.iter().any(|(remove, _)| *remove) {
                expected.push_str("replace ips\n");
            }
            let signed = |(remove, prefix): &(bool, IpPrefix)| format!("{}{prefix}", if *remove { "-" } else { "" });
            if !peer.ips.is_empty() {
                let list: Vec<_> = peer.ips.iter().map(signed).collect();
                writeln!(text, "AllowedIPs = {}", list.join(", ")).unwrap();
            }
            for (remove, prefix) in peer.ips {
                writeln!(expected, "{}{prefix}", if remove { '-' } else { '+' }).unwrap();
            }
        }
        prop_assert_eq!(compile(text).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(text in vec(bytes(), 0..300)) {
        if let Ok(conf) = Conf::parse(&text) {
            let _ = conf.into_ops(&mut Names);
        }
    }

    #[test]
    fn a_mutated_file_is_judged_without_a_panic(
        cuts in vec((0..600_usize, bytes(), any::<bool>()), 1..8),
    ) {
        let mut text = format!(
            "[Interface]\nPrivateKey = {LOW_BIT}\nListenPort = 51820\nFwMark = 0x10\n\n\
             [Peer]\nPublicKey = {ZERO}\nPresharedKey = {LOW_BIT}\nAllowedIPs = 10.0.0.0/8, fd00::/64\n\
             Endpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25\n[Peer]\nPublicKey = {LOW_BIT}\n\
             AllowedIPs = +192.0.2.1, -::/0\nEndpoint = vpn.example:domain\n"
        ).into_bytes();
        for (at, byte, insert) in cuts {
            let at = at % text.len();
            if insert { text.insert(at, byte) } else { text[at] = byte }
        }
        if let Ok(conf) = Conf::parse(&text) {
            // Nothing is made of nothing: what is kept is in proportion to the file.
            let ips: usize = conf.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
            prop_assert!(conf.peers.len() * 7 + ips * 2 <= text.len());
            let _ = conf.into_ops(&mut Names);
        }
    }
}
