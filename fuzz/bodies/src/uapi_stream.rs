//! Any stream of a configuration client, cut anywhere, beside a reading of the rules that takes the whole text line by line
//! (U6-U16, C134, C139).
//!
//! The first byte chooses the cuts; the rest is the text. Replies and what the device is left with must be the same. The
//! bounds of lines and requests are beyond what a fuzzer sends; the tests of the gateway have them.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use wg_datapath::IpPrefix;
use wg_gateway::uapi::{Errno, Parsed, Parser, Request, Step, Transaction, write_get, write_set};

use crate::configured::{Configured, REFUSED_MARK, TAKEN_PORT};

/// Feeds the stream in pieces and compares.
///
/// # Panics
///
/// If replies or state differ.
pub fn uapi_stream(data: &[u8]) {
    let Some((&cuts, text)) = data.split_first() else { return };
    let (mut device, mut replies) = (Configured::default(), Vec::new());
    let closed = serve(text, cuts, &mut device, &mut replies);
    let mut book = Book::default();
    let expected_closed = book.read(text);
    let replies = String::from_utf8_lossy(&replies).into_owned();
    assert_eq!(replies, book.replies, "of {:?}", String::from_utf8_lossy(text));
    assert_eq!(closed, expected_closed);
    assert_eq!(device, book.device);
}

/// The server's part: bytes to the parser, requests to the device, replies back.
fn serve(text: &[u8], cuts: u8, device: &mut Configured, replies: &mut Vec<u8>) -> bool {
    let mut parser = Parser::new();
    let mut rest = text;
    let mut turn = u32::from(cuts);
    while !rest.is_empty() {
        turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if cuts == 0 { rest.len() } else { 1 + (turn >> 16) as usize % (usize::from(cuts) + 1) };
        let (used, step) = parser.feed(&rest[..most.min(rest.len())]);
        assert!(used > 0 || !matches!(step, Step::NeedMore), "it goes on");
        rest = &rest[used..];
        match step {
            Step::NeedMore => {}
            Step::Request(parsed) => answer(parsed, device, replies, 1 + usize::from(cuts & 7)),
            Step::Close => return true,
        }
    }
    if let Some(parsed) = parser.finish() {
        answer(parsed, device, replies, 1);
    }
    false
}

fn answer(parsed: Parsed, device: &mut Configured, replies: &mut Vec<u8>, slice: usize) {
    let written = match parsed.request {
        Request::Get => {
            let snapshot = wg_gateway::uapi::Configure::snapshot(device);
            write_get(replies, parsed.outcome.map(|()| &snapshot))
        }
        Request::Set(ops) => {
            let mut transaction = Transaction::new(ops, parsed.outcome);
            let result = loop {
                if let Some(result) = transaction.run(device, slice) {
                    break result;
                }
            };
            write_set(replies, result)
        }
    };
    written.expect("a vector takes everything");
}

/// The rules, by the whole text.
#[derive(Default)]
struct Book {
    device: Configured,
    replies: String,
}

const EINVAL: i32 = 22;
const EPROTO: i32 = 71;
const EIO: i32 = 5;
const EADDRINUSE: i32 = 98;

/// Cuts the first line off a text; none if it does not end.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

impl Book {
    /// Reads all requests; true if the connection is closed for what is none.
    fn read(&mut self, mut text: &[u8]) -> bool {
        while let Some((line, rest)) = cut(text) {
            text = rest;
            match line {
                b"get=1" => match text.first() {
                    None => return false,
                    Some(b'\n') => {
                        text = &text[1..];
                        self.get();
                    }
                    Some(_) => {
                        write!(self.replies, "errno={EINVAL}\n\n").expect("a string has room");
                        text = skip(cut(text).map_or(&[], |(_, rest)| rest));
                    }
                },
                b"set=1" => text = self.set(text),
                _ => return true,
            }
        }
        false
    }

    fn get(&mut self) {
        let Self { device, replies } = self;
        let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut text = String::new();
        if let Some(key) = device.private_key {
            text += &format!("private_key={}\n", hex(&key));
        }
        if device.listen_port > 0 {
            text += &format!("listen_port={}\n", device.listen_port);
        }
        if device.firewall_mark > 0 {
            text += &format!("fwmark={}\n", device.firewall_mark);
        }
        for peer in &device.peers {
            text += &format!("public_key={}\n", hex(&peer.public_key));
            text += &format!("preshared_key={}\nprotocol_version=1\n", hex(&peer.preshared_key));
            if let Some(endpoint) = peer.endpoint {
                text += &format!("endpoint={endpoint}\n");
            }
            text += "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n";
            text += &format!("persistent_keepalive_interval={}\n", peer.keepalive);
            for prefix in &peer.allowed_ips {
                text += &format!("allowed_ip={}/{}\n", prefix.addr(), prefix.len());
            }
        }
        *replies += &(text + "errno=0\n\n");
    }

    /// Reads and obeys the body of a set; gives what is behind it.
    fn set<'t>(&mut self, mut text: &'t [u8]) -> &'t [u8] {
        let mut lines = Vec::new();
        let mut in_peer = false;
        let (mut errno, behind) = loop {
            let Some((line, rest)) = cut(text) else {
                break (if text.is_empty() { 0 } else { EIO }, &[][..]);
            };
            text = rest;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break (0, text);
            }
            match read_line(line, &mut in_peer) {
                Ok(read) => lines.push(read),
                Err(errno) => break (errno, skip(text)),
            }
        };
        if let Err(earlier) = self.obey(lines) {
            errno = earlier;
        }
        let sign = if errno == 0 { "" } else { "-" };
        write!(self.replies, "errno={sign}{errno}\n\n").expect("a string has room");
        behind
    }

    fn obey(&mut self, lines: Vec<Line>) -> Result<(), i32> {
        let mut about = About::Device;
        for line in lines {
            let obeyed = match line {
                Line::PublicKey(key) => {
                    let ended = self.end(about);
                    about = About::Nobody;
                    ended.map(|()| {
                        about = if self.device.own_key() == Some(key) {
                            About::Nobody
                        } else if self.device.find(&key).is_some() {
                            About::Peer { key, new: false, keepalive: None }
                        } else {
                            About::Named(key)
                        };
                    })
                }
                line => self.obey_line(&mut about, line),
            };
            if let Err(errno) = obeyed {
                return self.end(about).and(Err(errno));
            }
        }
        self.end(about)
    }

    fn obey_line(&mut self, about: &mut About, line: Line) -> Result<(), i32> {
        match (&line, *about) {
            (Line::PrivateKey(key), _) => self.device.set_key(*key),
            (Line::ListenPort(TAKEN_PORT), _) | (Line::FirewallMark(REFUSED_MARK), _) => {
                return Err(EADDRINUSE);
            }
            (Line::ListenPort(port), _) => self.device.listen_port = *port,
            (Line::FirewallMark(mark), _) => self.device.firewall_mark = *mark,
            (Line::ReplacePeers, _) => self.device.peers.clear(),
            (Line::UpdateOnly, About::Named(_)) => *about = About::Nobody,
            (Line::UpdateOnly | Line::Remove, About::Peer { key, new, .. }) => {
                if new || matches!(line, Line::Remove) {
                    self.device.peers.retain(|peer| peer.public_key != key);
                    *about = About::Nobody;
                }
            }
            (Line::UpdateOnly | Line::Remove, _) => *about = About::Nobody,
            (_, About::Nobody) => {
                if let Line::Endpoint(spec) = &line {
                    resolve(spec)?;
                }
            }
            (_, About::Named(key)) => {
                *about = About::Nobody;
                if !self.device.add(key) {
                    return Err(EINVAL);
                }
                *about = About::Peer { key, new: true, keepalive: None };
                return self.obey_line(about, line);
            }
            (_, About::Peer { key, new, .. }) => {
                let peer = self.device.peer_mut(&key);
                match line {
                    Line::PresharedKey(psk) => peer.preshared_key = psk,
                    Line::Endpoint(spec) => peer.endpoint = Some(resolve(&spec)?),
                    Line::Keepalive(seconds) => *about = About::Peer { key, new, keepalive: Some(seconds) },
                    Line::ReplaceAllowedIps => peer.allowed_ips.clear(),
                    Line::Add(prefix) => self.device.give(&key, prefix),
                    Line::Take(prefix) => peer.allowed_ips.retain(|other| *other != prefix),
                    _ => {}
                }
            }
            (_, About::Device) => return Err(EINVAL),
        }
        Ok(())
    }

    /// The end of a peer's lines: the peer that was only named is made, one that there is starts.
    fn end(&mut self, about: About) -> Result<(), i32> {
        match about {
            About::Named(key) if !self.device.add(key) => return Err(EINVAL),
            About::Named(key) => self.device.peer_mut(&key).ends += 1,
            About::Peer { key, keepalive, .. } => {
                let peer = self.device.peer_mut(&key);
                peer.keepalive = keepalive.unwrap_or(peer.keepalive);
                peer.ends += 1;
            }
            About::Device | About::Nobody => {}
        }
        Ok(())
    }
}

/// Whose lines these are.
#[derive(Clone, Copy, Debug)]
enum About {
    Device,
    Named([u8; 32]),
    Peer { key: [u8; 32], new: bool, keepalive: Option<u16> },
    Nobody,
}

/// Passes over lines to the end of a failed request.
fn skip(mut text: &[u8]) -> &[u8] {
    while let Some((line, rest)) = cut(text) {
        match line {
            b"" | b"\r" => return rest,
            b"get=1" | b"set=1" => return text,
            _ => text = rest,
        }
    }
    &[]
}

/// A line, read.
enum Line {
    PrivateKey(Option<[u8; 32]>),
    ListenPort(u16),
    FirewallMark(u32),
    ReplacePeers,
    PublicKey([u8; 32]),
    UpdateOnly,
    Remove,
    PresharedKey([u8; 32]),
    Endpoint((SocketAddr, Option<String>)),
    Keepalive(u16),
    ReplaceAllowedIps,
    Add(IpPrefix),
    Take(IpPrefix),
    Nothing,
}

fn read_line(line: &[u8], in_peer: &mut bool) -> Result<Line, i32> {
    let Some(equals) = line.iter().position(|byte| *byte == b'=') else { return Err(EPROTO) };
    let (key, value) = (&line[..equals], core::str::from_utf8(&line[equals + 1..]));
    // No value is right that is not text.
    let (Ok(key), Ok(value)) = (core::str::from_utf8(key), value) else { return Err(EINVAL) };
    let truth = |line: Line| (value == "true").then_some(line);
    let read = match (*in_peer, key) {
        (_, "public_key") => {
            *in_peer = true;
            hex(value).map(Line::PublicKey)
        }
        (false, "private_key") => hex(value).map(|mut key| {
            let none = key == [0; 32];
            key[0] &= 248;
            key[31] = key[31] & 127 | 64;
            Line::PrivateKey((!none).then_some(key))
        }),
        (false, "listen_port") => {
            number(value, 65_535).and_then(|n| u16::try_from(n).ok()).map(Line::ListenPort)
        }
        (false, "fwmark") => {
            number(value, 4_294_967_295).and_then(|n| u32::try_from(n).ok()).map(Line::FirewallMark)
        }
        (false, "replace_peers") => truth(Line::ReplacePeers),
        (true, "update_only") => truth(Line::UpdateOnly),
        (true, "remove") => truth(Line::Remove),
        (true, "preshared_key") => hex(value).map(Line::PresharedKey),
        (true, "endpoint") => endpoint(value).map(Line::Endpoint),
        (true, "persistent_keepalive_interval") => {
            number(value, 65_535).and_then(|n| u16::try_from(n).ok()).map(Line::Keepalive)
        }
        (true, "replace_allowed_ips") => truth(Line::ReplaceAllowedIps),
        (true, "allowed_ip") => match value.strip_prefix('-') {
            Some(value) => prefix(value).map(Line::Take),
            None => prefix(value).map(Line::Add),
        },
        (true, "protocol_version") => (value == "1").then_some(Line::Nothing),
        _ => None,
    };
    read.ok_or(EINVAL)
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok())?
}

/// Digits and nothing else, up to a bound.
fn number(text: &str, most: u64) -> Option<u64> {
    if text.is_empty() || text.chars().any(|digit| !digit.is_ascii_digit()) {
        return None;
    }
    text.bytes()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|number| *number <= most)
}

fn prefix(text: &str) -> Option<IpPrefix> {
    let (addr, len) = text.rsplit_once('/')?;
    let addr: IpAddr = addr.parse().ok()?;
    let len = number(len, if addr.is_ipv4() { 32 } else { 128 }).filter(|n| n.to_string() == len)?;
    let len = u8::try_from(len).ok()?;
    // Masked here as well, so that what is kept does not depend on who masks.
    let masked = match addr {
        IpAddr::V4(addr) => IpAddr::from(Ipv4Addr::from(
            addr.to_bits() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0),
        )),
        IpAddr::V6(addr) => IpAddr::from(Ipv6Addr::from(
            addr.to_bits() & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0),
        )),
    };
    IpPrefix::new(masked, len).ok()
}

fn endpoint(text: &str) -> Option<(SocketAddr, Option<String>)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = u16::try_from(number(port, 65_535)?).ok()?;
    let Some(host) = host.strip_prefix('[') else {
        return Some(((host.parse::<Ipv4Addr>().ok()?, port).into(), None));
    };
    let host = host.strip_suffix(']')?;
    let Some((addr, zone)) = host.split_once('%') else {
        let addr: Ipv6Addr = host.parse().ok()?;
        return Some(((addr.to_canonical(), port).into(), None));
    };
    let addr: Ipv6Addr = addr.parse().ok()?;
    if let Some(index) = number(zone, u32::MAX.into()) {
        return Some((SocketAddrV6::new(addr, port, 0, u32::try_from(index).ok()?).into(), None));
    }
    let name = (1..=15).contains(&zone.len()) && zone.bytes().all(|byte| byte > b' ');
    name.then(|| (SocketAddrV6::new(addr, port, 0, 0).into(), Some(zone.to_owned())))
}

/// There is one interface, `lo`, number 1.
fn resolve((address, zone): &(SocketAddr, Option<String>)) -> Result<SocketAddr, i32> {
    let mut address = *address;
    match (zone.as_deref(), &mut address) {
        (None, _) => {}
        (Some("lo"), SocketAddr::V6(scoped)) => scoped.set_scope_id(1),
        _ => return Err(EINVAL),
    }
    Ok(address)
}

/// The error numbers here are those of the gateway.
const _: () = assert!(
    Errno::INVALID.code() == EINVAL
        && Errno::PROTOCOL.code() == EPROTO
        && Errno::IO.code() == EIO
        && Errno::IN_USE.code() == EADDRINUSE
);
