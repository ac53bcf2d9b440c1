//! The firmware in an emulator, against a gateway in a namespace: a handshake, pings of all sizes, rekeys, junk, and a
//! bridge that comes back from another port.
//!
//! ```text
//!   firmware in qemu --- serial line, a Unix socket --- wg-serial-bridge --- UDP on loopback --- wg-gateway --- ping
//! ```
//!
//! The gateway lives in real time. The clock of the board is moved ahead by a command instead, from one session to the age
//! at which its initiator rekeys; nothing waits for minutes to pass.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};

use wg_netns::key::KeyPair;
use wg_netns::node::{Family, Node, PORT};
use wg_netns::ping::Ping;
use wg_netns::{Namespace, Program, cleanup, uapi, wait};

use super::{EMULATOR, Row, budget, build_bridge, build_gateway};

/// What the emulator is.
const MACHINE: &str = "mps2-an386";
/// The address of the board inside the tunnel; the gateway, as node 1, has 10.1.0.1.
const INNER: [u8; 4] = [10, 1, 0, 2];
/// The MTU of the tunnel, less the headers of a ping.
const LARGEST_PING: usize = 1420 - 28;
/// How often the board rekeys.
const REKEYS: usize = 3;
/// The age at which an initiator rekeys, and a second more.
const REKEY_AGE: &str = "advance 121";
/// The interval of the board's persistent keepalive, and a second more.
const KEEPALIVE_AGE: &str = "advance 26";
/// Nothing takes this long, not on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the firmware through all of it and returns what it takes of the RAM.
pub(super) fn run(firmware: &Path) -> Result<Vec<Row>, String> {
    let bridge = build_bridge()?;
    Program::gateway_is_at(build_gateway()?);
    // What the harness cannot set up is a panic that says why; everything it made goes all the same.
    std::panic::catch_unwind(|| exercise(firmware, &bridge))
        .unwrap_or_else(|_| Err("the harness failed; why stands above".into()))
}

fn exercise(firmware: &Path, bridge: &Path) -> Result<Vec<Row>, String> {
    let gateway = Node::new(Program::Gateway, 1);
    let keys = KeyPair::generate();
    let [a, b, c, d] = INNER;
    let peer = format!(
        "public_key={}\nreplace_allowed_ips=true\nallowed_ip={a}.{b}.{c}.{d}/32\n",
        keys.public.hex()
    );
    match uapi::set(gateway.interface(), &peer) {
        Ok(0) => {}
        other => return Err(format!("the gateway does not take the board as a peer: {other:?}")),
    }
    let arguments = [
        "wg".to_owned(),
        keys.private.hex(),
        gateway.keys.public.hex(),
        format!("127.0.0.1:{PORT}"),
        format!("{a}.{b}.{c}.{d}"),
        gateway.inner(Family::V4).to_string(),
    ];
    let mut board = Board::start(firmware, &gateway.namespace, &arguments)?;
    let mut line = Line::open(bridge, &board, &gateway.namespace)?;
    line.wait_for("ready")?;
    let ping = |payload| Ping::to(INNER.into()).payload(payload).whole().patience(Duration::from_secs(10));
    let answers = |payload| ping(payload).run(&gateway.namespace).is_lossless();

    // The first session comes by itself, as the board has a persistent keepalive.
    if !wait::until(PATIENCE, || answers(56)) {
        return Err("the board does not answer".into());
    }
    println!("the board shook hands and answers");
    let sizes = [0, 1, 3, 4, 5, 56, 512, 1000, LARGEST_PING - 1, LARGEST_PING];
    for payload in sizes {
        if !answers(payload) {
            return Err(format!("a ping with {payload} bytes is not answered"));
        }
    }
    println!("it answers pings with {sizes:?} bytes");
    for rekey in 1..=REKEYS {
        // Whatever the board sent has been answered: age alone makes it rekey, and not silence.
        answer_last(&gateway, &mut line)?;
        let before = line.report()?;
        line.command(REKEY_AGE)?;
        line.wait_for("advanced")?;
        let mut after = BTreeMap::new();
        let rekeyed = wait::find(PATIENCE, || {
            after = line.report().ok()?;
            (number(&after, "sessions").ok()? > number(&before, "sessions").ok()?).then_some(())
        });
        if rekeyed.is_none() || number(&after, "sessions")? != rekey + 1 {
            return Err(format!("rekey {rekey}: {} sessions", number(&after, "sessions")?));
        }
        if !ping(56).count(5).run(&gateway.namespace).is_lossless() {
            return Err(format!("after rekey {rekey} pings are lost"));
        }
    }
    println!("it rekeyed {REKEYS} times and lost no ping");
    if number(&line.report()?, "dropped")? != 0 {
        return Err(format!("the board dropped datagrams of the gateway: {:?}", line.report()?));
    }
    let junk = throw_junk(&gateway, &keys)?;
    let arrived = wait::find(PATIENCE, || {
        line.report().ok().filter(|report| number(report, "dropped").is_ok_and(|dropped| dropped == junk))
    });
    if arrived.is_none() || !answers(56) {
        return Err(format!("after {junk} datagrams of junk: {:?}", line.report()?));
    }
    println!("it dropped {junk} datagrams of junk and answers");
    drop(line);
    let mut line = Line::open(bridge, &board, &gateway.namespace)?;
    let port_before = gateway_sees(&gateway, &keys)?;
    line.command(KEEPALIVE_AGE)?;
    if !wait::until(PATIENCE, || gateway_sees(&gateway, &keys).is_ok_and(|port| port != port_before)) {
        return Err("the gateway does not follow the board to another port".into());
    }
    if !answers(56) {
        return Err("from another port the board does not answer".into());
    }
    println!("it moved to another port and answers");
    let report = line.report()?;
    line.command("quit")?;
    board.ended()?;
    let row = |name: &str, key: &str, budget: Option<usize>| {
        Ok::<_, String>(Row { name: name.to_owned(), bytes: number(&report, key)?, budget })
    };
    Ok(vec![
        row("RAM of a peer", "peer", Some(budget::PEER_RAM))?,
        row("deepest stack while it starts", "start-stack", Some(budget::START_STACK))?,
        row("deepest stack from then on", "deepest-stack", Some(budget::STACK))?,
        row("  of a stack of", "stack", None)?,
    ])
}

/// Sends the board a packet that calls for no answer, and waits until it is there: nothing of the board's waits for an answer
/// then.
fn answer_last(gateway: &Node, line: &mut Line) -> Result<(), String> {
    let before = number(&line.report()?, "ignored")?;
    let sent = gateway
        .namespace
        .enter(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"no ping", (Ipv4Addr::from(INNER), 9)));
    sent.map_err(|error| error.to_string())?;
    let arrived = wait::find(PATIENCE, || {
        line.report().ok().filter(|report| number(report, "ignored").is_ok_and(|ignored| ignored > before))
    });
    arrived.map(|_| ()).ok_or_else(|| "a packet that is no ping does not arrive".into())
}

/// The port that the gateway sends to.
fn gateway_sees(gateway: &Node, keys: &KeyPair) -> Result<u16, String> {
    let status = uapi::get(gateway.interface()).map_err(|error| error.to_string())?;
    let endpoint = status.peer(&keys.public).and_then(|peer| peer.endpoint);
    endpoint.map(|endpoint| endpoint.port()).ok_or_else(|| "the gateway knows no endpoint".into())
}

/// Sends what no peer sends, of every type and of lengths around every limit; tells how many there were.
fn throw_junk(gateway: &Node, keys: &KeyPair) -> Result<usize, String> {
    let board = gateway_sees(gateway, keys)?;
    let thrown = gateway.namespace.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let mut thrown = 0;
        for length in [1, 3, 4, 16, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1452] {
            for kind in [0, 1, 2, 3, 4, 5, 0xc0, 0xdb] {
                let mut junk: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
                junk[0] = kind;
                if let Some(reserved) = junk.get_mut(1..4) {
                    reserved.fill(0);
                }
                socket.send_to(&junk, ("127.0.0.1", board))?;
                thrown += 1;
                // The socket of the bridge holds few, and a serial line is slow.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok::<usize, std::io::Error>(thrown)
    });
    thrown.map_err(|error| error.to_string())
}

fn number(report: &BTreeMap<String, usize>, name: &str) -> Result<usize, String> {
    report.get(name).copied().ok_or_else(|| format!("the board does not report {name}"))
}

/// The emulator. Ended when dropped.
struct Board {
    child: Child,
    socket: PathBuf,
}

impl Board {
    fn start(firmware: &Path, namespace: &Namespace, arguments: &[String]) -> Result<Self, String> {
        let directory = cleanup::unique_directory();
        let socket = directory.join("line");
        let lent: String = arguments.iter().map(|argument| format!(",arg={argument}")).collect();
        // In the namespace, so that it ends with it whatever happens to us.
        let mut emulator = namespace.command(EMULATOR.0);
        emulator.args(["-M", MACHINE, "-display", "none", "-monitor", "none", "-kernel"]).arg(firmware);
        emulator.args(["-semihosting-config", &format!("enable=on,target=native{lent}")]);
        emulator.args(["-serial", &format!("unix:{},server=on,wait=on", socket.display())]);
        let child = emulator.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut board = Self { child: child.map_err(|error| error.to_string())?, socket };
        let listens = wait::until(PATIENCE, || board.socket.exists() || board.has_ended());
        if listens && board.socket.exists() { Ok(board) } else { Err("the emulator does not start".into()) }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, which must be the one that was asked for.
    fn ended(&mut self) -> Result<(), String> {
        match wait::find(PATIENCE, || self.child.try_wait().ok().flatten()) {
            Some(status) if status.success() => Ok(()),
            other => Err(format!("the firmware ended with {other:?}")),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(directory) = self.socket.parent() {
            std::fs::remove_dir_all(directory).ok();
        }
    }
}

/// The bridge: its standard input are commands to the board, its standard output is what the board says.
struct Line {
    child: Child,
    commands: ChildStdin,
    said: Receiver<String>,
}

impl Line {
    fn open(bridge: &Path, board: &Board, namespace: &Namespace) -> Result<Self, String> {
        let mut command = namespace.command(bridge);
        command.arg(&board.socket).arg("127.0.0.1:0").process_group(0);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the bridge has no pipes".into());
        };
        let (say, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, commands, said })
    }

    fn command(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.commands, "{command}").map_err(|error| format!("the bridge: {error}"))
    }

    fn next(&self) -> Result<String, String> {
        let line = self.said.recv_timeout(PATIENCE).map_err(|_| "the board says nothing".to_owned())?;
        if line.starts_with("panic") || line.starts_with("settings") { Err(line) } else { Ok(line) }
    }

    fn wait_for(&self, wanted: &str) -> Result<(), String> {
        while self.next()? != wanted {}
        Ok(())
    }

    /// Asks for all figures.
    fn report(&mut self) -> Result<BTreeMap<String, usize>, String> {
        self.command("report")?;
        let mut report = BTreeMap::new();
        loop {
            let line = self.next()?;
            if line == "end" {
                return Ok(report);
            }
            if let Some((name, number)) = line.split_once(' ')
                && let Ok(number) = number.parse()
            {
                report.insert(name.to_owned(), number);
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It may have ended with the emulator.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
