//! Clients on a real socket: well-behaved, many at once, in pieces, forgetful, stuck, gone (U6, U9, U12, U17).

use core::fmt::Write;
use core::time::Duration;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use wg_gateway::uapi::{Limits, Progress, Server};
use wg_proto::PublicKey;

use crate::model::Model;
use crate::rig::{Client, Rig};

#[test]
fn several_requests_are_answered_on_one_connection() {
    let rig = Rig::new();
    let mut client = rig.connect();
    assert_eq!(client.ask("get=1\n\n"), "errno=0\n");
    assert_eq!(client.ask("set=1\nlisten_port=7\n\n"), "errno=0\n");
    assert_eq!(client.ask("set=1\nlisten_port=x\n\n"), "errno=-22\n");
    assert_eq!(client.ask("set=1\nfwmark\n\n"), "errno=-71\n");
    assert_eq!(client.ask("set=1\nlisten_port=22\n\n"), "errno=-98\n");
    assert_eq!(client.ask("get=1\nx\n\n"), "errno=22\n");
    // All at once, then byte by byte.
    client.send("set=1\nfwmark=1\n\nget=1\n\nset=1\nfwmark=2\n\nget=1\n\n");
    let replies: Vec<_> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(
        replies,
        [
            "errno=0\n",
            "listen_port=7\nfwmark=1\nerrno=0\n",
            "errno=0\n",
            "listen_port=7\nfwmark=2\nerrno=0\n"
        ]
    );
    for byte in b"set=1\nfwmark=3\n\n" {
        client.send([*byte]);
    }
    assert_eq!(client.reply(), "errno=0\n");
    assert_eq!(rig.device().firewall_mark, 3);
}

#[test]
fn anything_else_is_hung_up_on_without_a_reply() {
    let rig = Rig::new();
    for first in ["GET / HTTP/1.1\r\n\r\n", "\n", "get=2\n\n", "set=1\r\n\r\n"] {
        assert_eq!(rig.connect().send(first).rest(), "", "{first:?}");
    }
    let mut client = rig.connect();
    assert_eq!(client.ask("get=1\n\n"), "errno=0\n");
    assert_eq!(client.send("hello\n").rest(), "");
}

#[test]
fn the_largest_legal_set_passes_and_reads_back() {
    let rig = Rig::new();
    let key = "ab".repeat(32);
    let mut body = String::new();
    for n in 0..130_560_u32 {
        writeln!(body, "allowed_ip={}/32", core::net::Ipv4Addr::from_bits(0x0a00_0000 + n)).unwrap();
    }
    let mut client = rig.connect();
    assert_eq!(client.ask(format!("set=1\npublic_key={key}\n{body}\n")), "errno=0\n");
    client.send("get=1\n\n").stream.shutdown(Shutdown::Write).unwrap();
    let reply = client.rest();
    assert!(reply.ends_with(&format!("persistent_keepalive_interval=0\n{body}errno=0\n\n")));
}

#[test]
fn a_client_that_never_ends_its_set_holds_up_nobody_and_changes_nothing() {
    let rig = Rig::new();
    let mut stuck = rig.connect();
    stuck.send("set=1\nlisten_port=1\n");
    assert_eq!(rig.connect().ask("set=1\nfwmark=5\n\n"), "errno=0\n");
    assert_eq!(rig.connect().ask("get=1\n\n"), "fwmark=5\nerrno=0\n");
    assert_eq!(stuck.ask("\n"), "errno=0\n");
    assert_eq!(rig.connect().ask("get=1\n\n"), "listen_port=1\nfwmark=5\nerrno=0\n");
}

#[test]
fn a_client_that_stops_reading_during_a_large_get_holds_up_nobody() {
    let rig = Rig::new();
    let mut body = format!("public_key={}\n", "ab".repeat(32));
    for n in 0..100_000_u32 {
        writeln!(body, "allowed_ip={}/32", core::net::Ipv4Addr::from_bits(n)).unwrap();
    }
    rig.device().set(body + "\n");
    // More than any socket buffer, and nobody reads.
    let stuck: Vec<_> = (0..8)
        .map(|_| {
            let mut client = rig.connect();
            client.send("get=1\n\nset=1\nlisten_port=1\n\n");
            client
        })
        .collect();
    assert_eq!(rig.connect().ask("set=1\nfwmark=5\n\n"), "errno=0\n");
    assert_eq!(rig.device().mark_and_port(), (5, 0));
    drop(stuck);
}

#[test]
fn a_request_or_reply_that_takes_too_long_is_dropped_unapplied() {
    let rig = Rig::with_limits(Limits { patience: Duration::from_millis(50), ..Limits::default() });
    assert_eq!(rig.connect().send("set=1\nlisten_port=1\n").rest(), "");
    assert_eq!(rig.device().listen_port, 0);

    let mut quiet = rig.connect();
    assert_eq!(quiet.ask("get=1\n\n"), "errno=0\n");
    assert_eq!(rig.connect().send("get=1").rest(), "", "by now the patience is over");
    assert_eq!(quiet.ask("get=1\n\n"), "errno=0\n", "between requests there is no hurry");

    let mut body = format!("public_key={}\n", "ab".repeat(32));
    for n in 0..100_000_u32 {
        writeln!(body, "allowed_ip={}/32", core::net::Ipv4Addr::from_bits(n)).unwrap();
    }
    rig.device().set(body + "\n");
    let mut slow = rig.connect();
    slow.send("get=1\n\n");
    assert_eq!(rig.connect().send("get=1").rest(), "", "by now the patience is over");
    assert!(!slow.rest().contains("errno"), "cut short");
}

#[test]
fn the_complete_lines_of_a_client_that_hangs_up_are_applied() {
    let rig = Rig::new();
    let mut half_closed = rig.connect();
    half_closed.send("set=1\nlisten_port=1\n").stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half_closed.rest(), "errno=0\n\n");
    assert_eq!(rig.device().listen_port, 1);

    let mut torn = rig.connect();
    torn.send("set=1\nfwmark=2\nlisten_port=22222").stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(torn.rest(), "errno=-5\n\n");
    assert_eq!(rig.device().mark_and_port(), (2, 1));

    // A client that is gone altogether, with a reply of which it has read nothing.
    rig.connect().send("get=1\n\nset=1\nlisten_port=3\nfwm");
    wait_for(|| rig.device().listen_port == 3);
    assert_eq!(rig.device().firewall_mark, 2);
}

#[test]
fn forgotten_connections_give_way_to_new_ones() {
    let rig = Rig::with_limits(Limits { clients: 3, ..Limits::default() });
    let mut first = rig.connect();
    let mut busy = rig.connect();
    assert_eq!(first.ask("get=1\n\n"), "errno=0\n");
    assert_eq!(busy.ask("get=1\n\n"), "errno=0\n");
    let mut forgotten = Vec::new();
    for _ in 0..10 {
        let mut newcomer = rig.connect();
        assert_eq!(newcomer.ask("get=1\n\n"), "errno=0\n");
        // It stays open; the one used least recently goes.
        forgotten.push(newcomer);
        assert_eq!(busy.ask("get=1\n\n"), "errno=0\n");
    }
    assert_eq!(first.rest(), "", "the first was the quietest");
    // A set that never ends loses its place too, and is not applied although its stream ends.
    let mut stuck = rig.connect();
    stuck.send("set=1\nlisten_port=1\n");
    for _ in 0..3 {
        assert_eq!(rig.connect().ask("get=1\n\n"), "errno=0\n");
        assert_eq!(busy.ask("get=1\n\n"), "errno=0\n");
        forgotten.push(rig.connect());
    }
    assert_eq!(stuck.rest(), "");
    assert_eq!(rig.device().listen_port, 0);
}

#[test]
fn a_get_never_sees_half_of_a_set() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for writer in 0..4_u32 {
            let mut client = rig.connect();
            scope.spawn(move || {
                for round in 1..=30 {
                    let number = writer * 1000 + round;
                    let padding = "replace_peers=true\n".repeat(300);
                    let set =
                        format!("set=1\nlisten_port={}\n{padding}fwmark={}\n\n", number + 30, number + 30);
                    assert_eq!(client.ask(set), "errno=0\n");
                }
            });
        }
        for _ in 0..4 {
            let mut client = rig.connect();
            scope.spawn(move || {
                for _ in 0..200 {
                    let reply = client.ask("get=1\n\n");
                    let value =
                        |key: &str| reply.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
                    assert_eq!(value("listen_port="), value("fwmark="), "{reply}");
                }
            });
        }
    });
    let (mark, port) = rig.device().mark_and_port();
    assert_eq!(mark, u32::from(port));
}

#[test]
fn two_clients_that_set_at_once_are_obeyed_one_after_the_other() {
    // U12, U16: each set takes all peers away and makes its own, in many slices; what is left is the work of one.
    let rig = Rig::new();
    let set = |client: u8| {
        let mut body = "replace_peers=true\n".to_owned();
        for number in 0..200 {
            let key = format!("{client:02x}{number:02x}").repeat(16);
            writeln!(body, "public_key={key}\nallowed_ip=10.0.{number}.0/24").unwrap();
        }
        format!("set=1\n{body}\n")
    };
    thread::scope(|scope| {
        for number in [0xa1, 0xb2] {
            let mut client = rig.connect();
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(client.ask(set(number)), "errno=0\n");
                }
            });
        }
    });
    let device = rig.device();
    let whose = device.peers[0].public_key.as_bytes()[0];
    assert!(device.peers.iter().all(|peer| peer.public_key.as_bytes()[0] == whose));
    assert!(device.peers.iter().all(|peer| peer.allowed_ips.len() == 1));
    assert_eq!(device.peers.len(), 200);
}

#[test]
fn a_client_that_is_gone_in_the_middle_of_a_line_harms_nobody() {
    // U9, U16: what was whole is applied, half a line is not, and the others are served.
    let rig = Rig::new();
    for (mark, half) in (1..).zip(["listen_port=2", "listen_port", "public_key=abab", "fwm"]) {
        rig.connect().send(format!("set=1\nfwmark={mark}\n{half}"));
        assert_eq!(rig.connect().ask("set=1\nreplace_peers=true\n\n"), "errno=0\n");
        wait_for(|| rig.device().firewall_mark == mark);
        assert_eq!(rig.device().listen_port, 0, "{half:?}");
    }
}

#[test]
fn stopping_ends_every_client_whatever_it_is_doing() {
    let mut rig = Rig::new();
    let mut body = format!("public_key={}\n", "ab".repeat(32));
    for n in 0..100_000_u32 {
        writeln!(body, "allowed_ip={}/32", core::net::Ipv4Addr::from_bits(n)).unwrap();
    }
    rig.device().set(body + "\n");
    let mut idle = rig.connect();
    let mut in_a_set = rig.connect();
    let mut not_reading = rig.connect();
    in_a_set.send("set=1\nlisten_port=1\n");
    not_reading.send("get=1\n\n");
    assert!(rig.connect().ask("set=1\nfwmark=1\n\n").starts_with("errno=0"));
    rig.stop();
    assert_eq!(idle.rest(), "");
    assert_eq!(in_a_set.rest(), "");
    assert!(!not_reading.rest().contains("errno"));
    assert_eq!(rig.device().listen_port, 0, "a set that we cut off is not applied");
}

#[test]
fn a_client_whose_request_is_under_way_keeps_its_place() {
    let (mut server, rings, connect) = unserved("place", Limits { clients: 1, ..Limits::default() });
    let mut served = connect();
    served.send("get=1\n\n");
    rings.recv().unwrap();
    assert_eq!(connect().rest(), "", "there is no place to take");
    server.serve(&mut Model::default(), 64);
    assert_eq!(served.reply(), "errno=0\n");
    // Now it can be taken.
    let mut newcomer = connect();
    newcomer.send("get=1\n\n");
    rings.recv().unwrap();
    server.serve(&mut Model::default(), 64);
    assert_eq!(newcomer.reply(), "errno=0\n");
    assert_eq!(served.rest(), "");
}

#[test]
fn a_server_that_goes_away_leaves_no_client_waiting_for_an_answer() {
    let (mut server, rings, connect) = unserved("end", Limits::default());
    let (mut client, mut queued, mut unfinished) = (connect(), connect(), connect());
    client.send("get=1\n\n");
    rings.recv().unwrap();
    let mut device = Model::default();
    assert_eq!(server.serve(&mut device, 1), Progress::More);
    assert_eq!(client.reply(), "errno=0\n");
    // One request under way, one in the queue, one not at its end.
    client.send("set=1\nfwmark=1\n\n");
    rings.recv().unwrap();
    assert_eq!(server.serve(&mut device, 1), Progress::More);
    queued.send("set=1\nfwmark=2\n\n");
    rings.recv().unwrap();
    unfinished.send("set=1\nfwmark=3\n");
    drop(server);
    for client in [&mut client, &mut queued, &mut unfinished] {
        assert_eq!(client.rest(), "");
    }
    assert_eq!(device.firewall_mark, 0);
}

/// Removes a socket file at the end of a test.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server whose data lane is the test itself, the bell that it rings, and a way to connect.
fn unserved(tag: &str, limits: Limits) -> (Server<PublicKey>, Receiver<()>, impl Fn() -> Client) {
    let path = std::env::temp_dir().join(format!("wgsock-{}-{tag}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let (bell, rings) = channel();
    let server = Server::start(&listener, limits, move || bell.send(()).unwrap_or_default()).unwrap();
    let file = SocketFile(path);
    (server, rings, move || Client::connect(&file.0))
}

/// Waits for another thread to get there; a condition that never comes true ends the test.
fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen");
}
