//! The program as a service: how it starts, what it takes over, when it ends and what is left. Its users are scripts and
//! `wg-quick`, which were written for `wireguard-go`.

use core::time::Duration;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use rustix::process::{Signal, kill_process};
use wg_netns::key::KeyPair;
use wg_netns::launch::with_environment;
use wg_netns::node::PORT;
use wg_netns::requirements::{Requirements, can_run};
use wg_netns::tun_fd::{self, PacketInformation};
use wg_netns::tunnel::PATIENCE;
use wg_netns::{Family, Launch, Namespace, Node, Pair, Program, Tunnel, cleanup, command, uapi, wait};

const PROGRAM: Program = Program::Gateway;

/// U1: without `-f` the command returns when everything is there, and the program stays.
#[test]
fn daemon_is_ready_when_the_command_returns() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let interface = cleanup::unique_name();
    let output = start_daemon(&namespace, &interface);
    assert!(output.status.success(), "{output:?}");
    assert!(uapi::get(&interface).is_ok());
    assert!(namespace.has_interface(&interface));
    let processes = namespace.processes();
    assert_eq!(processes.len(), 1, "{processes:?}");
    kill_process(processes[0], Signal::TERM).expect("the daemon");
    assert_nothing_left(&namespace, &interface);
}

/// What works of the offloads is said at the start, where loopback lets it be tried, and the device that datagrams leave by once a
/// peer has an endpoint; nothing is said of what is not wanted.
#[test]
fn offloads_are_reported() {
    if !can_run() {
        return;
    }
    let launch = |offload: &str| Launch {
        arguments: vec!["--offload".to_owned(), offload.to_owned()],
        log_level: Some("verbose"),
        ..Launch::from(PROGRAM)
    };
    let pair = Pair::new([launch("all=on"), launch("udp-gso=off,udp-gro=off")]);
    pair.acquaint(Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    let link = &pair.cable.first;
    let says = |words: &str| pair.a.tunnel.log().contains(words);
    assert!(says("UDP segmentation up to "), "{}", pair.a.tunnel.log());
    // The two ends of a cable leave the split to each other, but not every kernel tells.
    assert!(
        wait::until(PATIENCE, || says(&format!("datagrams leave by {link}, "))),
        "{}",
        pair.a.tunnel.log()
    );
    assert!(!says("no tx-udp-segmentation"), "{}", pair.a.tunnel.log());
    assert_eq!(pair.a.tunnel.log().matches("datagrams leave by").count(), 1);
    let silent = pair.b.tunnel.log();
    assert!(!silent.contains("UDP segmentation") && !silent.contains("datagrams leave by"), "{silent}");

    let namespace = Namespace::new();
    namespace.ip("link set lo down");
    let tunnel = Tunnel::start(launch("all=on"), &namespace);
    assert!(tunnel.log().contains("UDP segmentation untried"), "{}", tunnel.log());
}

/// The backend and the queue that are asked for are those in use; a backend that the machine does not have is refused.
#[test]
fn backend_and_queue_are_as_they_are_asked_for() {
    if !can_run() {
        return;
    }
    let launch = |arguments: &[&str]| Launch {
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        log_level: Some("verbose"),
        ..Launch::from(PROGRAM)
    };
    let pair = Pair::new([launch(&["--aead", "portable", "--queue", "fifo"]), launch(&["--aead", "ring"])]);
    pair.acquaint(Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    for (node, words) in [(&pair.a, "AEAD portable, queue fifo"), (&pair.b, "AEAD ring, queue fq-codel")] {
        assert!(node.tunnel.log().contains(words), "{}", node.tunnel.log());
    }

    let namespace = Namespace::new();
    let mut command = namespace.command(PROGRAM.path());
    let output =
        command.args(["-f", "--aead", "rot13", "wg0"]).stdin(Stdio::null()).output().expect("starting it");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("this machine has") && message.contains("portable"), "{message}");
}

/// U2: the variable does what `-f` does.
#[test]
fn foreground_by_environment() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let interface = cleanup::unique_name();
    let mut tunnel = start_until_up(&namespace, &interface, |command| {
        command.env("WG_PROCESS_FOREGROUND", "1").arg(&interface);
    });
    tunnel.signal(Signal::INT);
    assert!(tunnel.wait_for_end().is_some_and(|status| status.success()), "{}", tunnel.log());
    assert_nothing_left(&namespace, &interface);
}

/// U4: both signals end the program with success, and with it go interface and socket.
#[test]
fn signals_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        ends_cleanly(|tunnel, _| tunnel.signal(signal));
    }
}

/// U4: a script stops the program by removing its socket.
#[test]
fn removing_the_socket_ends_it() {
    ends_cleanly(|tunnel, _| fs::remove_file(tunnel.socket()).expect("the socket"));
}

/// U4: another removes the interface.
#[test]
fn removing_the_interface_ends_it() {
    ends_cleanly(|tunnel, namespace| {
        namespace.ip(&format!("link del {}", tunnel.interface()));
    });
}

/// U4: the namespace of the interface goes away, and the interface with it.
#[test]
fn removing_the_namespace_of_the_interface_ends_it() {
    ends_cleanly(|tunnel, namespace| {
        let inside = Namespace::new();
        namespace.ip(&format!("link set {} netns {}", tunnel.interface(), inside.name()));
        drop(inside);
    });
}

/// U4: a socket that somebody else has put in the place of ours is not ours to remove.
#[test]
fn foreign_socket_is_left_alone() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let mut tunnel = Tunnel::start(PROGRAM, &namespace);
    let socket = tunnel.socket();
    fs::remove_file(&socket).expect("the socket");
    let successor = UnixListener::bind(&socket).expect("a socket in its place");
    assert!(tunnel.wait_for_end().is_some(), "it did not notice that its socket is gone");
    assert!(socket.exists(), "it removed the socket of its successor");
    drop(successor);
}

/// U3: the directory is for all to see, the socket for its owner alone.
#[test]
fn socket_is_for_the_owner() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let tunnel = Tunnel::start(PROGRAM, &namespace);
    let socket = fs::metadata(tunnel.socket()).expect("the socket");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o077, 0);
    let directory = fs::metadata("/var/run/wireguard").expect("its directory");
    assert_eq!(directory.permissions().mode() & 0o777, 0o755);
}

/// U3: a second program for the same interface is refused, in this namespace and in another; the first goes on.
#[test]
fn second_instance_is_refused() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let elsewhere = Namespace::new();
    let mut tunnel = Tunnel::start(PROGRAM, &namespace);
    for other in [&namespace, &elsewhere] {
        for foreground in [true, false] {
            let mut second = other.command(PROGRAM.path());
            second.args(foreground.then_some("-f")).arg(tunnel.interface()).stdin(Stdio::null());
            let output = second.output().expect("starting it");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(tunnel.is_running() && uapi::get(tunnel.interface()).is_ok());
        }
    }
    assert!(!elsewhere.has_interface(tunnel.interface()));
    assert!(elsewhere.processes().is_empty());
}

/// U3: a socket file that nobody serves does not stop the start.
#[test]
fn stale_socket_does_not_stop_the_start() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let interface = cleanup::unique_name();
    let socket = uapi::socket_path(&interface);
    fs::create_dir_all("/var/run/wireguard").expect("the directory");
    drop(UnixListener::bind(&socket).expect("a socket"));
    assert!(socket.exists());
    let tunnel = Tunnel::start_named(PROGRAM, &namespace, &interface);
    assert!(uapi::get(tunnel.interface()).is_ok());
}

/// U1, U5: what is no interface name, and what is no command line, is refused, and nothing is made.
#[test]
fn bad_command_lines_are_refused() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    for arguments in [
        &["-f"][..],
        &[],
        &["-f", "sixteen-bytes-xx"],
        &["-f", "a/b"],
        &["sixteen-bytes-xx"],
        &["a", "b", "c"],
    ] {
        let output = namespace.command(PROGRAM.path()).args(arguments).stdin(Stdio::null()).output();
        let output = output.expect("starting it");
        assert!(output.status.code().is_some_and(|code| code > 0), "{arguments:?}: {output:?}");
    }
    assert!(namespace.processes().is_empty());
    assert_eq!(namespace.ip("-o link").lines().count(), 1, "more than lo");
}

/// U2: an interface and a socket that are already open are taken over, as a supervisor hands them on. A device of the old
/// format, with four bytes before each packet, is either served or refused, never misread.
#[test]
fn inherited_descriptors_are_used() {
    if !can_run() {
        return;
    }
    for information in [PacketInformation::Absent, PacketInformation::Present] {
        let pair = Pair::new([Program::WireguardGo, Program::WireguardGo]);
        let (peer, namespace) = (&pair.a, &pair.b.namespace);
        let interface = cleanup::unique_name();
        let device = tun_fd::open(namespace, &interface, information).expect("a TUN device");
        let listener = UnixListener::bind(uapi::socket_path(&interface)).expect("a socket");
        let mut tunnel = start_with(namespace, &interface, device, listener.into());
        if !tunnel.comes_up(namespace) {
            let refused = tunnel.wait_for_end().is_some_and(|status| !status.success());
            assert!(
                refused && information == PacketInformation::Present,
                "{information:?}: {}",
                tunnel.log()
            );
            continue;
        }
        let keys = KeyPair::generate();
        tunnel.set_with_input(
            &format!(
                "private-key /dev/stdin listen-port 7000 peer {} allowed-ips {}/32 endpoint {}",
                peer.keys.public,
                peer.inner(Family::V4),
                peer.endpoint(Family::V4)
            ),
            &keys.private.to_string(),
        );
        peer.tunnel.set(&format!("peer {} allowed-ips 10.1.0.9/32", keys.public));
        namespace.ip(&format!("link del {}", pair.b.interface()));
        namespace.ip(&format!("addr add 10.1.0.9/24 dev {interface}"));
        namespace.ip(&format!("link set {interface} up"));
        let ping = wg_netns::ping::Ping::to(peer.inner(Family::V4));
        assert!(wait::until(PATIENCE, || ping.run(namespace).received == 1), "{information:?}");
        tunnel.signal(Signal::TERM);
        assert!(tunnel.wait_for_end().is_some_and(|status| status.success()));
        assert_nothing_left(namespace, &interface);
    }
}

/// U6: `wg-quick` takes a tunnel up from a file, with addresses, routes and MTU, and down again.
#[test]
fn wg_quick_takes_it_up_and_down() {
    if !can_run() || !Requirements::check().and_program("wg-quick", "wireguard-tools").met() {
        return;
    }
    let pair = Pair::new([Program::WireguardGo, Program::WireguardGo]);
    // The second node serves as the host of the tunnel that wg-quick makes; its own tunnel would only be in the way.
    let (peer, host) = (&pair.a, &pair.b);
    host.namespace.ip(&format!("link del {}", host.interface()));
    let interface = cleanup::unique_name();
    let directory = cleanup::unique_directory();
    let file = directory.join(format!("{interface}.conf"));
    fs::write(
        &file,
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\nAddress = {}/24, {}/64\nMTU = 1300\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {}/32, {}/128, 10.8.0.0/16\nEndpoint = {}\n",
            host.keys.private,
            host.inner(Family::V4),
            host.inner(Family::V6),
            peer.keys.public,
            peer.inner(Family::V4),
            peer.inner(Family::V6),
            peer.endpoint(Family::V4),
        ),
    )
    .expect("the configuration");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its permissions");
    peer.add_peer(host, None);
    for _ in 0..2 {
        wg_quick(&host.namespace, "up", &file);
        assert!(host.namespace.ip(&format!("link show {interface}")).contains("mtu 1300"));
        assert!(host.namespace.ip("route").contains(&format!("10.8.0.0/16 dev {interface}")));
        assert!(host.reaches_within(PATIENCE, peer, Family::V4));
        assert!(host.reaches(peer, Family::V6));
        wg_quick(&host.namespace, "down", &file);
        assert_nothing_left(&host.namespace, &interface);
    }
    fs::remove_dir_all(directory).expect("our own directory");
}

/// U17: two clients that say nothing and one that does not read do not stop traffic or another client.
#[test]
fn stuck_clients_harm_nobody() {
    if !can_run() {
        return;
    }
    let pair = Pair::acquainted([PROGRAM, Program::WireguardGo], Family::V4);
    let silent = [uapi::connect(pair.a.interface()), uapi::connect(pair.a.interface())];
    assert!(silent.iter().all(Result::is_ok));
    let mut unfinished = uapi::connect(pair.a.interface()).expect("a connection");
    std::io::Write::write_all(&mut unfinished, b"set=1\nlisten_port=").expect("half a request");
    let mut greedy = uapi::connect(pair.a.interface()).expect("a connection");
    greedy.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    // Asks and asks, and never reads an answer.
    for _ in 0..20_000 {
        if std::io::Write::write_all(&mut greedy, b"get=1\n\n").is_err() {
            break;
        }
    }
    assert!(pair.a.reaches(&pair.b, Family::V4));
    // Not with `wg`, which would wait for ever.
    assert_eq!(uapi::get(pair.a.interface()).expect("an answer for another client").listen_port, PORT);
    assert!(pair.a.reaches(&pair.b, Family::V6));
}

fn wg_quick(namespace: &Namespace, action: &str, file: &std::path::Path) {
    // wireguard-go may lose its race, wg-quick then gives up and cleans up.
    let attempts = if PROGRAM.path().ends_with("wireguard-go") { 5 } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        let mut command = namespace.command("wg-quick");
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", PROGRAM.path()).arg(action).arg(file);
        match command::try_run(&mut command) {
            Ok(_) => return,
            Err(failure) => last = Some(failure),
        }
    }
    panic!("{}", last.expect("at least one attempt"));
}

/// Starts the program with the device as descriptor 3 and the listening socket as 4.
fn start_with(namespace: &Namespace, interface: &str, device: OwnedFd, listener: OwnedFd) -> Tunnel {
    // A shell moves them there: descriptors of ours close on exec, but standard input and output are handed on.
    let script = "exec 3<&0 4<&1 0</dev/null 1>&2; WG_TUN_FD=3 WG_UAPI_FD=4 exec \"$@\"";
    let mut command = namespace.command("sh");
    command
        .args(["-c", script, "sh"])
        .arg(PROGRAM.path())
        .args(with_environment(&[]))
        .args(["-f", interface]);
    Tunnel::spawn_with(PROGRAM, interface, command, device, listener)
}

fn start_daemon(namespace: &Namespace, interface: &str) -> Output {
    let mut last = None;
    // wireguard-go, when it stands in for the gateway, may lose its race.
    for _ in 0..if PROGRAM.path().ends_with("wireguard-go") { 5 } else { 1 } {
        let mut start = namespace.command(PROGRAM.path());
        let output = start
            .args(with_environment(&[]))
            .arg(interface)
            .stdin(Stdio::null())
            .output()
            .expect("starting it");
        if output.status.success() {
            return output;
        }
        last = Some(output);
    }
    last.expect("at least one attempt")
}

fn start_until_up(namespace: &Namespace, interface: &str, arguments: impl Fn(&mut Command)) -> Tunnel {
    for _ in 0..if PROGRAM.path().ends_with("wireguard-go") { 5 } else { 1 } {
        let mut command = namespace.command(PROGRAM.path());
        command.args(with_environment(&[])).stdin(Stdio::null());
        arguments(&mut command);
        let mut tunnel = Tunnel::spawn(PROGRAM, interface, command);
        if tunnel.comes_up(namespace) {
            return tunnel;
        }
    }
    panic!("the program does not come up");
}

fn ends_cleanly(cause: impl Fn(&Tunnel, &Namespace)) {
    if !can_run() {
        return;
    }
    // Idle, and with a session and traffic.
    let namespace = Namespace::new();
    let mut tunnel = Tunnel::start(PROGRAM, &namespace);
    cause(&tunnel, &namespace);
    let status = tunnel.wait_for_end();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", tunnel.log());
    assert_nothing_left(&namespace, tunnel.interface());

    let mut pair = Pair::acquainted([PROGRAM, Program::WireguardGo], Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    let flow = busy(&pair.a, &pair.b);
    cause(&pair.a.tunnel, &pair.a.namespace);
    let status = pair.a.tunnel.wait_for_end();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", pair.a.tunnel.log());
    assert_nothing_left(&pair.a.namespace, pair.a.interface());
    flow.finish();
}

fn busy(from: &Node, to: &Node) -> wg_netns::udp::Flow {
    let address = core::net::SocketAddr::new(to.inner(Family::V4), 4000);
    let flow = wg_netns::udp::Flow::start(&from.namespace, &to.namespace, address, 500, 500);
    assert!(wait::until(PATIENCE, || flow.received() > 50));
    flow
}

fn assert_nothing_left(namespace: &Namespace, interface: &str) {
    let socket = uapi::socket_path(interface);
    assert!(wait::until(PATIENCE, || !socket.exists()), "the socket is still there");
    assert!(wait::until(PATIENCE, || !namespace.has_interface(interface)), "the interface is still there");
}
