//! Configuration files, as we judge and compile them and as the real `wg` does: the same verdict, the same device.
//!
//! There are two models in the same state, one behind the server that `wg setconf` and `wg syncconf` talk to, one given
//! the operations of [`Conf`]. They must be equal after each file, also after one that is refused.

use core::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use wg_gateway::conf::{Conf, ConfError, ErrorKind, Retries, SystemResolver};
use wg_gateway::uapi::Transaction;

use crate::model::Model;
use crate::tools::Bench;

/// How many files are generated for each of the two properties.
const FILES: u32 = 300;

#[test]
fn generated_files_are_judged_and_applied_as_by_wg() {
    // W1, W2, W3, W4
    let Some(bench) = Bench::new("e") else { return };
    let verdicts = check_all(&bench, &files());
    // A generator that makes only good or only bad files would prove little.
    assert!(verdicts.accepted > FILES / 10 && verdicts.refused > FILES / 10, "{verdicts:?}");
}

#[test]
fn mutated_files_are_judged_and_applied_as_by_wg() {
    // W1, W7
    let Some(bench) = Bench::new("f") else { return };
    let mutated = (good_files(), vec((any::<prop::sample::Index>(), edits()), 1..4)).prop_map(mutate);
    let verdicts = check_all(&bench, &mutated);
    assert!(verdicts.accepted > FILES / 20 && verdicts.refused > FILES / 10, "{verdicts:?}");
}

#[test]
fn syncconf_of_a_file_on_an_empty_device_is_what_we_make_of_it() {
    // W4
    let Some(bench) = Bench::new("g") else { return };
    let outcome = runner(FILES / 4).run(&good_files(), |text| {
        *bench.rig.device() = Model::default();
        let file = bench.file("conf", &text);
        bench.wg(&["syncconf", "NAME", &file]);
        let mut ours = Model::default();
        prop_assert_eq!(apply(&mut ours, text.as_bytes()), Ok(Ok(())));
        // The tool sends the peers in an order of its own.
        let (theirs, ours) = (bench.rig.device().get(), ours.get());
        prop_assert_eq!(sorted(&theirs), sorted(&ours));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn what_wg_showconf_prints_is_read_back() {
    // W2, W4
    let Some(bench) = Bench::new("j") else { return };
    let outcome = runner(FILES / 4).run(&good_files(), |text| {
        let mut device = Model::default();
        prop_assert_eq!(apply(&mut device, text.as_bytes()), Ok(Ok(())));
        let state = device.get();
        *bench.rig.device() = device;
        let printed = bench.wg(&["showconf", "NAME"]);
        let mut ours = Model::default();
        prop_assert_eq!(apply(&mut ours, printed.as_bytes()), Ok(Ok(())), "{}", printed);
        prop_assert_eq!(ours.get(), state, "{}", printed);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn signs_of_allowed_ips_are_read_as_by_newer_tools() {
    // W2: wireguard-tools 1.0.20210914, as in Debian, refuses the signs; newer versions understand them.
    let Some(bench) = Bench::new("h") else { return };
    let key = STANDARD.encode([7; 32]);
    let ours = |text: &str| {
        let mut model = Model::default();
        assert_eq!(apply(&mut model, text.as_bytes()), Ok(Ok(())));
        model.get()
    };
    for (first, second, expected) in [
        ("10.0.0.0/8, fd00::/8", "-10.0.0.0/8", "fd00::/8"),
        ("10.0.0.0/8", "+fd00::/8", "10.0.0.0/8 fd00::/8"),
        ("10.0.0.0/8", "+fd00::/8\nAllowedIPs = ::1", "fd00::/8 ::1/128"),
        ("10.0.0.0/8", "::1\nAllowedIPs = +fd00::/8, -10.0.0.0/8", "::1/128 fd00::/8"),
    ] {
        let peer = |ips: &str| format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {ips}\n");
        let text = format!("[Interface]\nListenPort = 7\n{}{}", peer(first), peer(second));
        let state = ours(&text);
        let ips: Vec<_> = state.lines().filter_map(|line| line.strip_prefix("allowed_ip=")).collect();
        assert_eq!(ips.join(" "), expected, "{second}");
        let output = bench.run(&["setconf", "NAME", &bench.file("conf", &text)]);
        if output.status.success() {
            assert_eq!(bench.rig.device().get(), state, "{second}");
        } else {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(message.contains("Unable to parse IP address"), "{message}");
        }
    }
}

#[test]
fn ports_do_not_wrap_as_they_do_in_the_c_library() {
    // W2: the one place where `wg` takes what we refuse.
    let Some(bench) = Bench::new("i") else { return };
    for value in ["65536", "65537", "+7"] {
        let text = format!("[Interface]\nListenPort = {value}\n");
        let error = Conf::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error, ConfError { line: 2, kind: ErrorKind::BadPort });
        let output = bench.run(&["setconf", "NAME", &bench.file("conf", &text)]);
        println!("wg and ListenPort = {value}: {}", output.status);
    }
}

/// What became of the files.
#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    accepted: u32,
    refused: u32,
}

/// What the device has before each file: something of everything, to be reset or kept.
fn base() -> String {
    let (own, peer) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
    format!(
        "[Interface]\nPrivateKey = {own}\nListenPort = 7\nFwMark = 8\n[Peer]\nPublicKey = {peer}\n\
         PresharedKey = {own}\nEndpoint = 192.0.2.2:2\nPersistentKeepalive = 9\nAllowedIPs = 10.0.0.0/8, ::/0\n"
    )
}

fn check_all(bench: &Bench, files: &impl Strategy<Value = String>) -> Verdicts {
    let verdicts = Cell::new(Verdicts::default());
    let outcome = runner(FILES).run(files, |text| {
        let accepted = check(bench, &text)?;
        let Verdicts { accepted: so_far, refused } = verdicts.get();
        verdicts.set(Verdicts {
            accepted: so_far + u32::from(accepted),
            refused: refused + u32::from(!accepted),
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    verdicts.get()
}

/// Gives one file to both and tells whether it was accepted.
fn check(bench: &Bench, text: &str) -> Result<bool, TestCaseError> {
    if matches!(Conf::parse(text.as_bytes()), Err(ConfError { kind: ErrorKind::BadPort, .. })) {
        // Here we are stricter on purpose.
        return Ok(false);
    }
    let (mut theirs, mut ours) = (Model::default(), Model::default());
    for model in [&mut theirs, &mut ours] {
        prop_assert_eq!(apply(model, base().as_bytes()), Ok(Ok(())));
    }
    *bench.rig.device() = theirs;
    let output = bench.run(&["setconf", "NAME", &bench.file("conf", text)]);
    let verdict = apply(&mut ours, text.as_bytes());
    let message = String::from_utf8_lossy(&output.stderr);
    prop_assert_eq!(output.status.success(), verdict == Ok(Ok(())), "{:?}, wg: {}", verdict, message);
    prop_assert_eq!(bench.rig.device().get(), ours.get());
    Ok(output.status.success())
}

/// Applies a file to a model: the error of the file, or the answer of the device.
fn apply(model: &mut Model, text: &[u8]) -> Result<Result<(), i32>, ConfError> {
    let mut resolver = SystemResolver::new(Retries::Count(0));
    let ops = Conf::parse(text)?.into_ops(&mut resolver)?;
    let mut transaction = Transaction::new(ops, Ok(()));
    loop {
        if let Some(answer) = transaction.run(model, 5) {
            return Ok(answer.map_err(wg_gateway::uapi::Errno::code));
        }
    }
}

/// The state with its peers in the order of their keys.
fn sorted(state: &str) -> Vec<&str> {
    let state = state.strip_suffix("errno=0\n").unwrap_or(state);
    let mut parts: Vec<_> = state.split("public_key=").collect();
    parts[1..].sort_unstable();
    parts
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// A key in base64 that is drawn from few, so that a file names a peer twice, or its own interface.
fn keys() -> impl Strategy<Value = String> {
    (0..4_u8).prop_map(|n| STANDARD.encode([n; 32]))
}

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(values).prop_map(str::to_owned)
}

const PORTS: &[&str] = &["0", "1", "00080", "51820", "65535", "domain", "22"];
const MARKS: &[&str] = &["off", "OFF", "0", "0x0", "010", "0xfFfF", "0xffffffff", "4294967295", "666"];
const KEEPALIVES: &[&str] = &["off", "Off", "0", "25", "025", "65535"];
const IPS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.1",
    "10.0.0.1/8",
    "10.0.0.0/08",
    "192.0.2.128 / 2 5",
    "::/0",
    "fd00::1",
    "fd00::1/64",
    "::ffff:192.0.2.1/120",
    "::2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
];
/// Only forms that are settled without a name server.
const ENDPOINTS: &[&str] = &[
    "192.0.2.1:51820",
    "192.0.2.1:0",
    "192.0.2.1:domain",
    "[192.0.2.1]:5",
    "127.1:5",
    "0x7f.1:5",
    "[2001:db8::1]:51820",
    "2001:db8::1:5",
    "[::ffff:192.0.2.1]:5",
    "[fe80::1%lo]:5",
    "[fe80::1%1]:5",
];
const BAD_PORTS: &[&str] = &["0x10", "=5", "5x", "no-such-service", "DOMAIN", ""];
const BAD_MARKS: &[&str] = &["4294967296", "0x", "0X10", "0x100000000", "-1", "0x0x1", "1 x", "on", ""];
const BAD_KEEPALIVES: &[&str] = &["65536", "-1", "0x1", "25s", "on", "99999999999999999999", ""];
const BAD_IPS: &[&str] = &[
    "",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/8/9",
    "10.0.0.0/255.0.0.0",
    "10.0/8",
    "010.0.0.0/8",
    "::/129",
    "::/4294967297",
    "fe80::1%lo",
    "00001::",
    "1::2:3:4:5:6:7:8",
    "(none)",
    "10.0.0.1;10.0.0.2",
];
const BAD_ENDPOINTS: &[&str] = &[
    "192.0.2.1",
    "192.0.2.1:",
    ":5",
    "[]:5",
    "[::1",
    "[::1]5",
    "[::1]:",
    "[::1]:5:6",
    "192.0.2.1:no-such-service",
    "[fe80::1%no-such-link]:5",
    "",
];
const BAD_KEYS: &[&str] = &[
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
    "-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "",
];
const BAD_LINES: &[&str] = &[
    "[Interface]x",
    "[Peers]",
    "Interface",
    ";comment",
    "=",
    "ListenPort",
    "ListenPorts=5",
    "Address = 10.0.0.1/24",
    "PostUp = true",
    "\u{a0}",
];

fn line(key: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (value, any::<u8>()).prop_map(move |(value, style)| match style % 4 {
        0 => format!("{key} = {value}"),
        1 => format!("{}={value}# comment = 1", key.to_uppercase()),
        2 => format!("\t{} =\x0b{value} \r", key.to_lowercase()),
        _ => format!("{}\t{} = {value}", &key[..2], &key[2..]),
    })
}

fn interface_lines() -> impl Strategy<Value = String> {
    prop_oneof![line("PrivateKey", keys()), line("ListenPort", one_of(PORTS)), line("FwMark", one_of(MARKS)),]
}

fn peer_lines() -> impl Strategy<Value = String> {
    prop_oneof![
        line("PublicKey", keys()),
        line("PresharedKey", keys()),
        line("PersistentKeepalive", one_of(KEEPALIVES)),
        line("Endpoint", one_of(ENDPOINTS)),
        line("AllowedIPs", vec(one_of(IPS), 1..4).prop_map(|ips| ips.join(", "))),
        Just("# nothing, and an empty line\n".to_owned()),
    ]
}

fn bad_lines() -> impl Strategy<Value = String> {
    prop_oneof![
        one_of(BAD_LINES),
        line("PrivateKey", one_of(BAD_KEYS)),
        line("PublicKey", one_of(BAD_KEYS)),
        line("PresharedKey", one_of(BAD_KEYS)),
        line("ListenPort", one_of(BAD_PORTS)),
        line("FwMark", one_of(BAD_MARKS)),
        line("PersistentKeepalive", one_of(BAD_KEEPALIVES)),
        line("Endpoint", one_of(BAD_ENDPOINTS)),
        line("AllowedIPs", (one_of(IPS), one_of(BAD_IPS)).prop_map(|(good, bad)| format!("{good},{bad}"))),
    ]
}

/// Any lines in any order: sections that lack what they need, keys where they do not belong, and bad values.
fn files() -> impl Strategy<Value = String> {
    let lines = prop_oneof![
        6 => interface_lines().prop_map(|line| format!("[Interface]\n{line}")),
        12 => (keys(), vec(peer_lines(), 0..5))
            .prop_map(|(key, lines)| format!("[peer]\nPublicKey={key}\n{}", lines.join("\n"))),
        1 => Just("[ Peer ]".to_owned()),
        1 => interface_lines(),
        2 => peer_lines(),
        1 => bad_lines(),
    ];
    vec(lines, 0..8).prop_map(|lines| lines.join("\n"))
}

/// Files without a mistake, without a refusal by the model, without a peer named twice, and without the name of a service,
/// which not every machine knows.
fn good_files() -> impl Strategy<Value = String> {
    let port = select(vec!["0", "51820", "00080"]);
    let peer = (vec(peer_lines(), 0..5), any::<bool>());
    (port, 0..3_u8, vec(peer, 0..4)).prop_map(|(port, mark, peers)| {
        let mut text = format!("[Interface]\nListenPort = {port}\nFwMark = {mark}\n");
        for ((lines, ends), n) in peers.into_iter().zip(100_u8..) {
            text += "[Peer]\n";
            for line in lines.iter().filter(|line| !is_public_key(line) && !line.contains("domain")) {
                text += &format!("{line}\n");
            }
            text += &format!("PublicKey = {}{}", STANDARD.encode([n; 32]), if ends { "\n" } else { " \n\n" });
        }
        text
    })
}

fn is_public_key(line: &str) -> bool {
    let letters: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    letters.to_ascii_lowercase().starts_with("publickey")
}

/// A change of a few bytes.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Insert(u8),
    Replace(u8),
    Remove,
    Cut,
}

fn edits() -> impl Strategy<Value = Edit> {
    // Without signs, whose meaning depends on the age of `wg`.
    let byte = select(b"[]=,/:#% \t\n\r\0;.0123456789abfxAEIPi".to_vec());
    prop_oneof![
        byte.clone().prop_map(Edit::Insert),
        byte.prop_map(Edit::Replace),
        Just(Edit::Remove),
        Just(Edit::Cut)
    ]
}

/// Applies edits at places outside of endpoints: a name that comes about would be asked for in the whole world.
fn mutate((text, edits): (String, Vec<(prop::sample::Index, Edit)>)) -> String {
    let mut text = text;
    for (index, edit) in edits {
        let at = index.index(text.len());
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        // One with a line break is judged by the two lines that it joins or parts.
        let line = text[line_start..line_end].to_ascii_lowercase();
        if line.contains(':') && !line.contains(',') && !line.contains('/') || line.contains("point") {
            continue;
        }
        match edit {
            Edit::Insert(byte) => text.insert(at, char::from(byte)),
            Edit::Replace(byte) => text.replace_range(at..=at, &char::from(byte).to_string()),
            Edit::Remove => {
                text.remove(at);
            }
            Edit::Cut => text.truncate(at),
        }
        if text.is_empty() {
            break;
        }
    }
    text
}
