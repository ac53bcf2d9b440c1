//! From bytes to a [`Conf`], line by line (W1).
//!
//! A line is taken up to its NUL byte or `#`, its white space is removed, and what remains is nothing, a section or
//! `key=value`. Memory is bounded: by the length of the file, and by how many peers and allowed IPs there may be.

use core::mem;

use wg_proto::{PresharedKey, PrivateKey, PublicKey};
use zeroize::{Zeroize, Zeroizing};

use super::value;
use super::{
    AllowedIpConf, Conf, ConfError, EndpointConf, ErrorKind, ListenPort, MAX_FILE_LEN, Name, PeerConf,
};

/// The most `[Peer]` sections, which is also the most peers that a device has.
const MAX_PEERS: usize = 1 << 16;
/// The most allowed IPs, of all peers together.
const MAX_ALLOWED_IPS: usize = 1 << 20;
/// The most names that later lines replace.
const MAX_SUPERSEDED: usize = 1 << 16;
/// The most lines whose host bits are reported.
const MAX_WARNINGS: usize = 32;

const INTERFACE_KEYS: [&str; 3] = ["PrivateKey", "ListenPort", "FwMark"];
const PEER_KEYS: [&str; 5] = ["PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"];
/// What `wg-quick` takes out before it calls `wg` (W6).
const WG_QUICK_KEYS: [&str; 9] =
    ["Address", "DNS", "MTU", "Table", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig"];

impl Conf {
    /// Parses a whole file.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, or the first peer without a key.
    ///
    /// # Examples
    ///
    /// ```
    /// use wg_gateway::conf::{Conf, ErrorKind};
    ///
    /// let conf = Conf::parse(b"[Interface]\nListenPort = 51820 # the usual one\n").unwrap();
    /// assert!(conf.private_key.is_none() && conf.peers.is_empty());
    ///
    /// let error = Conf::parse(b"[Interface]\nAddress = 10.0.0.1/24\n").unwrap_err();
    /// assert_eq!((error.line, error.kind), (2, ErrorKind::WgQuickOnly));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, ConfError> {
        if text.len() > MAX_FILE_LEN {
            return Err(ConfError { line: 1, kind: ErrorKind::TooLong });
        }
        let longest = text.split(|&byte| byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
        // As long as the longest line from the start, so that no copy is left behind by growing.
        let mut stripped = Zeroizing::new(Vec::with_capacity(longest));
        let mut parser = Parser::default();
        for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
            stripped.zeroize();
            stripped.extend(significant(line));
            parser.line = number;
            parser.line(&stripped).map_err(|kind| ConfError { line: number, kind })?;
        }
        parser.finish()
    }
}

/// The bytes of a line that count: up to a comment or NUL, without white space as the C locale has it.
fn significant(line: &[u8]) -> impl Iterator<Item = u8> {
    line.iter()
        .copied()
        .take_while(|&byte| byte != 0 && byte != b'#')
        .filter(|&byte| !matches!(byte, b' ' | b'\t'..=b'\r'))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    /// Before the first section.
    #[default]
    None,
    Interface,
    Peer,
}

/// A `[Peer]` section under way.
struct OpenPeer {
    /// The line of its `[Peer]`.
    line: u32,
    public_key: Option<PublicKey>,
    preshared_key: Option<Box<PresharedKey>>,
    endpoint: Option<EndpointConf>,
    persistent_keepalive: Option<u16>,
    replace_allowed_ips: bool,
    allowed_ips: Vec<AllowedIpConf>,
}

#[derive(Default)]
struct Parser {
    conf: Conf,
    section: Section,
    /// The last `[Peer]`, until the next one or the end.
    peer: Option<OpenPeer>,
    /// The first `[Peer]` without a key. A line that is wrong is told first, wherever it is.
    missing_key: Option<u32>,
    allowed_ips: usize,
    line: u32,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), ErrorKind> {
        if line.is_empty() {
            return Ok(());
        }
        if line.eq_ignore_ascii_case(b"[Interface]") {
            self.section = Section::Interface;
            return Ok(());
        }
        if line.eq_ignore_ascii_case(b"[Peer]") {
            self.section = Section::Peer;
            return self.begin_peer();
        }
        let equals = line.iter().position(|&byte| byte == b'=').ok_or(ErrorKind::Unrecognized)?;
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        let is = |name: &&str| key.eq_ignore_ascii_case(name.as_bytes());
        if WG_QUICK_KEYS.iter().any(is) {
            return Err(ErrorKind::WgQuickOnly);
        }
        let (section, name) = if let Some(name) = INTERFACE_KEYS.iter().find(|name| is(name)) {
            (Section::Interface, *name)
        } else if let Some(name) = PEER_KEYS.iter().find(|name| is(name)) {
            (Section::Peer, *name)
        } else {
            return Err(ErrorKind::Unrecognized);
        };
        if section != self.section {
            return Err(ErrorKind::WrongSection);
        }
        if value.is_empty() {
            return Err(ErrorKind::EmptyValue);
        }
        match name {
            "AllowedIPs" => self.allowed_ips(value),
            _ if section == Section::Peer => self.peer_value(name, value),
            _ => self.interface_value(name, value),
        }
    }

    fn interface_value(&mut self, name: &str, value: &[u8]) -> Result<(), ErrorKind> {
        match name {
            "PrivateKey" => {
                let bytes = value::key(value)?;
                let is_none = bytes.iter().fold(0, |seen, byte| seen | byte) == 0;
                self.conf.private_key = (!is_none).then(|| Box::new(PrivateKey::from_bytes(*bytes)));
            }
            "ListenPort" => {
                let port = value::listen_port(value, self.line)?;
                if let ListenPort::Service(name) = mem::replace(&mut self.conf.listen_port, port) {
                    self.supersede(name)?;
                }
            }
            "FwMark" => self.conf.firewall_mark = value::firewall_mark(value)?,
            _ => return Err(ErrorKind::Unrecognized),
        }
        Ok(())
    }

    fn peer_value(&mut self, name: &str, value: &[u8]) -> Result<(), ErrorKind> {
        let Some(peer) = &mut self.peer else { return Err(ErrorKind::WrongSection) };
        match name {
            "PublicKey" => peer.public_key = Some(PublicKey::from_bytes(*value::key(value)?)),
            "PresharedKey" => {
                peer.preshared_key = Some(Box::new(PresharedKey::from_bytes(*value::key(value)?)));
            }
            "Endpoint" => {
                let endpoint = value::endpoint(value, self.line)?;
                if let Some(EndpointConf::Name(name)) = peer.endpoint.replace(endpoint) {
                    self.supersede(name)?;
                }
            }
            "PersistentKeepalive" => peer.persistent_keepalive = Some(value::keepalive(value)?),
            _ => return Err(ErrorKind::Unrecognized),
        }
        Ok(())
    }

    fn supersede(&mut self, name: Name) -> Result<(), ErrorKind> {
        if self.conf.superseded.len() >= MAX_SUPERSEDED {
            return Err(ErrorKind::TooMany);
        }
        self.conf.superseded.push(name);
        Ok(())
    }

    fn allowed_ips(&mut self, value: &[u8]) -> Result<(), ErrorKind> {
        let Some(peer) = &mut self.peer else { return Err(ErrorKind::WrongSection) };
        let mut has_host_bits = false;
        peer.replace_allowed_ips = true;
        for element in value.split(|&byte| byte == b',') {
            self.allowed_ips += 1;
            if self.allowed_ips > MAX_ALLOWED_IPS {
                return Err(ErrorKind::TooMany);
            }
            let parsed = value::allowed_ip(element)?;
            has_host_bits |= parsed.has_host_bits;
            if parsed.is_signed {
                peer.replace_allowed_ips = false;
            }
            peer.allowed_ips.push(parsed.change);
        }
        if has_host_bits && self.conf.host_bits.len() < MAX_WARNINGS {
            self.conf.host_bits.push(self.line);
        }
        Ok(())
    }

    fn begin_peer(&mut self) -> Result<(), ErrorKind> {
        self.end_peer();
        if self.conf.peers.len() >= MAX_PEERS {
            return Err(ErrorKind::TooMany);
        }
        self.peer = Some(OpenPeer {
            line: self.line,
            public_key: None,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            // The second of two sections for one key wins by this (W4).
            replace_allowed_ips: true,
            allowed_ips: Vec::new(),
        });
        Ok(())
    }

    fn end_peer(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        let Some(public_key) = peer.public_key else {
            self.missing_key.get_or_insert(peer.line);
            return;
        };
        self.conf.peers.push(PeerConf {
            public_key,
            preshared_key: peer.preshared_key,
            endpoint: peer.endpoint,
            persistent_keepalive: peer.persistent_keepalive,
            replace_allowed_ips: peer.replace_allowed_ips,
            allowed_ips: peer.allowed_ips,
        });
    }

    fn finish(mut self) -> Result<Conf, ConfError> {
        self.end_peer();
        match self.missing_key {
            Some(line) => Err(ConfError { line, kind: ErrorKind::MissingPublicKey }),
            None => Ok(mem::take(&mut self.conf)),
        }
    }
}

#[cfg(test)]
mod tests;
