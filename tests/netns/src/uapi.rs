//! The configuration socket, spoken to directly: for the demo, which needs no `wg`, and to see what `wg` hides.

use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::key::Key;
use crate::status::{PeerStatus, Status};

/// Where the program of `interface` listens.
pub fn socket_path(interface: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{interface}.sock"))
}

/// Opens a connection that gives up after ten seconds of silence.
///
/// # Errors
///
/// When nobody listens.
pub fn connect(interface: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket_path(interface))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Sends `request`, which holds its closing blank line, and returns the lines of the reply without the blank one.
///
/// # Errors
///
/// When the connection fails, or ends before the blank line.
pub fn request(interface: &str, request: &str) -> io::Result<String> {
    let mut stream = connect(interface)?;
    stream.write_all(request.as_bytes())?;
    read_reply(&mut stream)
}

/// Reads one reply, up to its blank line.
///
/// # Errors
///
/// When the connection fails, or ends before the blank line.
pub fn read_reply(stream: &mut UnixStream) -> io::Result<String> {
    let mut reply = Vec::new();
    let mut buffer = [0; 65536];
    while !reply.ends_with(b"\n\n") {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&buffer[..length]);
    }
    reply.pop();
    String::from_utf8(reply).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Applies the lines `body` (each ended) and returns the number behind `errno=`, 0 for success.
///
/// # Errors
///
/// When the connection fails or the reply has no `errno`.
pub fn set(interface: &str, body: &str) -> io::Result<i64> {
    let reply = request(interface, &format!("set=1\n{body}\n"))?;
    errno(&reply).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, reply))
}

/// Asks for the whole state.
///
/// # Errors
///
/// When the connection fails, the reply cannot be read, or it carries an error.
pub fn get(interface: &str) -> io::Result<Status> {
    let reply = request(interface, "get=1\n\n")?;
    parse_get(&reply).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, reply))
}

fn errno(reply: &str) -> Option<i64> {
    reply.lines().last()?.strip_prefix("errno=")?.parse().ok()
}

fn parse_get(reply: &str) -> Option<Status> {
    let mut status = Status::default();
    if errno(reply)? != 0 {
        return None;
    }
    for line in reply.lines() {
        let (key, value) = line.split_once('=')?;
        if key == "public_key" {
            status.peers.push(PeerStatus::new(Key::parse_hex(value)?));
            continue;
        }
        match (key, status.peers.last_mut()) {
            ("private_key", _) => status.private_key = Some(Key::parse_hex(value)?),
            ("listen_port", _) => status.listen_port = value.parse().ok()?,
            ("fwmark", _) => status.fwmark = value.parse().ok()?,
            ("preshared_key", Some(peer)) => {
                let key = Key::parse_hex(value)?;
                peer.preshared_key = (key != Key::from_bytes([0; 32])).then_some(key);
            }
            ("endpoint", Some(peer)) => peer.endpoint = Some(value.parse().ok()?),
            ("allowed_ip", Some(peer)) => peer.allowed_ips.push(value.to_owned()),
            ("last_handshake_time_sec", Some(peer)) => peer.latest_handshake = value.parse().ok()?,
            ("rx_bytes", Some(peer)) => peer.rx_bytes = value.parse().ok()?,
            ("tx_bytes", Some(peer)) => peer.tx_bytes = value.parse().ok()?,
            ("persistent_keepalive_interval", Some(peer)) => {
                peer.persistent_keepalive = value.parse().ok()?
            }
            _ => {}
        }
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_read_line_by_line() {
        let (private, peer) = (Key::random(), Key::random());
        let reply = format!(
            "private_key={}\nlisten_port=7\nfwmark=3\npublic_key={}\npreshared_key={}\nprotocol_version=1\n\
             endpoint=1.2.3.4:5\nlast_handshake_time_sec=9\nlast_handshake_time_nsec=1\ntx_bytes=2\nrx_bytes=1\n\
             persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\nerrno=0\n",
            private.hex(),
            peer.hex(),
            "0".repeat(64),
        );
        let status = parse_get(&reply).unwrap();
        assert_eq!((status.private_key, status.listen_port, status.fwmark), (Some(private), 7, 3));
        let expected = PeerStatus {
            endpoint: Some("1.2.3.4:5".parse().unwrap()),
            allowed_ips: vec!["10.0.0.0/8".into(), "fd00::/64".into()],
            latest_handshake: 9,
            rx_bytes: 1,
            tx_bytes: 2,
            persistent_keepalive: 25,
            ..PeerStatus::new(peer)
        };
        assert_eq!(status.peers, [expected]);
    }

    #[test]
    fn error_in_the_reply_is_not_a_status() {
        assert_eq!(parse_get("errno=1\n"), None);
        assert_eq!(errno("errno=-98\n"), Some(-98));
        assert_eq!(errno("listen_port=1\n"), None);
    }
}
