//! Any text as a configuration file, beside a reading of the grammar that splits, matches and collects (W1-W5).
//!
//! Both accept or both refuse, and what the accepted file makes of a device that was configured before is the same.

use core::net::{IpAddr, SocketAddr};

use wg_datapath::IpPrefix;
use wg_gateway::conf::{Conf, Resolve, ResolveError};
use wg_gateway::uapi::Transaction;

use crate::configured::{Configured, MAX_PEERS, Peer, REFUSED_MARK, TAKEN_PORT};

/// The names there are.
#[derive(Debug)]
struct Names;

impl Resolve for Names {
    fn endpoint(&mut self, host: &str, port: &str) -> Result<SocketAddr, ResolveError> {
        let port = service(port).ok_or(ResolveError::UnknownService)?;
        Ok(SocketAddr::new(address(host).ok_or(ResolveError::UnknownHost)?, port))
    }

    fn port(&mut self, name: &str) -> Result<u16, ResolveError> {
        service(name).ok_or(ResolveError::UnknownService)
    }
}

fn service(name: &str) -> Option<u16> {
    if name == "domain" { Some(53) } else { name.parse().ok() }
}

fn address(name: &str) -> Option<IpAddr> {
    match name {
        "example.org" => Some(IpAddr::from([192, 0, 2, 99])),
        // As a resolver may say it.
        "mapped" => "::ffff:192.0.2.98".parse().ok(),
        _ => name.parse().ok(),
    }
}

/// Parses a file both ways and applies it.
///
/// # Panics
///
/// If the readings differ.
pub fn conf_file(data: &[u8]) {
    let parsed = Conf::parse(data).and_then(|conf| conf.into_ops(&mut Names));
    let read = File::read(data);
    let shown = || String::from_utf8_lossy(data).into_owned();
    let (Ok(ops), Some(file)) = (&parsed, &read) else {
        assert_eq!(parsed.is_ok(), read.is_some(), "{:?} of {:?}", parsed.err(), shown());
        return;
    };
    assert!(!ops.is_empty());
    let mut device = Configured::default();
    (device.listen_port, device.firewall_mark) = (9, 9);
    device.add([0x55; 32]);
    let mut before = device.clone();
    let result = Transaction::new(parsed.expect("it was looked at"), Ok(())).run(&mut device, usize::MAX);
    if file.port == TAKEN_PORT || file.mark == REFUSED_MARK || !file.fits() {
        assert!(matches!(result, Some(Err(_))), "{result:?}");
        return;
    }
    assert_eq!(result, Some(Ok(())));
    file.apply(&mut before);
    assert_eq!(device, before, "of {:?}", shown());
}

/// A file, read.
#[derive(Default)]
struct File {
    key: Option<[u8; 32]>,
    port: u16,
    mark: u32,
    peers: Vec<Section>,
}

/// A section of a peer.
struct Section {
    key: Option<[u8; 32]>,
    psk: Option<[u8; 32]>,
    endpoint: Option<SocketAddr>,
    keepalive: Option<u16>,
    replace: bool,
    ips: Vec<(bool, IpPrefix)>,
}

impl File {
    fn read(data: &[u8]) -> Option<Self> {
        let mut file = Self::default();
        let mut in_peer = None;
        for line in data.split(|byte| *byte == b'\n') {
            let end = line.iter().position(|byte| matches!(byte, 0 | b'#')).unwrap_or(line.len());
            let white = |byte: &u8| matches!(byte, 9..=13 | 32);
            let line: Vec<u8> = line[..end].iter().filter(|byte| !white(byte)).copied().collect();
            let lower = line.to_ascii_lowercase();
            match &lower[..] {
                b"" => continue,
                b"[interface]" => in_peer = Some(false),
                b"[peer]" => {
                    in_peer = Some(true);
                    file.peers.push(Section {
                        key: None,
                        psk: None,
                        endpoint: None,
                        keepalive: None,
                        replace: true,
                        ips: Vec::new(),
                    });
                }
                _ => {
                    let equals = line.iter().position(|byte| *byte == b'=')?;
                    let value =
                        core::str::from_utf8(&line[equals + 1..]).ok().filter(|value| !value.is_empty())?;
                    if in_peer? {
                        file.peers.last_mut()?.line(&lower[..equals], value)?;
                    } else {
                        file.line(&lower[..equals], value)?;
                    }
                }
            }
        }
        file.peers.iter().all(|peer| peer.key.is_some()).then_some(file)
    }

    fn line(&mut self, name: &[u8], value: &str) -> Option<()> {
        match name {
            b"privatekey" => {
                let mut key = base64(value)?;
                let none = key == [0; 32];
                key[0] &= 248;
                key[31] = key[31] & 127 | 64;
                self.key = (!none).then_some(key);
            }
            b"listenport" => self.port = service(port(value)?)?,
            b"fwmark" if value.eq_ignore_ascii_case("off") => self.mark = 0,
            b"fwmark" => {
                self.mark = match value.strip_prefix("0x") {
                    Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                        u32::from_str_radix(digits, 16).ok()?
                    }
                    Some(_) => return None,
                    None => digits(value)?.parse().ok()?,
                };
            }
            _ => return None,
        }
        Some(())
    }

    fn owners(&self) -> Vec<[u8; 32]> {
        let own = Configured { private_key: self.key, ..Configured::default() }.own_key();
        let mut keys: Vec<[u8; 32]> = Vec::new();
        for key in self.peers.iter().filter_map(|peer| peer.key).filter(|key| own != Some(*key)) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn fits(&self) -> bool {
        self.owners().len() <= MAX_PEERS
    }

    fn apply(&self, device: &mut Configured) {
        *device = Configured {
            private_key: self.key,
            listen_port: self.port,
            firewall_mark: self.mark,
            peers: Vec::new(),
        };
        let owners = self.owners();
        for section in &self.peers {
            let Some(key) = section.key.filter(|key| owners.contains(key)) else { continue };
            if device.find(&key).is_none() {
                device.add(key);
            }
            let peer: &mut Peer = device.peer_mut(&key);
            peer.ends += 1;
            peer.preshared_key = section.psk.unwrap_or(peer.preshared_key);
            peer.endpoint = section.endpoint.or(peer.endpoint);
            peer.keepalive = section.keepalive.unwrap_or(peer.keepalive);
            if section.replace {
                peer.allowed_ips.clear();
            }
            for (add, prefix) in &section.ips {
                if *add {
                    device.give(&key, *prefix);
                } else {
                    device.peer_mut(&key).allowed_ips.retain(|other| other != prefix);
                }
            }
        }
    }
}

impl Section {
    fn line(&mut self, name: &[u8], value: &str) -> Option<()> {
        match name {
            b"publickey" => self.key = Some(base64(value)?),
            b"presharedkey" => self.psk = Some(base64(value)?),
            b"endpoint" => self.endpoint = Some(endpoint(value)?),
            b"persistentkeepalive" if value.eq_ignore_ascii_case("off") => self.keepalive = Some(0),
            b"persistentkeepalive" => self.keepalive = Some(digits(value)?.parse().ok()?),
            b"allowedips" => {
                self.replace = true;
                for element in value.split(',') {
                    let unsigned = element.strip_prefix(['+', '-']).unwrap_or(element);
                    self.replace &= unsigned.len() == element.len();
                    self.ips.push((!element.starts_with('-'), prefix(unsigned)?));
                }
            }
            _ => return None,
        }
        Some(())
    }
}

fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then_some(text)
}

/// A number, or a name, which begins with no sign.
fn port(text: &str) -> Option<&str> {
    match digits(text) {
        Some(number) => number.parse::<u16>().ok().map(|_| text),
        None => (!text.starts_with(['+', '-'])).then_some(text),
    }
}

fn prefix(text: &str) -> Option<IpPrefix> {
    let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
    let addr: IpAddr = addr.parse().ok()?;
    let len = match len {
        Some(len) => digits(len)?.parse().ok()?,
        None => {
            if addr.is_ipv4() {
                32
            } else {
                128
            }
        }
    };
    IpPrefix::new(addr, len).ok()
}

fn endpoint(text: &str) -> Option<SocketAddr> {
    let (host, service_name) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.rsplit_once(':')?,
    };
    if host.is_empty() || service_name.is_empty() {
        return None;
    }
    let port = service(port(service_name)?)?;
    Some(SocketAddr::new(address(host)?.to_canonical(), port))
}

/// 43 digits of six bits and a `=`; the last digit has two bits too many.
fn base64(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 44 || bytes[43] != b'=' {
        return None;
    }
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = Vec::new();
    for digit in &bytes[..43] {
        let value = alphabet.iter().position(|other| other == digit)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    if bits[256..] != [0, 0] {
        return None;
    }
    let byte =
        |at: usize| bits[at * 8..at * 8 + 8].iter().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit == 1));
    Some(core::array::from_fn(byte))
}
