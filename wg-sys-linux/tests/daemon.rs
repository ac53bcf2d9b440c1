//! The way to the background, with this very program: one test, which meets itself again in each stage.
//!
//! Stage 1, started by the test with a descriptor to inherit, goes to the background as a gateway does. Stage 2, in the
//! background, checks what it finds, writes to the descriptor and lets stage 1 return.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, exit};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{getpid, getsid};
use wg_sys_linux::daemon::{Output, Readiness, inherited_fd, start};

const STAGE: &str = "WG_SYS_LINUX_TEST_STAGE";
const INHERITED: &str = "WG_SYS_LINUX_TEST_FD";

#[test]
fn background_process_is_set_up_when_its_parent_returns() {
    if let Some(readiness) = Readiness::take().unwrap() {
        return in_background(readiness);
    }
    match std::env::var(STAGE).as_deref() {
        Ok(mode) => match start(Output::Discard) {
            Ok(()) => exit(0),
            Err(error) => {
                eprintln!("{error}");
                exit(if mode == "fail" { 3 } else { 4 });
            }
        },
        Err(_) => {
            background_succeeds();
            background_fails();
        }
    }
}

/// Runs stage 1 with one end of a pipe to inherit, and returns its exit code, its words and what came by the pipe.
fn run(mode: &str) -> (Option<i32>, String, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    fcntl_setfd(&writer, FdFlags::empty()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--nocapture", "background_process"])
        .env(STAGE, mode)
        .env(INHERITED, writer.as_raw_fd().to_string())
        .output()
        .unwrap();
    drop(writer);
    let mut words = String::new();
    reader.read_to_string(&mut words).unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), words)
}

fn background_succeeds() {
    let (code, errors, words) = run("succeed");
    assert_eq!((code, words.as_str()), (Some(0), "all is well"), "{errors}");
}

fn background_fails() {
    let (code, errors, words) = run("fail");
    assert_eq!((code, words.as_str()), (Some(3), ""));
    assert!(errors.contains("cannot set up the background process: no TUN today"), "{errors}");
}

/// Stage 2.
fn in_background(readiness: Readiness) {
    if std::env::var(STAGE).as_deref() == Ok("fail") {
        readiness.failed("no TUN today");
        exit(1);
    }
    match check_surroundings() {
        Ok(mut inherited) => {
            readiness.ready().unwrap();
            inherited.write_all(b"all is well").unwrap();
            exit(0);
        }
        Err(text) => {
            readiness.failed(text);
            exit(1);
        }
    }
}

fn check_surroundings() -> Result<File, &'static str> {
    if getsid(None) != Ok(getpid()) {
        return Err("it is in its parent's session");
    }
    if std::env::var("WG_PROCESS_FOREGROUND").as_deref() != Ok("1") {
        return Err("it is not told that it is in the foreground");
    }
    if !std::env::args().any(|argument| argument == "background_process") {
        return Err("its arguments are lost");
    }
    for number in 0..3 {
        if std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|path| path != *"/dev/null") {
            return Err("a standard stream is still attached");
        }
    }
    match inherited_fd(INHERITED) {
        Ok(Some(fd)) if inherited_fd(INHERITED).is_err() => Ok(File::from(fd)),
        Ok(Some(_)) => Err("a descriptor can be adopted twice"),
        _ => Err("the inherited descriptor is lost"),
    }
}
