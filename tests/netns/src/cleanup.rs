//! Leaves nothing behind.
//!
//! Everything this crate makes outside its own process carries a name `wgt<pid>x<n>`: namespaces, interfaces, UAPI
//! sockets, control groups, directories. The guards remove their own; a signal removes all that this process made, then ends it; and
//! the first name taken in a process removes what dead processes left (a guard does not survive `kill -9`).

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::command::try_run;
use crate::{quota, wait};

const PREFIX: &str = "wgt";
const NAMESPACES: &str = "/run/netns";
const SOCKETS: &str = "/run/wireguard";

static START: Once = Once::new();
/// Written by the signal thread before it sweeps, read before anything is made: nothing new appears behind the sweep.
static ENDING: AtomicBool = AtomicBool::new(false);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A name that no other live process uses, at most 15 bytes, for a namespace or an interface.
pub fn unique_name() -> String {
    START.call_once(|| {
        sweep_dead();
        watch_signals();
    });
    stop_if_ending();
    format!("{}{}", prefix(std::process::id()), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Does not return once a signal ends this process, so that what fails because of it is not told as a failure.
pub fn stop_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// A fresh directory that ends with this process.
///
/// # Panics
///
/// When the directory for temporary files cannot be written.
#[track_caller]
pub fn unique_directory() -> PathBuf {
    let path = std::env::temp_dir().join(unique_name());
    fs::create_dir(&path).expect("a directory for temporary files");
    path
}

/// Removes what this process made.
pub fn sweep_own() {
    sweep(|pid| pid == std::process::id());
}

/// Removes what processes made that no longer live.
pub fn sweep_dead() {
    sweep(|pid| match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) => test_kill_process(pid) == Err(rustix::io::Errno::SRCH),
        None => true,
    });
}

/// Removes one namespace and every process in it.
pub(crate) fn remove_namespace(name: &str) {
    kill_inhabitants(name);
    let removed = try_run(Command::new("ip").args(["netns", "del", name]));
    // A sweep may have been quicker.
    if let Err(failure) = removed
        && Path::new(NAMESPACES).join(name).exists()
    {
        eprintln!("left behind: {failure}");
    }
}

/// The processes that live in the namespace `name`.
pub(crate) fn inhabitants(name: &str) -> Vec<Pid> {
    let Ok(namespace) = rustix::fs::stat(Path::new(NAMESPACES).join(name)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let lives_here = rustix::fs::stat(entry.path().join("ns/net"))
            .is_ok_and(|other| (other.st_dev, other.st_ino) == (namespace.st_dev, namespace.st_ino));
        if lives_here && !is_zombie(pid) {
            found.push(pid);
        }
    }
    found
}

/// Whether `pid` has ended and only waits to be reaped.
pub(crate) fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .ok()
        .and_then(|stat| stat.rsplit(')').next().map(|rest| rest.trim_start().starts_with('Z')))
        .unwrap_or(false)
}

fn kill_inhabitants(namespace: &str) {
    wait::until(Duration::from_secs(5), || {
        let alive = inhabitants(namespace);
        for pid in &alive {
            // It may have ended meanwhile, which is what we want.
            kill_process(*pid, Signal::KILL).ok();
        }
        alive.is_empty()
    });
}

fn sweep(chosen: impl Fn(u32) -> bool) {
    for name in names_in(Path::new(NAMESPACES), &chosen) {
        remove_namespace(&name);
    }
    for name in names_in(Path::new(SOCKETS), &chosen) {
        fs::remove_file(Path::new(SOCKETS).join(name)).ok();
    }
    quota::sweep(|name| owner(name).is_some_and(&chosen));
    for name in names_in(&std::env::temp_dir(), &chosen) {
        fs::remove_dir_all(std::env::temp_dir().join(name)).ok();
    }
}

fn names_in(directory: &Path, chosen: &impl Fn(u32) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && owner(&name).is_some_and(chosen)
        {
            names.push(name);
        }
    }
    names
}

fn prefix(pid: u32) -> String {
    format!("{PREFIX}{pid}x")
}

/// The process that made `name`: the number between the prefix and the `x`.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('x')?.0.parse().ok()
}

fn watch_signals() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            ENDING.store(true, Ordering::SeqCst);
            sweep_own();
            // Once more for what another thread was just making.
            std::thread::sleep(Duration::from_millis(200));
            sweep_own();
            eprintln!("interrupted; everything that was made is removed");
            signal_hook::low_level::emulate_default_handler(signal).ok();
            std::process::exit(1);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_read_back_from_a_unique_name() {
        assert_eq!(owner(&unique_name()), Some(std::process::id()));
        assert_eq!(owner(&format!("{}.sock", unique_name())), Some(std::process::id()));
    }

    #[test]
    fn other_names_have_no_owner() {
        assert_eq!(owner("wg0"), None);
        assert_eq!(owner("wgtx1"), None);
        assert_eq!(owner("wgt12"), None);
        assert_eq!(owner("wgt-1x1"), None);
    }

    #[test]
    fn unique_names_fit_an_interface_and_differ() {
        let (one, other) = (unique_name(), unique_name());
        assert_ne!(one, other);
        assert!(one.len() <= 15 && prefix(4_194_304).len() + 3 <= 15);
    }
}
