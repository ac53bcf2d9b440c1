//! The harness itself: what a dead run left behind goes away, and nothing else does.

use std::process::{Child, Command, Stdio};

use wg_netns::requirements::can_run;
use wg_netns::{Namespace, cleanup, command};

/// A namespace with a program in it, made by a process that was killed, is removed; that of a live process is not.
#[test]
fn leftovers_of_the_dead_are_removed() {
    if !can_run() {
        return;
    }
    let mut dead = Command::new("true").spawn().expect("a process");
    dead.wait().expect("its end");
    let mut alive = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("a process");
    let own = Namespace::new();
    let (left, kept) = (Leftover::of(&dead), Leftover::of(&alive));
    cleanup::sweep_dead();
    let listed = command::run(Command::new("ip").args(["netns", "list"]));
    let is_listed = |name: &str| listed.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(!is_listed(&left.name), "{listed}");
    assert!(is_listed(&kept.name) && is_listed(own.name()), "{listed}");
    let (mut left, mut kept) = (left.inhabitant, kept.inhabitant);
    assert!(left.wait().expect("its end").code().is_none(), "it was not killed");
    assert!(kept.try_wait().expect("its state").is_none(), "it was killed");
    // Its maker dies as well, and with that it goes.
    alive.kill().expect("a live process");
    alive.wait().expect("its end");
    cleanup::sweep_dead();
    assert!(kept.wait().expect("its end").code().is_none());
}

/// A panic in a test removes what the test had made.
#[test]
fn panic_removes_everything() {
    if !can_run() {
        return;
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let namespace = Namespace::new();
        sender.send(namespace.name().to_owned()).expect("a receiver");
        panic!("as intended");
    });
    assert!(panicked.join().is_err());
    let name = receiver.recv().expect("a name");
    let listed = command::run(Command::new("ip").args(["netns", "list"]));
    assert!(listed.lines().all(|line| line.split(' ').next() != Some(&name)), "{listed}");
}

struct Leftover {
    name: String,
    inhabitant: Child,
}

impl Leftover {
    /// What `maker` might have left: the names that it would have used.
    fn of(maker: &Child) -> Self {
        let name = format!("wgt{}x1", maker.id());
        command::run(Command::new("ip").args(["netns", "add", &name]));
        let mut inhabitant = Command::new("ip");
        inhabitant.args(["netns", "exec", &name, "sleep", "60"]).stdin(Stdio::null());
        let inhabitant = inhabitant.spawn().expect("a process");
        let lives_there = || {
            let pids = command::run(Command::new("ip").args(["netns", "pids", &name]));
            pids.lines().any(|pid| pid == inhabitant.id().to_string())
        };
        assert!(wg_netns::wait::until(wg_netns::tunnel::PATIENCE, lives_there));
        Self { name, inhabitant }
    }
}
