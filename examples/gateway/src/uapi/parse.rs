//! From bytes to requests: an incremental parser without I/O that accepts any input and never panics.
//!
//! Bytes come in whatever pieces the socket gives; the result does not depend on the cuts. A request is reported the
//! moment its outcome is settled: at its blank line, or at its first bad line, together with the lines before it,
//! which stay in force (U9). After a bad line the rest of that request is passed over, up to its blank line or to the
//! next `get=1` or `set=1`, so that the connection stays usable.
//!
//! As in wireguard-go, a carriage return before the newline of a body line is ignored; the first line is exact.
//! Unlike it, a last line without a newline is not obeyed: half of a port number is also a port number.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::str::FromStr;

use wg_datapath::IpPrefix;
use wg_proto::{PresharedKey, PrivateKey, PublicKey};
use zeroize::{Zeroize, Zeroizing};

use super::{EndpointSpec, Errno, Op, hex};
use crate::wiped;

/// The longest line accepted, without its newline.
const MAX_LINE_LEN: usize = 65_535;
/// The most body lines a request may have; a legal one of 130,560 allowed IPs is known.
const MAX_LINES: u32 = 1 << 20;
/// The most bytes a request may have: every line allowed, each as long as a line with a key.
const MAX_REQUEST_LEN: u64 = 80 << 20;
/// The most bytes passed over in search of the end of a request that failed.
const MAX_SKIPPED_LEN: u64 = 80 << 20;
/// What is kept of a line that is passed over: enough to recognise `get=1` and `set=1`, with a carriage return.
const SKIPPED_LINE_LEN: usize = 8;
/// The room for a line that comes in pieces, at first.
const FIRST_LINE_LEN: usize = 128;
/// The longest name an interface can have.
const MAX_ZONE_LEN: usize = 15;

/// A request without its outcome.
#[derive(Debug)]
pub enum Request {
    /// `get=1`.
    Get,
    /// `set=1`, with the lines up to the blank line or the first bad one.
    Set(Vec<Op>),
}

/// A request, and whether it was well formed to the end.
#[derive(Debug)]
pub struct Parsed {
    /// What is asked.
    pub request: Request,
    /// The answer, unless applying the request fails earlier.
    pub outcome: Result<(), Errno>,
}

/// What the parser wants next.
#[derive(Debug)]
pub enum Step {
    /// All input is used up and more is needed.
    NeedMore,
    /// A request is complete; feed the rest of the input afterwards.
    Request(Parsed),
    /// What came is not the protocol: close the connection without a reply (U6).
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first line of a request.
    Opening,
    /// After `get=1`.
    GetBody,
    /// In a set, before the first `public_key`.
    DeviceSection,
    /// In a set, after a `public_key`.
    PeerSection,
    /// After a bad line; `line_is_new` unless still inside it.
    Skipping { line_is_new: bool },
    /// After [`Step::Close`].
    Closed,
}

/// The parser of one connection.
///
/// Feed it what arrives with [`Parser::feed`], and call [`Parser::finish`] when the client has sent its last byte.
pub struct Parser {
    state: State,
    /// The line under way, as far as it came in earlier input.
    line: Vec<u8>,
    ops: Vec<Op>,
    lines: u32,
    bytes: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self { state: State::Opening, line: Vec::new(), ops: Vec::new(), lines: 0, bytes: 0 }
    }
}

impl core::fmt::Debug for Parser {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Parser")
            .field("state", &self.state)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        self.forget_line();
    }
}

impl Parser {
    /// Makes a parser that expects the first line of a request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whether no request is under way, not even a part of its first line.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self.state {
            State::Opening => self.line.is_empty(),
            State::Skipping { .. } | State::Closed => true,
            State::GetBody | State::DeviceSection | State::PeerSection => false,
        }
    }

    /// Takes bytes from the front of `input` and returns how many, and what came of them.
    ///
    /// Everything is taken unless a [`Step::Request`] or [`Step::Close`] comes first.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Step) {
        let mut rest = input;
        while !rest.is_empty() {
            let (used, step) = self.advance(rest);
            rest = rest.get(used..).unwrap_or_default();
            if !matches!(step, Step::NeedMore) {
                return (input.len() - rest.len(), step);
            }
        }
        (input.len(), Step::NeedMore)
    }

    /// Says that no more bytes will come, in good order or because the connection broke.
    ///
    /// A set that only lacks its blank line is complete; one that ends inside a line is [`Errno::IO`], after the lines
    /// before it (U9).
    pub fn finish(&mut self) -> Option<Parsed> {
        let torn = !self.line.is_empty();
        self.forget_line();
        let state = core::mem::replace(&mut self.state, State::Closed);
        match state {
            State::DeviceSection | State::PeerSection => Some(Parsed {
                request: Request::Set(core::mem::take(&mut self.ops)),
                outcome: if torn { Err(Errno::IO) } else { Ok(()) },
            }),
            State::Opening | State::GetBody | State::Skipping { .. } | State::Closed => None,
        }
    }

    /// Takes at least one byte and at most one line.
    fn advance(&mut self, input: &[u8]) -> (usize, Step) {
        match self.state {
            State::Closed => (input.len(), Step::Close),
            State::GetBody if input.first() == Some(&b'\n') => (1, self.complete(Request::Get)),
            // Not even a wait for the end of the line: its first byte settles it (U7).
            State::GetBody => (0, self.fail(Request::Get, Errno::INVALID)),
            State::Skipping { .. } => self.skip(input),
            State::Opening | State::DeviceSection | State::PeerSection => self.take_line(input),
        }
    }

    fn take_line(&mut self, input: &[u8]) -> (usize, Step) {
        let room = MAX_LINE_LEN - self.line.len();
        let window = input.get(..=room).unwrap_or(input);
        let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
            let used = window.len();
            self.bytes = self.bytes.saturating_add(used as u64);
            if used > room || self.bytes > MAX_REQUEST_LEN {
                return (used, self.refuse_length());
            }
            wiped::append(&mut self.line, window, FIRST_LINE_LEN);
            return (used, Step::NeedMore);
        };
        let used = end + 1;
        self.bytes = self.bytes.saturating_add(used as u64);
        if self.bytes > MAX_REQUEST_LEN {
            return (used, self.fail_set(Errno::IO));
        }
        let tail = window.get(..end).unwrap_or_default();
        if self.line.is_empty() {
            return (used, self.line(tail));
        }
        wiped::append(&mut self.line, tail, FIRST_LINE_LEN);
        let line = Zeroizing::new(core::mem::take(&mut self.line));
        (used, self.line(&line))
    }

    fn line(&mut self, line: &[u8]) -> Step {
        if self.state == State::Opening {
            return self.open(line);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let ops = core::mem::take(&mut self.ops);
            return self.complete(Request::Set(ops));
        }
        self.lines += 1;
        if self.lines > MAX_LINES {
            return self.fail_set(Errno::IO);
        }
        let Some(equals) = line.iter().position(|&byte| byte == b'=') else {
            return self.fail_set(Errno::PROTOCOL);
        };
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        let op = if key == b"public_key" {
            self.state = State::PeerSection;
            public_key(value).map(|key| Some(Op::Peer(key)))
        } else if self.state == State::DeviceSection {
            device_op(key, value)
        } else {
            peer_op(key, value)
        };
        match op {
            Ok(op) => {
                self.ops.extend(op);
                Step::NeedMore
            }
            Err(errno) => self.fail_set(errno),
        }
    }

    fn open(&mut self, line: &[u8]) -> Step {
        self.lines = 0;
        self.state = match line {
            b"get=1" => State::GetBody,
            b"set=1" => State::DeviceSection,
            _ => return self.close(),
        };
        Step::NeedMore
    }

    /// Passes over the rest of a failed request, at most to the end of the line.
    fn skip(&mut self, input: &[u8]) -> (usize, Step) {
        let newline = input.iter().position(|&byte| byte == b'\n');
        let part = input.get(..newline.unwrap_or(input.len())).unwrap_or_default();
        let kept = part.len().min(SKIPPED_LINE_LEN - self.line.len());
        self.line.extend_from_slice(part.get(..kept).unwrap_or_default());
        let used = newline.map_or(input.len(), |end| end + 1);
        self.bytes = self.bytes.saturating_add(used as u64);
        if self.bytes > MAX_SKIPPED_LEN {
            return (used, self.close());
        }
        if newline.is_none() {
            return (used, Step::NeedMore);
        }
        let line_is_new = self.state == State::Skipping { line_is_new: true };
        self.state = State::Skipping { line_is_new: true };
        let line = Zeroizing::new(core::mem::take(&mut self.line));
        if line_is_new {
            match line.as_slice() {
                b"" | b"\r" => self.reset(State::Opening),
                b"get=1" | b"set=1" => {
                    self.reset(State::Opening);
                    return (used, self.open(&line));
                }
                _ => {}
            }
        }
        (used, Step::NeedMore)
    }

    fn complete(&mut self, request: Request) -> Step {
        self.reset(State::Opening);
        Step::Request(Parsed { request, outcome: Ok(()) })
    }

    /// Ends a request by a complete bad line.
    fn fail_set(&mut self, errno: Errno) -> Step {
        let request = Request::Set(core::mem::take(&mut self.ops));
        self.reset(State::Skipping { line_is_new: true });
        Step::Request(Parsed { request, outcome: Err(errno) })
    }

    /// Ends a request in the middle of a line.
    fn fail(&mut self, request: Request, errno: Errno) -> Step {
        self.reset(State::Skipping { line_is_new: false });
        Step::Request(Parsed { request, outcome: Err(errno) })
    }

    fn refuse_length(&mut self) -> Step {
        if self.state == State::Opening {
            return self.close();
        }
        let request = Request::Set(core::mem::take(&mut self.ops));
        self.fail(request, Errno::IO)
    }

    fn close(&mut self) -> Step {
        self.reset(State::Closed);
        Step::Close
    }

    fn reset(&mut self, state: State) {
        self.forget_line();
        self.state = state;
        self.ops = Vec::new();
        self.lines = 0;
        self.bytes = 0;
    }

    /// Wipes and frees the line under way.
    fn forget_line(&mut self) {
        self.line.zeroize();
        self.line = Vec::new();
    }
}

/// Parses a line before the first `public_key`.
fn device_op(key: &[u8], value: &[u8]) -> Result<Option<Op>, Errno> {
    Ok(Some(match key {
        b"private_key" => {
            let bytes = hex::decode(value).ok_or(Errno::INVALID)?;
            Op::PrivateKey((!hex::is_zero(&bytes)).then(|| Box::new(PrivateKey::from_bytes(*bytes))))
        }
        b"listen_port" => Op::ListenPort(decimal(value)?),
        b"fwmark" => Op::FirewallMark(decimal(value)?),
        b"strategy" => {
            let name = str::from_utf8(value).map_err(|_| Errno::INVALID)?;
            Op::Strategy(name.parse().map_err(|_| Errno::INVALID)?)
        }
        b"replace_peers" => flag(value, Op::ReplacePeers)?,
        _ => return Err(Errno::INVALID),
    }))
}

/// Parses a line after a `public_key`.
fn peer_op(key: &[u8], value: &[u8]) -> Result<Option<Op>, Errno> {
    Ok(Some(match key {
        b"update_only" => flag(value, Op::UpdateOnly)?,
        b"remove" => flag(value, Op::Remove)?,
        b"preshared_key" => {
            let bytes = hex::decode(value).ok_or(Errno::INVALID)?;
            Op::PresharedKey(Box::new(PresharedKey::from_bytes(*bytes)))
        }
        b"endpoint" => Op::Endpoint(Box::new(endpoint(value)?)),
        b"persistent_keepalive_interval" => Op::PersistentKeepalive(decimal(value)?),
        b"replace_allowed_ips" => flag(value, Op::ReplaceAllowedIps)?,
        b"allowed_ip" => match value.strip_prefix(b"-") {
            Some(value) => Op::RemoveAllowedIp(prefix(value)?),
            None => Op::AddAllowedIp(prefix(value)?),
        },
        b"protocol_version" if value == b"1" => return Ok(None),
        _ => return Err(Errno::INVALID),
    }))
}

fn public_key(value: &[u8]) -> Result<PublicKey, Errno> {
    hex::decode(value).map(|bytes| PublicKey::from_bytes(*bytes)).ok_or(Errno::INVALID)
}

/// A boolean, which can only be `true`.
fn flag(value: &[u8], op: Op) -> Result<Op, Errno> {
    if value == b"true" { Ok(op) } else { Err(Errno::INVALID) }
}

/// Digits and nothing else: no sign, no space, no prefix. Leading zeros are harmless.
fn decimal<T: FromStr>(value: &[u8]) -> Result<T, Errno> {
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(Errno::INVALID);
    }
    parsed(value)
}

/// `address/length`; the length is required, and written without leading zeros.
fn prefix(value: &[u8]) -> Result<IpPrefix, Errno> {
    let slash = value.iter().rposition(|&byte| byte == b'/').ok_or(Errno::INVALID)?;
    let (addr, len) = (&value[..slash], &value[slash + 1..]);
    if len.len() > 1 && len.first() == Some(&b'0') {
        return Err(Errno::INVALID);
    }
    IpPrefix::new(parsed::<IpAddr>(addr)?, decimal(len)?).map_err(|_| Errno::INVALID)
}

/// `a.b.c.d:port` or `[v6]:port` or `[v6%zone]:port`.
fn endpoint(value: &[u8]) -> Result<EndpointSpec, Errno> {
    let colon = value.iter().rposition(|&byte| byte == b':').ok_or(Errno::INVALID)?;
    let (host, port) = (&value[..colon], decimal(&value[colon + 1..])?);
    let Some(host) = host.strip_prefix(b"[") else {
        let address = SocketAddr::new(parsed::<Ipv4Addr>(host)?.into(), port);
        return Ok(EndpointSpec { address, zone: None });
    };
    let host = host.strip_suffix(b"]").ok_or(Errno::INVALID)?;
    let Some(percent) = host.iter().position(|&byte| byte == b'%') else {
        // An IPv4 address in IPv6 clothes is only reachable through the IPv4 socket.
        let address = SocketAddr::new(parsed::<Ipv6Addr>(host)?.to_canonical(), port);
        return Ok(EndpointSpec { address, zone: None });
    };
    let (addr, zone) = (parsed(&host[..percent])?, &host[percent + 1..]);
    let index = decimal(zone);
    let address = SocketAddrV6::new(addr, port, 0, index.unwrap_or(0)).into();
    let zone = if index.is_ok() { None } else { Some(zone_name(zone)?) };
    Ok(EndpointSpec { address, zone })
}

fn zone_name(zone: &[u8]) -> Result<Box<str>, Errno> {
    if zone.is_empty() || zone.len() > MAX_ZONE_LEN || zone.iter().any(|&byte| byte <= b' ') {
        return Err(Errno::INVALID);
    }
    core::str::from_utf8(zone).map(Into::into).map_err(|_| Errno::INVALID)
}

fn parsed<T: FromStr>(value: &[u8]) -> Result<T, Errno> {
    core::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Errno::INVALID)
}

#[cfg(test)]
mod tests;
