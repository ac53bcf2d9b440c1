//! A second opinion: tshark decrypts a capture, given the keys, and what it found is returned packet by packet.
//!
//! It shares no code with what is tested. It does not look at MAC2 and cookies.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cleanup;
use crate::command::Failure;
use crate::requirements::find_program;

/// The package that holds the program.
pub const PACKAGE: &str = "tshark";

/// What tshark says about one frame of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dissected {
    /// The message type, if it took the frame for WireGuard.
    pub kind: Option<u8>,
    /// Whether the handshake that a response completes came out right; said of responses only.
    pub handshake_ok: Option<bool>,
    /// Data that no key of its session opens.
    pub decryption_error: bool,
    /// The plaintext of data, padding included.
    pub inner: Option<Vec<u8>>,
    /// Data without content.
    pub keepalive: bool,
}

impl Dissected {
    /// Whether everything there is in this frame was decrypted: of an initiation the two payloads, of a response the
    /// verdict, of data the content.
    pub const fn is_open(&self) -> bool {
        match self.kind {
            Some(2) => matches!(self.handshake_ok, Some(true)),
            Some(4) => !self.decryption_error && (self.inner.is_some() || self.keepalive),
            Some(1) => self.inner.is_some(),
            _ => false,
        }
    }
}

/// Runs tshark on a capture with a key log; one entry for each frame, in order.
///
/// # Errors
///
/// When tshark is missing, fails, or prints what is not understood.
pub fn dissect(capture: &Path, key_log: &Path) -> Result<Vec<Dissected>, Failure> {
    let fields = ["wg.type", "wg.handshake_ok", "wg.decryption_error", "wg.keepalive"];
    let mut arguments = vec!["-T", "fields", "-E", "separator=,", "-E", "occurrence=f"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", *field]));
    let mut frames = Vec::new();
    run(capture, key_log, &arguments, |line| {
        let mut columns = line.split(',');
        let mut column = || columns.next().unwrap_or_default();
        let kind = column().parse().ok();
        let handshake_ok = match column() {
            "" => None,
            verdict => Some(verdict == "1" || verdict == "True"),
        };
        let (decryption_error, keepalive) = (!column().is_empty(), !column().is_empty());
        frames.push(Dissected { kind, handshake_ok, decryption_error, inner: None, keepalive });
        Ok(())
    })?;
    let mut dump = Dump::default();
    run(capture, key_log, &["--hexdump", "all", "--hexdump", "noascii"], |line| dump.take(line))?;
    dump.frame_ends();
    if dump.frames.len() != frames.len() {
        let counts = format!("{} frames, and bytes of {}", frames.len(), dump.frames.len());
        return Err(failed("two runs that agree", &counts));
    }
    for (frame, inner) in frames.iter_mut().zip(dump.frames) {
        frame.inner = inner;
    }
    Ok(frames)
}

fn failed(status: &str, output: &str) -> Failure {
    Failure { command: "tshark".into(), status: status.into(), output: output.into() }
}

/// Runs tshark and hands over what it prints, line by line.
fn run(
    capture: &Path,
    key_log: &Path,
    arguments: &[&str],
    mut take: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let program =
        find_program("tshark").ok_or_else(|| failed("not installed", "`apt-get install tshark`"))?;
    let mut command = Command::new(program);
    // Whatever the user has set up stays out of it, and so does resolving names.
    command.args(["-n", "-C", "Default", "-r"]).arg(capture);
    command.arg("-o").arg(format!("wg.keylog_file:{}", key_log.display())).args(arguments);
    // Several that start at once would fail where each is the first to make the user's directory.
    let settings = cleanup::unique_directory();
    command.env("WIRESHARK_CONFIG_DIR", &settings);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let dissected = read(&mut command, &mut take);
    std::fs::remove_dir_all(settings).ok();
    dissected
}

/// Runs a command and hands over what it prints, line by line.
fn read(command: &mut Command, take: &mut impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut child = command.spawn().map_err(|error| failed("cannot be started", &error.to_string()))?;
    let said = complaints(&mut child);
    let mut understood = Ok(());
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| failed("cannot be read", &error.to_string()));
            understood = understood.and_then(|()| take(&line?));
        }
    }
    let status = child.wait().map_err(|error| failed("cannot be awaited", &error.to_string()))?;
    let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
    if status.success() { understood } else { Err(failed(&status.to_string(), &said)) }
}

/// Reads what the program complains about, beside what it prints.
fn complaints(child: &mut Child) -> Option<std::thread::JoinHandle<String>> {
    let mut stderr = child.stderr.take()?;
    Some(std::thread::spawn(move || {
        let mut said = String::new();
        // What cannot be read is not said: it only explains a failure that the status tells.
        stderr.read_to_string(&mut said).ok();
        said
    }))
}

/// Reads a hex dump: for each frame its data sources, a title before each if there are several, a blank line behind.
#[derive(Debug, Default)]
struct Dump {
    frames: Vec<Option<Vec<u8>>>,
    current: Option<Vec<u8>>,
    wanted: bool,
    started: bool,
}

impl Dump {
    fn take(&mut self, line: &str) -> Result<(), Failure> {
        if line.is_empty() {
            self.frame_ends();
            return Ok(());
        }
        self.started = true;
        if line.ends_with("):") {
            // "Decrypted Packet", or "Decrypted Static" and "Decrypted Timestamp", which follow each other.
            self.wanted = line.starts_with("Decrypted ");
            if self.wanted {
                self.current.get_or_insert_with(Vec::new);
            }
            return Ok(());
        }
        if let Some(bytes) = self.current.as_mut().filter(|_| self.wanted) {
            let digits = line.split_whitespace().skip(1);
            for pair in digits {
                let byte = u8::from_str_radix(pair, 16).map_err(|_| failed("not understood", line))?;
                bytes.push(byte);
            }
        }
        Ok(())
    }

    fn frame_ends(&mut self) {
        if core::mem::take(&mut self.started) {
            self.frames.push(self.current.take());
            self.wanted = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Option<Vec<u8>>> {
        let mut dump = Dump::default();
        for line in text.lines() {
            dump.take(line).unwrap();
        }
        dump.frame_ends();
        dump.frames
    }

    #[test]
    fn dump_is_read_by_frame_and_source() {
        let text = "0000  45 00\n0002  01\n\nFrame (3 bytes):\n0000  45 00 01\nDecrypted Packet (2 bytes):\n\
                    0000  ab cd\n\nFrame (1 bytes):\n0000  45\nDecrypted Static (1 bytes):\n0000  01\n\
                    Decrypted Timestamp (1 bytes):\n0000  02\n\n";
        assert_eq!(read(text), [None, Some(vec![0xab, 0xcd]), Some(vec![1, 2])]);
        assert!(Dump { wanted: true, current: Some(vec![]), ..Dump::default() }.take("0000  xy").is_err());
    }

    #[test]
    fn only_what_was_decrypted_is_open() {
        let data = Dissected { kind: Some(4), inner: Some(vec![1]), ..Dissected::default() };
        assert!(data.is_open());
        assert!(!Dissected { decryption_error: true, ..data.clone() }.is_open());
        assert!(!Dissected { inner: None, ..data }.is_open());
        let response = Dissected { kind: Some(2), handshake_ok: Some(true), ..Dissected::default() };
        assert!(response.is_open() && !Dissected { handshake_ok: Some(false), ..response }.is_open());
        assert!(!Dissected::default().is_open());
    }
}
