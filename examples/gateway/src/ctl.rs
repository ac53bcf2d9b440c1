//! What `wg-gateway ctl` has to say to a gateway that runs: a request to its configuration socket, as `wg` makes them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

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
    let mut stream = UnixStream::connect(UapiSocket::path_of(interface))?;
    write!(stream, "set=1\nstrategy={kind}\n\n")?;
    answer(BufReader::new(stream)).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::new(
            error.kind(),
            format!(
                "{kind} is refused: if threads have one home or each its own is chosen at the start, by --strategy"
            ),
        ),
        _ => error,
    })
}

/// Asks the gateway of an interface how it spreads its work, and says so in a few lines.
///
/// # Errors
///
/// There is none, or it has one lane and nothing to spread.
pub fn shown(interface: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(UapiSocket::path_of(interface))?;
    write!(stream, "get=1\n\n")?;
    show(stream)
}

/// Reads of the answer to a get what is of the strategy. The rest, keys among it, is passed over and wiped.
fn show(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next()? {
        match line.split_once('=') {
            Some(("strategy", name)) => text = format!("strategy {name}\n"),
            Some(("strategy_in_effect", name)) => text += &format!("in effect {name}\n"),
            Some(("lane_split", lane)) => text += &format!("other lanes receive for lane {lane}\n"),
            Some(("errno", "0")) if text.is_empty() => {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "there is one lane, and nothing to spread",
                ));
            }
            Some(("errno", "0")) => return Ok(text),
            Some(("errno", _)) => return Err(invalid(line)),
            _ => {}
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
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
    fn what_is_of_the_strategy_is_shown_and_nothing_else() {
        let reply = "private_key=00\nstrategy=adaptive\nstrategy_in_effect=counter-split\nlane_split=1\n\
                     public_key=00\nerrno=0\n\n";
        assert_eq!(
            show(reply.as_bytes()).unwrap(),
            "strategy adaptive\nin effect counter-split\nother lanes receive for lane 1\n"
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
