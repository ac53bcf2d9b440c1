//! What `wg-gateway ctl` has to say to a gateway that runs: a request to its configuration socket, as `wg` makes them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use wg_datapath::{DropReason, Exposure};
use wg_sched::StrategyKind;
use wg_sys_linux::UapiSocket;
use zeroize::Zeroizing;

/// Bytes that are read at once, and the longest line of an answer.
const READ: usize = 4096;
const LONGEST: usize = 4096;

/// Has the gateway of an interface spread its work in another way.
///
/// # Errors
///
/// There is none, or its answer: `EINVAL` where it would have to put peers together, or apart.
pub fn set_strategy(interface: &str, kind: StrategyKind) -> io::Result<()> {
    let mut stream = connect(interface)?;
    write!(stream, "set=1\nstrategy={kind}\n\n")?;
    answer(BufReader::new(stream)).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::new(
            error.kind(),
            format!(
                "{kind} is refused: from or to a strategy with a lock there is no change while it runs, start it with --strategy {kind}"
            ),
        ),
        _ => error,
    })
}

/// Asks the gateway of an interface how it spreads its work and what it dropped, and says so in a few lines.
///
/// # Errors
///
/// There is none, or another program that does not tell.
pub fn shown(interface: &str) -> io::Result<String> {
    let mut stream = connect(interface)?;
    write!(stream, "get=1\n\n")?;
    show(stream)
}

/// Connects to the configuration socket of an interface.
fn connect(interface: &str) -> io::Result<UnixStream> {
    let path = UapiSocket::path_of(interface);
    UnixStream::connect(&path).map_err(|error| {
        let path = path.display();
        let text = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("no gateway runs there, as far as {path} tells: {error}")
            }
            _ => format!("{path}: {error}"),
        };
        io::Error::new(error.kind(), text)
    })
}

/// Reads of the answer to a get what is of the strategy, and the drops. The rest, keys among it, is passed over and wiped.
fn show(reader: impl Read) -> io::Result<String> {
    let (mut text, mut dropped) = (String::new(), String::new());
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next()? {
        match line.split_once('=') {
            Some(("strategy", name)) => text += &format!("strategy {name}\n"),
            Some(("strategy_in_effect", name)) => text += &format!("in effect {name}\n"),
            Some(("lane_split", lane)) => text += &format!("other lanes receive for lane {lane}\n"),
            Some(("dropped", count)) => dropped += &drop_line(count)?,
            Some(("errno", "0")) if text.is_empty() => {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "it does not tell, as wg-gateway does: another program has this interface",
                ));
            }
            Some(("errno", "0")) if dropped.is_empty() => return Ok(text + "nothing was dropped\n"),
            Some(("errno", "0")) => return Ok(text + &dropped),
            Some(("errno", _)) => return Err(invalid(line)),
            _ => {}
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Says how many were dropped of one reason, and whether others may know. Of a reason that is not known here nobody should.
fn drop_line(count: &str) -> io::Result<String> {
    let parts = count.split_once(' ').and_then(|(name, count)| Some((name, count.parse::<u64>().ok()?)));
    let (name, count) = parts.ok_or_else(|| invalid("a count of what was dropped that is none"))?;
    let known = DropReason::ALL.iter().find(|reason| reason.name() == name);
    let is_public = known.is_some_and(|reason| reason.exposure() == Exposure::Public);
    let note = if is_public { "" } else { " (not to be published)" };
    Ok(format!("dropped {count} {name}{note}\n"))
}

/// The lines of an answer that has keys in it: no more than one of them is kept, and all of it is wiped.
struct Lines<R> {
    reader: R,
    line: Zeroizing<Vec<u8>>,
    read: Zeroizing<Box<[u8]>>,
    /// What of that was not looked at yet.
    left: core::ops::Range<usize>,
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Self {
        let read = Zeroizing::new(vec![0; READ].into_boxed_slice());
        Self { reader, line: Zeroizing::new(Vec::with_capacity(LONGEST)), read, left: 0..0 }
    }

    /// The next line without its end; none behind the last.
    fn next(&mut self) -> io::Result<Option<&str>> {
        self.line.clear();
        loop {
            for byte in self.read.get(self.left.clone()).unwrap_or_default() {
                self.left.start += 1;
                if *byte == b'\n' {
                    return core::str::from_utf8(&self.line).map(Some).map_err(|_| invalid("no text"));
                }
                // It would have to be moved.
                if self.line.len() == LONGEST {
                    return Err(invalid("a line that is too long"));
                }
                self.line.push(*byte);
            }
            match self.reader.read(&mut self.read) {
                Ok(0) => return Ok(None),
                Ok(len) => self.left = 0..len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.left = 0..0,
                Err(error) => return Err(error),
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads the answer to a set.
fn answer(reader: impl BufRead) -> io::Result<()> {
    for line in reader.lines() {
        let line = line?;
        if let Some(errno) = line.strip_prefix("errno=") {
            return match errno.parse::<i32>() {
                Ok(0) => Ok(()),
                // As they are written, errors are negative.
                Ok(errno) => Err(io::Error::from_raw_os_error(errno.saturating_abs())),
                Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, line)),
            };
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_shown_and_which_of_them_answer_guesses() {
        let shown = |lines: &str| {
            show(
                format!("strategy=adaptive\nstrategy_in_effect=inline\n{lines}public_key=00\nerrno=0\n\n")
                    .as_bytes(),
            )
        };
        assert_eq!(shown("").unwrap(), "strategy adaptive\nin effect inline\nnothing was dropped\n");
        let lines = "dropped=no_buffer 7\ndropped=replay 18446744073709551615\ndropped=of_tomorrow 1\n";
        assert_eq!(
            shown(lines).unwrap(),
            "strategy adaptive\nin effect inline\ndropped 7 no_buffer\n\
             dropped 18446744073709551615 replay (not to be published)\ndropped 1 of_tomorrow (not to be published)\n"
        );
        for lines in ["dropped=replay\n", "dropped=replay x\n", "dropped=7\n"] {
            assert_eq!(shown(lines).unwrap_err().kind(), io::ErrorKind::InvalidData, "{lines}");
        }
    }

    #[test]
    fn what_is_of_the_strategy_is_shown_and_nothing_else() {
        let reply = "private_key=00\nstrategy=adaptive\nstrategy_in_effect=counter-split\nlane_split=1\n\
                     public_key=00\nerrno=0\n\n";
        assert_eq!(
            show(reply.as_bytes()).unwrap(),
            "strategy adaptive\nin effect counter-split\nother lanes receive for lane 1\nnothing was dropped\n"
        );
        for (reply, kind) in [
            ("listen_port=7\nerrno=0\n\n", io::ErrorKind::NotFound),
            ("strategy=inline\nerrno=5\n\n", io::ErrorKind::InvalidData),
            ("strategy=inline\n", io::ErrorKind::UnexpectedEof),
            ("strategy=inline\nerrno=0", io::ErrorKind::UnexpectedEof),
            (&format!("{:0>LONGEST$}0\nerrno=0\n\n", 1), io::ErrorKind::InvalidData),
        ] {
            assert_eq!(show(reply.as_bytes()).unwrap_err().kind(), kind, "{reply}");
        }
    }

    #[test]
    fn answers_are_what_they_say() {
        assert!(answer(&b"errno=0\n\n"[..]).is_ok());
        assert_eq!(answer(&b"errno=-22\n\n"[..]).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(answer(&b"\n"[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(answer(&b"errno=x\n"[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
