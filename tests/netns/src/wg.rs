//! The ordinary `wg` program.

use std::process::Command;

use crate::command::{Failure, try_run_with_input};
use crate::key::Key;
use crate::status::{PeerStatus, Status};

/// Runs `wg` with `arguments`, separated by spaces, and `input` on its standard input.
///
/// Key files may be given as `/dev/stdin`.
///
/// # Errors
///
/// A [`Failure`] when `wg` fails.
pub fn try_wg(arguments: &str, input: &str) -> Result<String, Failure> {
    // A program that does not answer must fail its test, not stop it.
    let mut command = Command::new("timeout");
    command.args(["60", "wg"]).args(arguments.split_whitespace());
    try_run_with_input(&mut command, input.as_bytes())
}

/// Runs `wg` with `arguments`, separated by spaces, and `input` on its standard input.
///
/// # Panics
///
/// When `wg` fails.
#[track_caller]
pub fn wg(arguments: &str, input: &str) -> String {
    match try_wg(arguments, input) {
        Ok(stdout) => stdout,
        Err(failure) => panic!("{failure}"),
    }
}

/// What `wg show INTERFACE dump` says.
///
/// # Panics
///
/// When `wg` fails or prints something else than its manual says.
#[track_caller]
pub fn show(interface: &str) -> Status {
    let dump = wg(&format!("show {interface} dump"), "");
    match parse_dump(&dump) {
        Some(status) => status,
        None => panic!("not a dump of `wg show`:\n{dump}"),
    }
}

fn parse_dump(dump: &str) -> Option<Status> {
    let mut lines = dump.lines();
    let mut device = lines.next()?.split('\t');
    let private_key = optional(device.next()?).map(|key| Key::parse(key).ok_or(())).transpose().ok()?;
    device.next()?;
    let listen_port = device.next()?.parse().ok()?;
    let fwmark = match device.next()? {
        "off" => 0,
        mark => u32::from_str_radix(mark.strip_prefix("0x")?, 16).ok()?,
    };
    let peers = lines.map(parse_peer).collect::<Option<_>>()?;
    Some(Status { private_key, listen_port, fwmark, peers })
}

fn parse_peer(line: &str) -> Option<PeerStatus> {
    let fields: [&str; 8] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
    let [public_key, preshared_key, endpoint, allowed_ips, handshake, rx, tx, keepalive] = fields;
    Some(PeerStatus {
        public_key: Key::parse(public_key)?,
        preshared_key: optional(preshared_key).map(|key| Key::parse(key).ok_or(())).transpose().ok()?,
        endpoint: optional(endpoint).map(str::parse).transpose().ok()?,
        allowed_ips: optional(allowed_ips)
            .map_or_else(Vec::new, |ips| ips.split(',').map(str::to_owned).collect()),
        latest_handshake: handshake.parse().ok()?,
        rx_bytes: rx.parse().ok()?,
        tx_bytes: tx.parse().ok()?,
        persistent_keepalive: if keepalive == "off" { 0 } else { keepalive.parse().ok()? },
    })
}

fn optional(field: &str) -> Option<&str> {
    (field != "(none)").then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dump_is_read_field_by_field() {
        let (private, peer, psk) = (Key::random(), Key::random(), Key::random());
        let dump = format!(
            "{private}\t{}\t51820\t0x1f\n\
             {peer}\t{psk}\t[fd00::2]:7\t10.0.0.0/8,fd00::/64\t1700000000\t12\t34\t25\n\
             {private}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n",
            private.public()
        );
        let status = parse_dump(&dump).unwrap();
        assert_eq!((status.private_key, status.listen_port, status.fwmark), (Some(private), 51820, 0x1f));
        let first = status.peer(&peer).unwrap();
        assert_eq!(first.preshared_key, Some(psk));
        assert_eq!(first.endpoint, Some("[fd00::2]:7".parse().unwrap()));
        assert_eq!(first.allowed_ips, ["10.0.0.0/8", "fd00::/64"]);
        assert_eq!((first.latest_handshake, first.rx_bytes, first.tx_bytes), (1_700_000_000, 12, 34));
        assert_eq!(first.persistent_keepalive, 25);
        assert_eq!(status.peers[1], PeerStatus::new(private));
    }

    #[test]
    fn other_text_is_no_dump() {
        assert_eq!(parse_dump(""), None);
        assert_eq!(parse_dump("a\tb\n"), None);
    }
}
