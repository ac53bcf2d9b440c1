//! What `wg-gateway ctl` has to say to a gateway that runs: a request to its configuration socket, as `wg` makes them.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use wg_sched::StrategyKind;
use wg_sys_linux::UapiSocket;

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
    fn answers_are_what_they_say() {
        assert!(answer(&b"errno=0\n\n"[..]).is_ok());
        assert_eq!(answer(&b"errno=-22\n\n"[..]).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(answer(&b"\n"[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(answer(&b"errno=x\n"[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
