//! The configuration socket, spoken to directly: what is wrong is refused with the number that `wg` explains, and harms
//! nothing. Good requests are in every other test.

use core::fmt::Write as _;
use core::time::Duration;
use std::io::Write as _;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use wg_netns::key::{Key, KeyPair};
use wg_netns::requirements::can_run;
use wg_netns::tunnel::PATIENCE;
use wg_netns::{Namespace, Program, Tunnel, uapi, wait};

const INVALID: i64 = -22;
const PROTOCOL: i64 = -71;
const IO: i64 = -5;

/// U7, U8, U10, U11, U13, U16: each body and its number. Lines before a bad one may stay, the bad line changes nothing.
#[test]
fn bad_requests_are_refused_with_their_number() {
    if !can_run() {
        return;
    }
    for program in [Program::Gateway, Program::WireguardGo] {
        let namespace = Namespace::new();
        let tunnel = Tunnel::start(program, &namespace);
        let keys = KeyPair::generate();
        let peer = Key::random().hex();
        let good = format!(
            "private_key={}\nlisten_port=7000\nfwmark=5\npublic_key={peer}\nendpoint=10.0.0.1:9\n\
             allowed_ip=10.3.0.0/16\npersistent_keepalive_interval=7\n",
            keys.private.hex()
        );
        assert_eq!(uapi::set(tunnel.interface(), &good).expect("a reply"), 0);
        let before = uapi::get(tunnel.interface()).expect("the state");
        assert_eq!((before.listen_port, before.fwmark, before.peers.len()), (7000, 5, 1));
        let half = &peer[..63];
        let device = [
            ("private_key=\n".to_owned(), INVALID),
            (format!("private_key={half}\n"), INVALID),
            (format!("private_key={peer}0\n"), INVALID),
            (format!("private_key=g{half}\n"), INVALID),
            ("listen_port=65536\n".to_owned(), INVALID),
            ("listen_port=-1\n".to_owned(), INVALID),
            ("listen_port=0x10\n".to_owned(), INVALID),
            ("listen_port=1 \n".to_owned(), INVALID),
            ("listen_port=\n".to_owned(), INVALID),
            ("fwmark=4294967296\n".to_owned(), INVALID),
            ("replace_peers=TRUE\n".to_owned(), INVALID),
            ("replace_peers=1\n".to_owned(), INVALID),
            ("replace_peers=false\n".to_owned(), INVALID),
            ("no_such_key=1\n".to_owned(), INVALID),
            ("no equals sign\n".to_owned(), PROTOCOL),
            ("endpoint=1.2.3.4:5\n".to_owned(), INVALID),
            ("allowed_ip=10.0.0.0/8\n".to_owned(), INVALID),
            (format!("public_key={half}\n"), INVALID),
        ];
        let of_a_peer = [
            "preshared_key=1",
            "endpoint=10.0.0.1",
            "endpoint=[::1",
            "endpoint=::1:5",
            "endpoint=localhost:5",
            "endpoint=10.0.0.1:65536",
            "persistent_keepalive_interval=65536",
            "persistent_keepalive_interval=-1",
            "replace_allowed_ips=yes",
            "remove=false",
            "update_only=0",
            "allowed_ip=1.2.3.4",
            "allowed_ip=1.2.3.4/33",
            "allowed_ip=1.2.3.4/",
            "allowed_ip=::/129",
            "allowed_ip=-",
            "allowed_ip=",
            "protocol_version=0",
            "protocol_version=2",
            "listen_port=1",
            "private_key=00",
        ]
        .map(|line| (format!("public_key={peer}\n{line}\n"), INVALID));
        for (body, errno) in device.into_iter().chain(of_a_peer) {
            let answer = uapi::set(tunnel.interface(), &body).expect("a reply");
            assert_eq!(answer, errno, "{}: {body}", program.name());
            assert_eq!(
                uapi::get(tunnel.interface()).expect("the state"),
                before,
                "{}: {body}",
                program.name()
            );
        }
    }
}

/// U6, U7: several requests share a connection; what is no request ends it without a word.
#[test]
fn requests_share_a_connection() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let tunnel = Tunnel::start(Program::Gateway, &namespace);
    let mut stream = uapi::connect(tunnel.interface()).expect("a connection");
    for port in [7000, 7001] {
        write!(stream, "set=1\nlisten_port={port}\n\n").expect("writing");
        assert_eq!(uapi::read_reply(&mut stream).expect("a reply"), "errno=0\n");
        stream.write_all(b"get=1\n\n").expect("writing");
        let reply = uapi::read_reply(&mut stream).expect("a reply");
        assert!(reply.contains(&format!("listen_port={port}\n")) && reply.ends_with("errno=0\n"), "{reply}");
    }
    stream.write_all(b"get=1\nlisten_port=7\n\n").expect("writing");
    // In the reply to a get `wg` reads digits alone, so the sign is free there.
    let reply = uapi::read_reply(&mut stream).expect("a reply");
    assert!([format!("errno={INVALID}\n"), format!("errno={}\n", -INVALID)].contains(&reply), "{reply}");
    let mut other = uapi::connect(tunnel.interface()).expect("a connection");
    other.write_all(b"take=1\n\n").expect("writing");
    assert!(uapi::read_reply(&mut other).is_err());
    assert!(uapi::get(tunnel.interface()).is_ok());
}

/// U8, U9: lines and requests beyond all measure, and a connection that ends in the middle, leave the program well.
#[test]
fn excess_is_survived() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let mut tunnel = Tunnel::start(Program::Gateway, &namespace);
    let long = format!("private_key={}\n", "0".repeat(1 << 20));
    match uapi::set(tunnel.interface(), &long) {
        Ok(errno) => assert!([IO, INVALID].contains(&errno), "{errno}"),
        // Closed while we were still writing.
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
    }
    let mut unknown = String::new();
    for number in 0..1_000_000 {
        writeln!(unknown, "key{number}=").expect("writing to a string");
    }
    match uapi::set(tunnel.interface(), &unknown) {
        Ok(errno) => assert_eq!(errno, INVALID),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
    }
    for start in [
        "s",
        "set=1",
        "set=1\n",
        "set=1\nlisten_port=70",
        "set=1\nlisten_port=7000\npublic_key=\0",
        "get=1\n",
    ] {
        let mut stream = uapi::connect(tunnel.interface()).expect("a connection");
        stream.write_all(start.as_bytes()).expect("writing");
        drop(stream);
        assert!(uapi::get(tunnel.interface()).is_ok(), "after {start:?}");
    }
    assert!(tunnel.is_running());
}

/// A gateway without a free descriptor says once that it cannot accept, tries on, and says when it can again.
#[test]
fn lack_of_descriptors_is_said_once_and_passes() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let tunnel = Tunnel::start(Program::Gateway, &namespace);
    let pid = i32::try_from(tunnel.pid()).ok().and_then(Pid::from_raw);
    let inherited = getrlimit(Resource::Nofile);
    // Those that are open stay open.
    let none = Rlimit { current: Some(0), ..inherited };
    prlimit(pid, Resource::Nofile, none).expect("a limit");
    let says = |words: &str| tunnel.log().matches(words).count();
    let stream = uapi::connect(tunnel.interface()).expect("a place in the backlog");
    assert!(wait::until(PATIENCE, || says("accept failed") > 0), "{}", tunnel.log());
    // Time for some tries more.
    std::thread::sleep(Duration::from_secs(1));
    prlimit(pid, Resource::Nofile, inherited).expect("no limit");
    assert!(wait::until(PATIENCE, || uapi::get(tunnel.interface()).is_ok()), "{}", tunnel.log());
    drop(stream);
    let is_over = || says("no longer: accept failed (the failure before came ") > 0;
    assert!(wait::until(PATIENCE, is_over), "{}", tunnel.log());
    assert_eq!(says("UAPI: accept failed"), 1, "{}", tunnel.log());
}
