//! R4: descriptors run out, memory does, and the interface is deleted, all under traffic. A gateway goes on, or it ends and
//! leaves nothing behind; it never turns in circles.
//!
//! What the kernel refuses a packet with is refused inside a process, by the tests of `wg-sys-linux` (`fault`), which are run
//! from here, too.

use core::time::Duration;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use wg_netns::node::PORT;
use wg_netns::udp::Flow;
use wg_netns::{Family, Namespace, Node, Pair, Program, Tunnel, cleanup, process, uapi, wait};

use super::Choices;
use super::figures::{add, sample};
use crate::cargo::{self, command};
use crate::soak::progress::Counts;

const LIMIT: Duration = Duration::from_secs(8);
/// How long a gateway in want is watched, and what of it may be spent by one that moves a few packets.
const WATCH: Duration = Duration::from_secs(1);
const SPENT: Duration = Duration::from_millis(400);
/// How often the kernel refuses each thing, in a trial.
const REFUSALS: &str = "1";

/// One shortage of each kind.
pub(super) fn trial(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut choices = Choices(seed);
    few_files_at_start(&mut choices, counts)?;
    no_file_left(counts)?;
    interface_deleted()?;
    no_memory_left(&mut choices, counts)?;
    let mut refusals = command(&["test", "--quiet", "--release", "--package", "wg-sys-linux", "--lib"]);
    cargo::run(refusals.args(["fault::"]).env("WG_FAULT_ROUNDS", REFUSALS))?;
    add(counts, "shortages of each kind", 1);
    Ok(())
}

/// Starts a gateway that may open so many files only.
fn few_files_at_start(choices: &mut Choices, counts: &mut Counts) -> Result<(), String> {
    let files = 3 + choices.below(30);
    let (namespace, interface) = (Namespace::new(), cleanup::unique_name());
    let mut command = namespace.command("prlimit");
    command.arg(format!("--nofile={files}")).arg(Program::Gateway.path()).args(["-f", &interface]);
    let mut tunnel = Tunnel::spawn(Program::Gateway, &interface, command);
    if tunnel.comes_up(&namespace) {
        add(counts, "starts with few files, up", 1);
        return Ok(());
    }
    let Some(status) = tunnel.wait_for_end() else {
        return Err(format!("with {files} files it neither comes up nor ends\n{}", last_words(&tunnel)));
    };
    add(counts, "starts with few files, refused", 1);
    if status.code() != Some(1) {
        return Err(format!("with {files} files: {status}\n{}", last_words(&tunnel)));
    }
    nothing_left(&namespace, &tunnel)
}

/// Takes all descriptors that are not in use from a running gateway, and asks it things that need one.
fn no_file_left(counts: &mut Counts) -> Result<(), String> {
    let (pair, flow) = busy_pair()?;
    let pid = pair.a.tunnel.pid();
    let open = process::open_files(pid).ok_or("the gateway has ended")? as u64;
    let before = limit(pid, Resource::Nofile, open)?;
    let clients: Vec<_> = (0..8).filter_map(|_| UnixStream::connect(pair.a.tunnel.socket()).ok()).collect();
    calm(&pair.a, &flow, counts)?;
    drop(clients);
    // Its sockets are closed with the interface down, and cannot all be had again.
    take_link(&pair.a, "down");
    if !wait::until(LIMIT, || process::open_files(pid).is_some_and(|now| (now as u64) < open)) {
        return Err("the sockets stay open".into());
    }
    limit(pid, Resource::Nofile, process::open_files(pid).unwrap_or(0) as u64)?;
    take_link(&pair.a, "up");
    calm_alone(&pair.a)?;
    restore(pid, Resource::Nofile, before)?;
    if !wait::until(LIMIT, || uapi::set(pair.a.interface(), &format!("listen_port={PORT}\n")).ok() == Some(0))
    {
        return Err("no answer after the shortage".into());
    }
    let received = flow.received();
    // The session ended with the interface; the side that lost it speaks first.
    let is_back = pair.a.reaches_within(LIMIT, &pair.b, Family::V4);
    if !is_back || !wait::until(LIMIT, || flow.received() > received) {
        return Err(format!("no traffic after the shortage\n{}", last_words(&pair.a.tunnel)));
    }
    let account = flow.finish();
    if account.corrupted + account.duplicated > 0 { Err(format!("{account:?}")) } else { Ok(()) }
}

/// Deletes the interface of a gateway.
fn interface_deleted() -> Result<(), String> {
    let (mut pair, flow) = busy_pair()?;
    pair.a.namespace.ip(&format!("link del {}", pair.a.interface()));
    let status = pair.a.tunnel.wait_for_end();
    flow.finish();
    if !status.is_some_and(|status| status.success()) {
        return Err(format!("deleted: {status:?}\n{}", last_words(&pair.a.tunnel)));
    }
    nothing_left(&pair.a.namespace, &pair.a.tunnel)
}

/// Leaves a running gateway next to no memory, and has it want more.
fn no_memory_left(choices: &mut Choices, counts: &mut Counts) -> Result<(), String> {
    let (mut pair, flow) = busy_pair()?;
    let pid = pair.a.tunnel.pid();
    let used = process::virtual_kib(pid).ok_or("the gateway has ended")? * 1024;
    let before = limit(pid, Resource::As, used + choices.below(1 << 20))?;
    let mut body = String::new();
    for _ in 0..400 {
        let key = wg_netns::key::Key::random().hex();
        body.push_str(&format!("public_key={key}\nallowed_ip=10.9.{}.0/24\n", choices.below(200)));
    }
    // Who has no memory left may end instead of an answer.
    let is_answered = uapi::set(pair.a.interface(), &body).is_ok();
    if is_answered || pair.a.tunnel.wait_for_end().is_none() {
        add(counts, "shortages of memory, went on", 1);
        restore(pid, Resource::As, before)?;
        let received = flow.received();
        if !wait::until(LIMIT, || flow.received() > received) {
            return Err(format!("no traffic after the shortage\n{}", last_words(&pair.a.tunnel)));
        }
        return Ok(());
    }
    add(counts, "shortages of memory, ended", 1);
    // As after `kill -9`: the socket stays, the next start takes it over.
    if wait::until(LIMIT, || !pair.a.namespace.has_interface(pair.a.interface())) {
        Ok(())
    } else {
        Err("the interface outlives its program".into())
    }
}

/// Two gateways, and a stream from the second to the first.
fn busy_pair() -> Result<(Pair, Flow), String> {
    let pair = Pair::new([Program::Gateway; 2]);
    pair.acquaint_directly(Family::V4);
    let to = (pair.a.inner(Family::V4), 9000).into();
    let flow = Flow::start(&pair.b.namespace, &pair.a.namespace, to, 200, 300);
    if wait::until(LIMIT, || flow.received() > 20) { Ok((pair, flow)) } else { Err("no traffic".into()) }
}

/// Watches a gateway in want: its traffic goes on, and it does not turn in circles.
fn calm(node: &Node, flow: &Flow, counts: &mut Counts) -> Result<(), String> {
    let before = flow.received();
    let spent = calm_alone(node)?;
    sample(counts, "ms of processor in a second of want", u64::try_from(spent.as_millis()).unwrap_or(0));
    if flow.received() > before { Ok(()) } else { Err("no traffic in want".into()) }
}

fn calm_alone(node: &Node) -> Result<Duration, String> {
    let time = || process::cpu_time(node.tunnel.pid()).ok_or("the gateway has ended");
    let before = time()?;
    std::thread::sleep(WATCH);
    let spent = time()?.saturating_sub(before);
    if spent > SPENT {
        Err(format!("it spends {spent:?} of {WATCH:?}\n{}", last_words(&node.tunnel)))
    } else {
        Ok(spent)
    }
}

fn take_link(node: &Node, how: &str) {
    node.namespace.ip(&format!("link set {} {how}", node.interface()));
}

fn nothing_left(namespace: &Namespace, tunnel: &Tunnel) -> Result<(), String> {
    if namespace.has_interface(tunnel.interface()) || tunnel.socket().exists() {
        return Err(format!("interface or socket are left\n{}", last_words(tunnel)));
    }
    Ok(())
}

/// The end of what a program said.
fn last_words(tunnel: &Tunnel) -> String {
    let log = tunnel.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Limits a resource of a process, and returns what the limit was.
fn limit(pid: u32, resource: Resource, most: u64) -> Result<Rlimit, String> {
    // The hard one stays, as it was inherited: not everybody may raise it again.
    set(pid, resource, Rlimit { current: Some(most), ..getrlimit(resource) })
}

fn restore(pid: u32, resource: Resource, limit: Rlimit) -> Result<(), String> {
    set(pid, resource, limit).map(drop)
}

fn set(pid: u32, resource: Resource, limit: Rlimit) -> Result<Rlimit, String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    prlimit(pid, resource, limit).map_err(|error| format!("the limit of {resource:?}: {error}"))
}
