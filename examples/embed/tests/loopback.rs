//! Both ends of a tunnel as processes on the loopback interface.

use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// When to give up on a line: long after the handshake was tried again.
const PATIENCE: Duration = Duration::from_secs(60);

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wg-embed"))
}

/// A key file, removed again, and the public key.
struct Key(PathBuf, String);

impl Key {
    fn new(name: &str) -> Self {
        let made = program().arg("genkey").output().unwrap();
        assert!(made.status.success());
        let path = std::env::temp_dir().join(format!("wg-embed-{}-{name}.key", std::process::id()));
        std::fs::write(&path, made.stdout).unwrap();
        Self(path, String::from_utf8(made.stderr).unwrap().trim().to_owned())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A running end; ended when dropped.
struct End {
    process: Child,
    input: ChildStdin,
    output: Receiver<String>,
    address: String,
}

impl End {
    fn start(key: &Key, inner: &str, peer: &Key, peer_inner: &str, peer_address: Option<&str>) -> Self {
        let mut command = program();
        command.arg(&key.0).args(["127.0.0.1:0", inner, &peer.1, peer_inner]).args(peer_address);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stderr.take().unwrap()).read_line(&mut said).unwrap();
        let address =
            said.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{said}")).to_owned();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (heard, output) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| heard.send(line)));
        Self { process, input, output, address }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn hear(&self) -> String {
        self.output.recv_timeout(PATIENCE).expect("a line of the peer")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn lines_travel_both_ways() {
    let (key_a, key_b) = (Key::new("a"), Key::new("b"));
    let mut b = End::start(&key_b, "10.0.0.2", &key_a, "10.0.0.1", None);
    let address = b.address.clone();
    // Noise first: the end must outlive it.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in [0, 1, 4, 32, 92, 148, 1500, 65_507] {
        stranger.send_to(&vec![4; len], &address).unwrap();
        stranger
            .send_to(&[&[1, 0, 0, 0], &vec![7; len][..len.saturating_sub(4)]].concat(), &address)
            .unwrap();
    }
    let mut a = End::start(&key_a, "10.0.0.1", &key_b, "10.0.0.2", Some(&address));
    a.say("from a, before there is a session");
    assert_eq!(b.hear(), "from a, before there is a session");
    b.say("from b, who learnt where a is");
    assert_eq!(a.hear(), "from b, who learnt where a is");
    for number in 0..200 {
        a.say(&format!("line {number}"));
    }
    a.say("");
    for number in 0..200 {
        assert_eq!(b.hear(), format!("line {number}"));
    }
    assert_eq!(b.hear(), "");
}

#[test]
fn lines_with_another_source_are_dropped() {
    // A bears 10.0.0.1; B expects 10.0.0.9 of this peer.
    let (key_a, key_b) = (Key::new("c"), Key::new("d"));
    let mut b = End::start(&key_b, "10.0.0.2", &key_a, "10.0.0.9", None);
    let address = b.address.clone();
    let mut liar = End::start(&key_a, "10.0.0.1", &key_b, "10.0.0.2", Some(&address));
    liar.say("spoofed");
    // B answers to the peer, so the session is there, and what it delivers next is from the honest end.
    b.say("hello");
    assert_eq!(liar.hear(), "hello");
    drop(liar);
    // Initiations less than 20 ms apart are not served.
    thread::sleep(Duration::from_millis(50));
    let mut honest = End::start(&key_a, "10.0.0.9", &key_b, "10.0.0.2", Some(&address));
    honest.say("true");
    assert_eq!(b.hear(), "true");
}

#[test]
fn wrong_arguments_are_told() {
    for args in [&[][..], &["--help"], &["a", "b", "c", "d"]] {
        let run = program().args(args).output().unwrap();
        assert!(!run.status.success());
        assert!(String::from_utf8(run.stderr).unwrap().starts_with("usage: "));
    }
    let run =
        program().args(["/nonexistent", "127.0.0.1:0", "10.0.0.1", "AAAA", "10.0.0.2"]).output().unwrap();
    assert!(!run.status.success());
    assert_eq!(String::from_utf8(run.stderr).unwrap(), "wg-embed: a key is 32 bytes in base64\n");
}
