//! Signals, in a process of their own: they would interrupt the system calls of other tests.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Signal, getpid, kill_process};
use wg_sys_linux::Signals;

#[test]
fn both_signals_are_seen_and_do_not_kill() {
    // U4
    let mut signals = Signals::catch_termination().unwrap();
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    for signal in [Signal::INT, Signal::TERM] {
        assert!(!signals.received());
        kill_process(getpid(), signal).unwrap();
        // Another thread may take the signal, a little later.
        let wait = || poll(&mut [PollFd::new(&signals, PollFlags::IN)], Some(&patience));
        assert_eq!(retry_on_intr(wait), Ok(1));
        assert!(signals.received());
        assert!(!signals.received());
    }
}
