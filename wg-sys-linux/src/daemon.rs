//! Going to the background the way users of wireguard-go rely on: the parent returns when the work is set up.
//!
//! The program starts itself again instead of forking, so nothing depends on which threads exist, and the hand-shake
//! pipe travels as the new process's standard input, so no descriptor number has to be trusted.
//!
//! ```text
//! parent                              child (same program, arguments and environment)
//! start()  --- spawns, waits ------>  Readiness::take() -> Some(readiness); setsid
//!          <-- 'R' ------------------ readiness.ready()   TUN and UAPI socket exist
//!          <-- 'F' + error text ----- readiness.failed()
//!          <-- end of file ---------- the child ended without a word
//! ```

mod inherited;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::setsid;
use rustix::stdio::{dup2_stdin, stdin};

use crate::Error;

pub use inherited::inherited_fd;

/// Set in the child: its standard input is the pipe to the waiting parent.
const READY_VARIABLE: &str = "WG_READY_ON_STDIN";
/// Set in the child, so that it also looks like a foreground process to those who go by wireguard-go's variable.
const FOREGROUND_VARIABLE: &str = "WG_PROCESS_FOREGROUND";

const READY: u8 = b'R';
const FAILED: u8 = b'F';
/// The longest error text the parent takes from the child.
const MAX_TEXT: u64 = 4096;

/// What becomes of the standard output and error of the background process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Both go to `/dev/null`.
    Discard,
    /// Both stay where they are, for a log that someone asked for.
    Keep,
}

/// Starts this program again in the background and returns when it says that it is ready.
///
/// Call it before descriptors named by the environment are adopted: they are handed on untouched.
///
/// # Errors
///
/// The program could not be started, or it failed before it was ready; the error then carries its own words.
pub fn start(output: Output) -> Result<(), Error> {
    let mut command = Command::new(own_program()?);
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(arguments);
    start_command(&mut command, output)
}

/// Starts `command` and waits for the word of its [`Readiness`].
fn start_command(command: &mut Command, output: Output) -> Result<(), Error> {
    const OPERATION: &str = "start the background process";
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(Error::during("make a pipe to the background process"))?;
    let stdio = || if output == Output::Keep { Stdio::inherit() } else { Stdio::null() };
    let child = command
        .env(READY_VARIABLE, "1")
        .env(FOREGROUND_VARIABLE, "1")
        .stdin(Stdio::from(writer))
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .map_err(Error::during(OPERATION))?;
    // `command` still holds the writing end; without this the end of file would never come.
    command.stdin(Stdio::null());
    await_word(File::from(reader), child)
}

/// Reads the child's word to its end.
fn await_word(mut reader: File, mut child: Child) -> Result<(), Error> {
    const OPERATION: &str = "set up the background process";
    let mut mark = [0];
    match reader.read_exact(&mut mark) {
        Ok(()) if mark == [READY] => Ok(()),
        Ok(()) => {
            let mut text = Vec::new();
            let _ = reader.take(MAX_TEXT).read_to_end(&mut text);
            let _ = child.wait();
            Err(Error::new(OPERATION, io::Error::other(String::from_utf8_lossy(&text).into_owned())))
        }
        Err(_) => {
            let text = match child.wait() {
                Ok(status) => format!("it ended before it was ready ({status})"),
                Err(_) => "it ended before it was ready".to_owned(),
            };
            Err(Error::new(OPERATION, io::Error::other(text)))
        }
    }
}

/// The path of this program, by the kernel's word; `/proc/self/exe` itself if the file has been replaced meanwhile.
fn own_program() -> Result<PathBuf, Error> {
    let path = std::env::current_exe().map_err(Error::during("find the path of this program"))?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}

/// The child's end: tells the waiting parent how the set-up went.
///
/// Dropped without a word, it tells the parent that the process ended.
#[derive(Debug)]
pub struct Readiness {
    writer: File,
}

impl Readiness {
    /// Returns the link to the parent if [`start`] started this process, and makes it a session of its own, with
    /// `/dev/null` as standard input. Call it once, early in `main`.
    ///
    /// # Errors
    ///
    /// The standard input could not be moved.
    pub fn take() -> Result<Option<Self>, Error> {
        if std::env::var_os(READY_VARIABLE).is_none() {
            return Ok(None);
        }
        let writer = Self::adopt_stdin()?;
        // Fails only for a leader of a process group, which is as independent already.
        let _ = setsid();
        Ok(Some(Self { writer }))
    }

    fn adopt_stdin() -> Result<File, Error> {
        let writer: OwnedFd = rustix::io::fcntl_dupfd_cloexec(stdin(), 3)
            .map_err(Error::during("take the pipe to the parent"))?;
        let null = File::open("/dev/null").map_err(Error::during("open /dev/null"))?;
        dup2_stdin(&null).map_err(Error::during("detach from the terminal"))?;
        Ok(File::from(writer))
    }

    /// Lets the parent return: everything it promises exists.
    ///
    /// # Errors
    ///
    /// The parent is gone; the work may go on without it.
    pub fn ready(mut self) -> Result<(), Error> {
        self.writer.write_all(&[READY]).map_err(Error::during("tell the parent"))
    }

    /// Tells whether the parent still waits: a set-up that takes long is to end when it was interrupted.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        let mut pipe = [PollFd::new(&self.writer, PollFlags::empty())];
        // A failure of the call itself says nothing about the parent.
        let _ = poll(&mut pipe, Some(&Timespec::default()));
        !pipe[0].revents().contains(PollFlags::ERR)
    }

    /// Lets the parent fail with this text. The caller then ends the process.
    pub fn failed(mut self, text: &str) {
        let mut word = vec![FAILED];
        word.extend_from_slice(text.as_bytes());
        // Without a parent there is nobody to tell.
        let _ = self.writer.write_all(&word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a shell whose standard input is the pipe, as a child of [`start`] finds it.
    fn start_shell(script: &str) -> Result<(), Error> {
        start_command(Command::new("sh").args(["-c", script]), Output::Discard)
    }

    #[test]
    fn parent_returns_when_the_child_is_ready_not_when_it_ends() {
        // The child lives on until its parent process, this test, is told to go on: it waits for a file to vanish.
        let gate = std::env::temp_dir().join(format!("wg-sys-ready-{}", std::process::id()));
        std::fs::write(&gate, "").unwrap();
        let script = format!("printf R >&0; while [ -e '{}' ]; do sleep 0.01; done", gate.display());
        let result = start_shell(&script);
        std::fs::remove_file(&gate).unwrap();
        assert!(result.is_ok(), "{result:?}");
    }

    #[test]
    fn words_of_a_failing_child_reach_the_parent() {
        let error = start_shell("printf 'Fno TUN here' >&0; exit 1").unwrap_err();
        assert_eq!(error.to_string(), "cannot set up the background process: no TUN here");
    }

    #[test]
    fn silent_end_of_the_child_is_a_failure() {
        let error = start_shell("exit 3").unwrap_err();
        assert!(error.to_string().contains("ended before it was ready (exit status: 3)"), "{error}");
    }

    #[test]
    fn child_is_told_that_it_is_in_the_foreground() {
        let script = r#"[ "$WG_PROCESS_FOREGROUND$WG_READY_ON_STDIN" = 11 ] && printf R >&0"#;
        assert!(start_shell(script).is_ok());
    }

    #[test]
    fn parent_that_has_gone_does_not_wait() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let readiness = Readiness { writer: File::from(writer) };
        assert!(readiness.is_awaited());
        drop(reader);
        assert!(!readiness.is_awaited());
    }

    #[test]
    fn process_that_nobody_waits_for_has_no_readiness() {
        assert!(Readiness::take().unwrap().is_none());
    }
}
